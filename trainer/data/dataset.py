"""A checked data set: the catalogue, and every buyer's events in order of time."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config.data import Data
from trainer.data.catalogue import Products, read_products
from trainer.data.event_log.sources import find_events
from trainer.data.events import Events, keep_newest, read_events, sort_events, tie_hash
from trainer.data.id_forms import warn_of_look_alikes
from trainer.data.rejects import RowChecks, Summary, open_rejects
from trainer.data.tables.files import find_files
from trainer.errors import DataError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dataset:
    """A checked data set. `buyers` are the ids of the buyer codes; `event_names` the names of the kinds 1, 2, ..."""

    products: Products
    buyers: list[str]
    events: Events
    event_names: list[str]
    summary: Summary


def load_dataset(events: Sequence[str], products: Sequence[str], config: Data, seed: int, work: Path) -> Dataset:
    """Reads and checks both tables, each file once. Writes `work`/rejects.csv.

    Raises DataError if a file cannot be read or too large a share of a table's rows is rejected.
    """
    product_files, sources = find_files(products, "products"), find_events(events)
    work.mkdir(parents=True, exist_ok=True)
    with open_rejects(work / "rejects.csv") as rejects:
        product_checks, event_checks = RowChecks("products", rejects), RowChecks("events", rejects)
        log.info("reading products")
        catalogue = read_products(product_files, config, product_checks)
        log.info(f"{len(catalogue):,} products; reading events")
        accepted = read_events(sources, catalogue.ids, config, event_checks)
    product_checks.check_share(config.max_reject_share)
    product_checks.log_fields(len(catalogue))
    event_checks.check_share(config.max_reject_share, config.max_unknown_share)
    for reason, count in event_checks.dropped.items():
        log.info(f"{count:,} events are dropped: {reason}")
    if accepted.is_empty():
        raise DataError(f"{sources.first}: no event is left after the checks; see {rejects.path}")
    buyers, coded = sort_events(accepted, tie_hash(catalogue.ids, seed))
    for sentence in (
        *event_checks.hints,
        *warn_of_look_alikes("products", catalogue.ids),
        *warn_of_look_alikes("buyers", buyers),
    ):
        log.warning(sentence)
    longest = int(np.diff(coded.start).max())
    coded = keep_newest(coded, config.max_buyer_events)
    if older := accepted.height - len(coded.buyer):
        log.warning(
            f"{older:,} older events are left out: a buyer counts with the newest {config.max_buyer_events:,} "
            f"(data.max_buyer_events), one has {longest:,}"
        )
    summary = Summary(
        event_rows=event_checks.rows,
        product_rows=product_checks.rows,
        rejected_events=dict(event_checks.rejected),
        rejected_products=dict(product_checks.rejected),
        dropped_events=dict(event_checks.dropped),
        fields=product_checks.field_facts(),
        older_events=older,
    )
    return Dataset(catalogue, buyers, coded, list(config.event_weights), summary)


def data_facts(data: Dataset) -> dict[str, Any]:
    """What was read: counts, rejects by reason, events by kind, first and last time."""
    events = data.events
    kinds = np.bincount(events.kind, minlength=len(data.event_names) + 1)[1:]
    return asdict(data.summary) | {
        "events": len(events.buyer),
        "buyers": len(data.buyers),
        "products": len(data.products),
        "event_kinds": dict(zip(data.event_names, kinds.tolist(), strict=True)),
        "oldest_event_ms": int(events.time.min()),
        "newest_event_ms": int(events.time.max()),
    }
