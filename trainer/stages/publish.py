"""The stage `publish`: makes a version of what the stages before it left, and publishes it if the gate lets it pass."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from trainer.data.popularity import popularity_shares
from trainer.data.searches import SearchedWords
from trainer.data.split import everything
from trainer.evaluate import similarity
from trainer.evaluate.gate import Verdict
from trainer.export.text_encoder import checked_encoder_files
from trainer.index.milvus import collections, drop_unnamed
from trainer.release.assemble import Description, product_records, write_release
from trainer.release.retention import current_name, keep_newest, new_name
from trainer.stages.gate import judge_run
from trainer.stages.lists import write_lists
from trainer.stages.reuse import unpublished
from trainer.stages.workspace import Run, require
from twotower.artifact.layout import VersionLayout
from twotower.artifact.manifest import SCHEMA, Fusion, IndexSpec, Manifest, TextSearch
from twotower.artifact.retention import prune
from twotower.artifact.version import Version
from twotower.events import Interaction
from twotower.forgotten import ForgottenBuyers
from twotower.history import weights_by_code, write_recent
from twotower.search.milvus_address import MilvusAddress
from twotower.search.milvus_release import publish_version

log = logging.getLogger(__name__)


class Published(NamedTuple):
    """The version that was written, and whether the gate refused to publish it."""

    version: Version
    refused: bool


def publish_run(run: Run) -> Published:
    """Judges the tested model, writes the version, and names it in CURRENT unless the gate refuses it."""
    workspace = run.workspace
    for path in (workspace.index_spec, workspace.text_search, workspace.searches, workspace.together):
        require(path, "index")
    require(workspace.version.metrics, "evaluate")
    measured = json.loads(workspace.version.metrics.read_text(encoding="utf-8"))
    verdict = judge_run(run, measured["test"]["model"])
    log.info(f"gate: {verdict.verdict}")
    version = _write(run, measured | {"gate": asdict(verdict)})
    if not verdict.refused:
        _warn_if_overtaken(run)
        publish_version(run.layout, version.name, MilvusAddress.from_environment())
    unpublished(run.layout).unlink(missing_ok=True)
    removed = _remove_old(run)
    _report(version.name, verdict, removed)
    return Published(version, verdict.refused)


def _write(run: Run, metrics: dict[str, Any]) -> Version:
    created = datetime.now(UTC)
    name = new_name(run.layout, created, run.fingerprint[:8])
    unpublished(run.layout).write_text(name, encoding="utf-8")

    def fill(target: VersionLayout) -> Description:
        copy_files(run.workspace.version, target)
        shutil.copyfile(run.workspace.rejects, target.rejects)
        write_recent(target.recent, _recent_interactions(run))
        records = product_records(run.data.products, _popularity(run), _first_seen(run))
        searched = SearchedWords(**json.loads(run.workspace.searches.read_text(encoding="utf-8")))
        together = json.loads(run.workspace.together.read_text(encoding="utf-8"))
        recorded = metrics | {"searches": searched.facts, "together": together}
        manifest = _manifest(run, name, created, metrics).model_copy(update=write_lists(run, target))
        return Description(run.config, records, recorded, manifest, searched)

    return write_release(run.layout, name, fill, run.config.thread_count)


def copy_files(source: VersionLayout, target: VersionLayout) -> None:
    """Copies the files of a version's folder; a hidden one is the rest of an interrupted stage."""
    for path in sorted(source.root.iterdir()):
        if not path.name.startswith("."):
            shutil.copyfile(path, target.root / path.name)


def _warn_if_overtaken(run: Run) -> None:
    """Warns if somebody has published or rolled back since the command began: this version replaces theirs."""
    now = current_name(run.layout)
    if now != run.served:
        before = f"named {run.served}" if run.served else "named nothing"
        log.warning(f"CURRENT {before} when this began and {now or 'nothing'} now, which this version replaces")


def _remove_old(run: Run) -> list[str]:
    """Removes old versions and old work; returns the names of the versions."""
    keep = run.config.publish.keep_versions
    held = collections(run.layout)
    removed = prune(run.layout, keep)
    drop_unnamed(run.layout, held, MilvusAddress.from_environment())
    work = run.workspace.root.parent.parent
    for name in ("runs", "encoders", "text_vectors"):
        keep_newest(work / name, keep)
    return removed


def _report(name: str, verdict: Verdict, removed: list[str]) -> None:
    for reason in verdict.reasons:
        if verdict.refused:
            log.info(f"kept back: {reason}")
        else:
            log.warning(reason)
    result = f"{name} is kept, but not named in CURRENT" if verdict.refused else f"published {name}"
    log.info(result + (f"; removed {', '.join(removed)}" if removed else ""))


def _manifest(run: Run, name: str, created: datetime, metrics: dict[str, Any]) -> Manifest:
    data, workspace = run.data, run.workspace
    return Manifest(
        schema_version=SCHEMA,
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
        exclude_seen=run.config.evaluation.excludes_seen,
        configuration={"fingerprint": run.fingerprint} | run.config.model_dump(),
        metrics=metrics["test"],
        notes=[
            *metrics["training"]["notes"],
            *similarity.describe_unmet(metrics["similarity"]["texts"]),
            *(f"gate: {reason}" for reason in metrics["gate"]["reasons"]),
        ],
        gate=metrics["gate"]["verdict"],
        newest_event_ms=metrics["training"]["newest_event_ms"],
        index=IndexSpec.model_validate_json(workspace.index_spec.read_bytes()),
        shards=run.config.index.shards,
        fusion=Fusion.model_validate_json(workspace.fusion.read_bytes()),
        text_search=TextSearch.model_validate_json(workspace.text_search.read_bytes()),
        catalogue=data.summary.catalogue,
        files={},
        encoder_files=checked_encoder_files(run.layout, run.encoder_digest),
    )


def _popularity(run: Run) -> list[float]:
    """Each product's share of the weight of all events, a buyer counted once for a product."""
    events, count = run.data.events, len(run.data.products)
    shares: list[float] = popularity_shares(events, everything(events), count, weights_by_code(run.schema)).tolist()
    return shares


def _first_seen(run: Run) -> list[float | None]:
    """The second of each product's first event, None for a product without one."""
    events = run.data.events
    first = np.full(len(run.data.products), np.iinfo(np.int64).max)
    np.minimum.at(first, events.product, events.time)
    known = np.bincount(events.product, minlength=len(first)) > 0
    return [ms / 1000 if is_known else None for ms, is_known in zip(first.tolist(), known.tolist(), strict=True)]


def _recent_interactions(run: Run) -> Iterator[tuple[str, list[Interaction]]]:
    """The last `publish.recent_interactions` interactions of each buyer, oldest first; none of forgotten buyers."""
    forgotten = ForgottenBuyers.read(run.layout.forgotten)
    events, ids, names = run.data.events, run.data.products.ids, run.data.event_names
    for code, buyer in enumerate(run.data.buyers):
        if buyer in forgotten:
            continue
        start, stop = int(events.start[code]), int(events.start[code + 1])
        yield (
            buyer,
            [
                Interaction(ids[events.product[place]], names[events.kind[place] - 1], int(events.time[place]))
                for place in range(max(start, stop - run.config.publish.recent_interactions), stop)
            ],
        )
