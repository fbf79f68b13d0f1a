"""The last stage: one versioned artifact folder out of what the others left, verified and, if it may be, published."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from trainer.config.schema import Config
from trainer.data.split import everything
from trainer.evaluate import baselines, gate, similarity
from trainer.evaluate.served import find_served
from trainer.export.text_encoder import checked_encoder_files
from trainer.pipeline import beside_served, judge
from trainer.progress import Say
from trainer.release.retention import current_name, free_name, keep_newest
from trainer.release.verify import load_as_services_do
from trainer.report.page import write_report
from trainer.run import Prepared, require, write_json
from twotower.artifact.catalogue import Product, write_catalogue
from twotower.artifact.layout import Layout, VersionLayout
from twotower.artifact.manifest import IndexSpec, Manifest, TextSearch
from twotower.artifact.pointer import read_pointer
from twotower.artifact.retention import list_versions, prune
from twotower.artifact.store import publish, write_version
from twotower.artifact.version import Version, open_version, verify
from twotower.errors import CorruptArtifact, NotFound
from twotower.events import Interaction
from twotower.history import weights_by_code, write_recent


class Published(NamedTuple):
    """The version that was written, and whether the gate kept it from being named in CURRENT."""

    version: Version
    refused: bool


def publish_run(run: Prepared, say: Say) -> Published:
    """Assembles the version folder, verifies it by loading it as services do, and names it in CURRENT if it may be."""
    made = (run.folder.index_spec, "index"), (run.folder.text_search, "index"), (run.folder.metrics, "evaluate")
    for path, stage in made:
        require(path, stage)
    verdict = _current_verdict(run, say)
    created = datetime.now(UTC)
    name = free_name(run.layout, f"{created:%Y%m%dT%H%M%SZ}-{run.fingerprint[:8]}")
    _unpublished(run.layout).write_text(name, encoding="utf-8")
    version = write_version(
        run.layout,
        name,
        fill=lambda target: _fill(run, target, name, created),
        check=lambda written: load_as_services_do(written, run.config.threads or 1),
    )
    if not verdict.refused:
        _say_overtaken(run, say)
        publish(run.layout, name)
    _unpublished(run.layout).unlink(missing_ok=True)
    keep = run.config.publish.keep_versions
    removed = prune(run.layout, keep)
    work = run.folder.root.parent.parent
    for own in ("runs", "encoders", "text_vectors"):
        keep_newest(work / own, keep)
    for reason in verdict.reasons:
        say(f"{'kept back' if verdict.refused else 'warning'}: {reason}")
    said = f"{name} is kept, but not named in CURRENT" if verdict.refused else f"published {name}"
    say(said + (f"; removed {', '.join(removed)}" if removed else ""))
    return Published(version, verdict.refused)


def _current_verdict(run: Prepared, say: Say) -> gate.Verdict:
    """The verdict in metrics.json, beside what is served and with what is set by now."""
    report = json.loads(run.folder.metrics.read_text(encoding="utf-8"))
    facts = report["gate"]["served"]
    served = find_served(run.layout)
    if (served.name if served else "") != (facts["version"] if facts else ""):
        facts = beside_served(run, report["test"]["model"], say)
    verdict = judge(run, facts)
    write_json(run.folder.metrics, report | {"gate": asdict(verdict)})
    return verdict


def _say_overtaken(run: Prepared, say: Say) -> None:
    """Says where CURRENT has changed since the command began: what somebody published meanwhile, or rolled back to, is
    replaced."""
    now = current_name(run.layout)
    if now != run.served:
        before = f"named {run.served}" if run.served else "named nothing"
        say(f"warning: CURRENT {before} when this began and {now or 'nothing'} now, which this version replaces")


def _unpublished(layout: Layout) -> Path:
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
    path = _unpublished(layout)
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


def _fill(run: Prepared, target: VersionLayout, name: str, created: datetime) -> Manifest:
    folder = run.folder
    for source in (
        folder.embeddings,
        folder.ids,
        folder.index,
        folder.text_embeddings,
        folder.text_index,
        folder.item_tower,
        folder.buyer_tower,
        folder.vocab,
        folder.metrics,
        folder.rejects,
        *([folder.nearest] if folder.nearest.exists() else []),
    ):
        shutil.copy2(source, target.root / source.name)
    shutil.copyfile(folder.final, target.weights)  # not its mode: safetensors lets its owner alone read
    target.config.write_text(run.config.to_yaml(), encoding="utf-8")
    _write_products(run, target.products)
    write_recent(target.recent, _recent(run, run.config.publish.recent_interactions))
    data = run.data
    report = json.loads(folder.metrics.read_text(encoding="utf-8"))
    manifest = Manifest(
        version=name,
        created_at=created.isoformat(),
        encoder=run.encoder_name,
        encoder_digest=run.encoder_digest,
        text_dimension=run.features.text.shape[1],
        dimension=run.config.model.dimension,
        products=len(data.products),
        buyers=len(data.buyers),
        events=len(data.events.buyer),
        event_weights=run.config.data.event_weights,
        max_history=run.config.model.max_history,
        configuration={"fingerprint": run.fingerprint} | run.config.model_dump(),
        metrics=report["test"],
        notes=[
            *report["training"]["notes"],
            *similarity.missed(report["similarity"]["texts"]),
            *(f"gate: {reason}" for reason in report["gate"]["reasons"]),
        ],
        gate=report["gate"]["verdict"],
        newest_event_ms=report["training"]["newest_event_ms"],
        index=IndexSpec.model_validate_json(folder.index_spec.read_bytes()),
        text_search=TextSearch.model_validate_json(folder.text_search.read_bytes()),
        files={},
        encoder_files=checked_encoder_files(run.layout, run.encoder_digest),
    )
    write_report(target, manifest)
    return manifest


def _write_products(run: Prepared, path: Path) -> None:
    data = run.data
    share = baselines.popularity(data.events, everything(data.events), len(data.products), weights_by_code(run.schema))
    one = data.products
    columns = zip(
        one.ids, range(len(one)), one.titles, one.descriptions, one.brands, one.categories, one.prices,
        one.currencies, one.in_stock, share.tolist(), strict=True,
    )  # fmt: skip
    write_catalogue(path, (Product(*record) for record in columns))


def _recent(run: Prepared, limit: int) -> Any:
    events, ids = run.data.events, run.data.products.ids
    for code, buyer in enumerate(run.data.buyers):
        stop = int(events.start[code + 1])
        places = range(max(int(events.start[code]), stop - limit), stop)
        yield (
            buyer,
            [
                Interaction(ids[events.product[p]], run.data.event_names[events.kind[p] - 1], int(events.time[p]))
                for p in places
            ],
        )
