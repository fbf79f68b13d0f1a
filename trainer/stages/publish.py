"""The last stage: one versioned artifact folder out of what the others left, verified and, if it may be, published."""

from __future__ import annotations

import json
import logging
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from trainer.data.split import everything
from trainer.evaluate import baselines, similarity
from trainer.export.text_encoder import checked_encoder_files
from trainer.release.retention import current_name, free_name, keep_newest
from trainer.release.verify import load_as_services_do
from trainer.report.page import write_report
from trainer.stages.gate import current_verdict
from trainer.stages.reuse import unpublished
from trainer.stages.workspace import Prepared, require
from twotower.artifact.catalogue import Product, write_catalogue
from twotower.artifact.layout import VersionLayout
from twotower.artifact.manifest import IndexSpec, Manifest, TextSearch
from twotower.artifact.retention import prune
from twotower.artifact.store import publish, write_version
from twotower.artifact.version import Version
from twotower.events import Interaction
from twotower.history import weights_by_code, write_recent

log = logging.getLogger(__name__)


class Published(NamedTuple):
    """The version that was written, and whether the gate kept it from being named in CURRENT."""

    version: Version
    refused: bool


def publish_run(run: Prepared) -> Published:
    """Assembles the version folder, verifies it by loading it as services do, and names it in CURRENT if it may be."""
    made = (run.folder.index_spec, "index"), (run.folder.text_search, "index"), (run.folder.metrics, "evaluate")
    for path, stage in made:
        require(path, stage)
    verdict = current_verdict(run)
    created = datetime.now(UTC)
    name = free_name(run.layout, f"{created:%Y%m%dT%H%M%SZ}-{run.fingerprint[:8]}")
    unpublished(run.layout).write_text(name, encoding="utf-8")
    version = write_version(
        run.layout,
        name,
        fill=lambda target: _fill(run, target, name, created),
        check=lambda written: load_as_services_do(written, run.config.threads or 1),
    )
    if not verdict.refused:
        _say_overtaken(run)
        publish(run.layout, name)
    unpublished(run.layout).unlink(missing_ok=True)
    keep = run.config.publish.keep_versions
    removed = prune(run.layout, keep)
    work = run.folder.root.parent.parent
    for own in ("runs", "encoders", "text_vectors"):
        keep_newest(work / own, keep)
    for reason in verdict.reasons:
        log.info(f"{'kept back' if verdict.refused else 'warning'}: {reason}")
    said = f"{name} is kept, but not named in CURRENT" if verdict.refused else f"published {name}"
    log.info(said + (f"; removed {', '.join(removed)}" if removed else ""))
    return Published(version, verdict.refused)


def _say_overtaken(run: Prepared) -> None:
    """Says where CURRENT has changed since the command began: what somebody published meanwhile, or rolled back to, is
    replaced."""
    now = current_name(run.layout)
    if now != run.served:
        before = f"named {run.served}" if run.served else "named nothing"
        log.warning(f"CURRENT {before} when this began and {now or 'nothing'} now, which this version replaces")


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
            *similarity.describe_unmet(report["similarity"]["texts"]),
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
