"""Checked rows: files to a catalogue and to time-ordered sequences per buyer, rejected rows counted by reason."""

from __future__ import annotations

import csv
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.config.data import Data
from trainer.data.catalogue import Products, read_products
from trainer.data.events import Events, read_events, sequence, tie_hash
from trainer.data.files import find_files
from trainer.data.rejects import REJECT_COLUMNS, Summary, stop_above
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


def load_dataset(
    events: Sequence[str], products: Sequence[str], config: Data, seed: int, work: Path,
) -> Dataset:  # fmt: skip
    """Reads and checks both tables. Writes `work`/rejects.csv.

    Raises DataError where a file cannot be read or more than the configured share of a table's rows is rejected.
    """
    work.mkdir(parents=True, exist_ok=True)
    product_files, event_files = find_files(products, "products"), find_files(events, "events")
    rejects = work / "rejects.csv"
    with rejects.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(REJECT_COLUMNS)
        try:
            log.info("reading products")
            catalogue, product_rows, product_counts = read_products(product_files, config, work, writer)
            log.info(f"{len(catalogue):,} products; reading events")
            frame, event_rows, event_counts = read_events(event_files, catalogue.ids, config, work, writer)
        finally:
            shutil.rmtree(work / "unpacked", ignore_errors=True)
    summary = Summary(event_rows, product_rows, dict(event_counts), dict(product_counts))
    stop_above(config.max_reject_share, "products", product_rows, product_counts, rejects)
    stop_above(config.max_reject_share, "events", event_rows, event_counts, rejects)
    if frame.is_empty():
        raise DataError(f"{event_files[0]}: no event is left after the checks; see {rejects}")
    buyers, coded = sequence(frame, tie_hash(catalogue.ids, seed))
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
