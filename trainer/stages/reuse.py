"""Decides whether `run` has anything to do: is the result up to date, rolled back from, or refused by the gate."""

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
    """A file that names the version being written. If the process dies, that version was never rolled back from."""
    return layout.work / "unpublished"


def up_to_date(layout: Layout, fingerprint: str) -> str:
    """The served version, or the one that it refreshes, if it has this fingerprint and no file is damaged; else ""."""
    served = _served(layout)
    trained = served and _open(layout, served.trained_as)
    if served and trained and _fingerprint(trained) == fingerprint and _is_whole(served):
        return trained.name
    return ""


def rolled_back(layout: Layout, fingerprint: str) -> str:
    """The newest version with this fingerprint that was published once and is not served now; else "".

    Also "" if the served version is damaged: a run then repairs it.
    """
    path = unpublished(layout)
    skipped = {path.read_text(encoding="utf-8") if path.is_file() else "", current_name(layout)}
    for name in reversed(list_versions(layout)):
        version = _open(layout, name)
        if name in skipped or version is None or version.manifest.gate == "refused":
            continue
        if _fingerprint(version) == fingerprint and _is_whole(version):
            served = _served(layout)
            return name if served and _is_whole(served) else ""
    return ""


def refused_before(config: Config, layout: Layout, fingerprint: str) -> str:
    """The newest version that the gate refused, if it has this fingerprint and the gate would decide the same; else "".

    The gate would decide the same if neither its settings nor the served version have changed.
    """
    served = current_name(layout)
    for name in reversed(list_versions(layout)):
        version = _open(layout, name)
        if served and version and version.manifest.gate == "refused" and _fingerprint(version) == fingerprint:
            return name if _is_whole(version) and _is_same_decision(config, version, served) else ""
    return ""


def _is_same_decision(config: Config, refused: Version, served: str) -> bool:
    deciding = {"gate", "max_drop"}
    before = {name: refused.manifest.configuration["publish"][name] for name in deciding}
    compared = json.loads(refused.layout.metrics.read_text(encoding="utf-8"))["gate"]["served"]["version"]
    return bool(before == config.publish.model_dump(include=deciding) and compared == served)


def _served(layout: Layout) -> Version | None:
    """The version that CURRENT names; None if there is none or either is damaged: publishing repairs that."""
    try:
        pointer = read_pointer(layout.current)
    except CorruptArtifact:
        return None
    return _open(layout, pointer.version, pointer.manifest_sha256) if pointer else None


def _open(layout: Layout, name: str, manifest_sha256: str = "") -> Version | None:
    """The version, or None if it is gone or its manifest is damaged."""
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
    return str(version.manifest.configuration["fingerprint"])
