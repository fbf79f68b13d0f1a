"""The last stage: one versioned artifact folder out of what the others left, verified and, if it may be, published."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from trainer import baselines, gate, similarity
from trainer.config import Config
from trainer.pipeline import beside_served, judge
from trainer.progress import Say
from trainer.release import free_name, keep_newest, load_as_services_do
from trainer.report import write_report
from trainer.run import Prepared, require, write_json
from trainer.split import everything
from twotower.artifact import (
    IndexSpec,
    Layout,
    Manifest,
    TextSearch,
    Version,
    VersionLayout,
    describe,
    list_versions,
    open_version,
    prune,
    publish,
    read_pointer,
    write_version,
)
from twotower.catalogue import Product, write_catalogue
from twotower.errors import CorruptArtifact
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
    version = write_version(
        run.layout,
        name,
        fill=lambda target: _fill(run, target, name, created),
        check=lambda written: load_as_services_do(written, run.config.threads or 1),
    )
    if not verdict.refused:
        publish(run.layout, name)
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
    served = gate.find_served(run.layout)
    if (served.name if served else "") != (facts["version"] if facts else ""):
        facts = beside_served(run, report["test"]["model"], say)
    verdict = judge(run, facts)
    write_json(run.folder.metrics, report | {"gate": asdict(verdict)})
    return verdict


def up_to_date(layout: Layout, name: str) -> str:
    """The version in CURRENT if it was made from this very data and configuration, else an empty string."""
    pointer = read_pointer(layout.current)
    if pointer is None:
        return ""
    path = layout.version(pointer.version).manifest
    if not path.is_file():
        return ""
    return (
        pointer.version
        if Manifest.model_validate_json(path.read_bytes()).configuration.get("fingerprint") == name
        else ""
    )


def refused_before(config: Config, layout: Layout, name: str) -> str:
    """The newest version that the gate kept back, if it was made from this very data and configuration and nothing
    that decided has changed since: the served version, and the settings of the gate."""
    pointer = read_pointer(layout.current)
    for version in reversed(list_versions(layout)):
        try:
            opened = open_version(layout, version)
        except CorruptArtifact:  # it was not published, and will not be
            continue
        made = opened.manifest.configuration
        if made.get("fingerprint") == name and opened.manifest.gate == "refused" and pointer is not None:
            same = {key: made["publish"][key] for key in ("gate", "max_drop")} == config.publish.model_dump(
                include={"gate", "max_drop"}
            )
            served = json.loads(opened.layout.metrics.read_text(encoding="utf-8"))["gate"]["served"]["version"]
            return version if same and served == pointer.version else ""
    return ""


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
    encoder = run.layout.encoder(run.encoder_digest)
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
        encoder_files={path.name: describe(path) for path in sorted(encoder.root.iterdir())},
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
