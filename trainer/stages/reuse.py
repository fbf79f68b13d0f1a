"""Whether a run has anything to do: up to date, rolled back, refused before."""

from __future__ import annotations

import json
from pathlib import Path

from trainer.config.schema import Config
from trainer.release.retention import current_name
from twotower.artifact.layout import Layout
from twotower.artifact.pointer import read_pointer
from twotower.artifact.retention import list_versions
from twotower.artifact.version import Version, open_version, verify
from twotower.errors import CorruptArtifact, NotFound


def unpublished(layout: Layout) -> Path:
    """Names the version that is being written: if the process dies, nobody has rolled back from that one."""
    return layout.work / "unpublished"


def up_to_date(layout: Layout, name: str) -> str:
    """The version that was made from this very data and configuration, if CURRENT names it or a refresh of it, and what
    CURRENT names is whole; else an empty string."""
    served = _served(layout)
    trained = served and _opened(layout, served.trained_as)
    return trained.name if served and trained and _fingerprint(trained) == name and _is_whole(served) else ""


def rolled_back(layout: Layout, name: str) -> str:
    """The newest version that was published and was made from this very data and configuration, though CURRENT names
    another one by now. An empty string where there is none, or what CURRENT names is damaged."""
    path = unpublished(layout)
    left_out = {path.read_text(encoding="utf-8") if path.is_file() else "", current_name(layout)}
    for version in reversed(list_versions(layout)):
        made = _opened(layout, version)
        if version in left_out or made is None or made.manifest.gate == "refused":
            continue
        if _fingerprint(made) == name and _is_whole(made):
            served = _served(layout)
            return version if served and _is_whole(served) else ""
    return ""


def _served(layout: Layout) -> Version | None:
    """What CURRENT names; None where it names nothing, or is damaged and so about to be repaired by publishing."""
    try:
        pointer = read_pointer(layout.current)
    except CorruptArtifact:
        return None
    return _opened(layout, pointer.version, pointer.manifest_sha256) if pointer else None


def _opened(layout: Layout, name: str, manifest_sha256: str = "") -> Version | None:
    """A version; None where it is gone or its manifest damaged."""
    try:
        return open_version(layout, name, manifest_sha256)
    except (CorruptArtifact, NotFound):
        return None


def _is_whole(version: Version) -> bool:
    try:
        verify(version)
    except CorruptArtifact:
        return False
    return True


def _fingerprint(version: Version) -> str:
    return str(version.manifest.configuration.get("fingerprint", ""))


def refused_before(config: Config, layout: Layout, name: str) -> str:
    """The newest version that the gate kept back, if it was made from this very data and configuration and nothing
    that decided has changed since: the served version, and the settings of the gate."""
    served = current_name(layout)
    for version in reversed(list_versions(layout)):
        opened = _opened(layout, version)  # what is damaged was not published, and will not be
        if served and opened and opened.manifest.gate == "refused" and _fingerprint(opened) == name:
            return version if _is_whole(opened) and _decided_alike(config, opened, served) else ""
    return ""


def _decided_alike(config: Config, refused: Version, served: str) -> bool:
    made = refused.manifest.configuration["publish"]
    same = {key: made[key] for key in ("gate", "max_drop")} == config.publish.model_dump(include={"gate", "max_drop"})
    beside = json.loads(refused.layout.metrics.read_text(encoding="utf-8"))["gate"]["served"]["version"]
    return bool(same and beside == served)
