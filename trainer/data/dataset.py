"""A checked data set: the catalogue, and every buyer's events in order of time."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from trainer.cluster.parts import Engine, OneMachine
from trainer.config.data import Data
from trainer.data.accepted import Accepted
from trainer.data.catalogue import Products, read_products
from trainer.data.changes import find_products
from trainer.data.event_log.sources import EventSources, find_events
from trainer.data.events import Events, keep_newest, read_events, sort_events, tie_hash
from trainer.data.id_forms import warn_of_look_alikes, warn_of_no_one, warn_of_robots
from trainer.data.rejects import RejectFile, RowChecks, Summary, open_rejects
from trainer.data.searches import Searches, searches_of
from trainer.errors import DataError
from twotower.live.records import Position

# 1995-01-01
_LOGS_FROM_MS = 788_918_400_000
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Dataset:
    """A checked data set. `buyers` are the ids of the buyer codes; `event_names` the names of the kinds 1, 2, ..."""

    products: Products
    buyers: list[str]
    events: Events
    event_names: list[str]
    summary: Summary
    searches: Searches


@dataclass
class Reading:
    """What is known of both tables, as far as they have been read.

    `accepted`: the events until `arrange` sorts them; `accepted_rows` is their number. `warnings`: sentences about what
    was read, lost or understood.
    """

    config: Data
    products: RowChecks
    events: RowChecks
    catalogue: Products | None = None
    accepted: Accepted | None = None
    accepted_rows: int = 0
    sources: EventSources = field(default_factory=lambda: EventSources([], []))
    warnings: list[str] = field(default_factory=list)
    position: Position | None = None

    @classmethod
    def start(cls, config: Data, rejects: RejectFile) -> Reading:
        """A reading of nothing yet."""
        return cls(config, RowChecks("products", rejects), RowChecks("events", rejects))

    def read(self, events: Sequence[str], products: Sequence[str], engine: Engine) -> None:
        """Reads both tables; the engine reads the events' files. Raises DataError if a file cannot be read."""
        named, self.sources = find_products(products), find_events(events)
        log.info("reading products")
        found = named.overlay(read_products(named.files, self.config, self.products))
        self.catalogue, self.position = found.products, found.position
        self.warnings += [*self.products.notes, *self.products.field_warnings(len(self.catalogue))]
        shown = ", ".join(f"{name} {count.found:,}" for name, count in self.products.fields.items())
        log.info(f"of {len(self.catalogue):,} products have: {shown}")
        log.info(f"{len(self.catalogue):,} products; reading events")
        self.accepted = read_events(self.sources, self.catalogue.ids, self.config, self.events, engine)
        self.accepted_rows = self.accepted.height
        self.warnings += [*self.events.hints, *self.events.notes]

    def check(self) -> None:
        """Raises DataError if too large a share of a table's rows is rejected, or if nothing is left."""
        self.products.check_share(self.config.max_reject_share)
        self.events.check_share(self.config.max_reject_share, self.config.max_unknown_share)
        if not self.accepted_rows:
            raise DataError(f"{self.sources.first}: no event is left after the checks{self.events.reasons()}")

    def arrange(self, seed: int) -> Dataset:
        """The data set, of tables that were read and are not empty."""
        if self.catalogue is None or self.accepted is None:
            raise DataError("the tables have not been read")
        catalogue, limit, weights = self.catalogue, self.config.max_buyer_events, self.config.event_weights
        searches = searches_of(self.accepted, self.sources.logs, weights)
        buyers, coded = sort_events(self.accepted, tie_hash(catalogue.ids, seed))
        self.accepted = None
        sizes = np.diff(coded.start)
        self.warnings += warn_of_look_alikes("products", catalogue.ids) + warn_of_look_alikes("buyers", buyers)
        self.warnings += warn_of_no_one(buyers, sizes) + warn_of_robots(buyers, sizes)
        self.warnings += _warn_of_old(coded)
        coded = keep_newest(coded, limit)
        if older := self.accepted_rows - len(coded.buyer):
            self.warnings.append(
                f"{older:,} older events are left out: a buyer counts with the newest {limit:,} "
                f"(data.max_buyer_events), one has {sizes.max():,}"
            )
        return Dataset(catalogue, buyers, coded, list(weights), self._summary(older), searches)

    def _summary(self, older: int) -> Summary:
        return Summary(
            event_rows=self.events.rows,
            product_rows=self.products.rows,
            rejected_events=dict(self.events.rejected),
            rejected_products=dict(self.products.rejected),
            dropped_events=dict(self.events.dropped),
            dropped_products=dict(self.products.dropped),
            fields=self.products.field_facts(),
            older_events=older,
            catalogue=self.position,
        )


def _warn_of_old(events: Events) -> list[str]:
    """A sentence if events are older than logs of shops are: their times may be in another unit."""
    if not (count := int((events.time < _LOGS_FROM_MS).sum())):
        return []
    return [
        f"{count:,} of {len(events.time):,} events are before 1995: are their times days, minutes or another unit than "
        "seconds, milli-, micro- or nanoseconds since 1970?"
    ]


def load_dataset(
    events: Sequence[str], products: Sequence[str], config: Data, seed: int, work: Path, engine: Engine | None = None
) -> Dataset:
    """Reads and checks both tables; writes `work`/rejects.csv. The engine, by default this machine, reads the events.

    Raises DataError if a file cannot be read or too large a share of a table's rows is rejected.
    """
    work.mkdir(parents=True, exist_ok=True)
    with open_rejects(work / "rejects.csv") as rejects:
        reading = Reading.start(config, rejects)
        reading.read(events, products, engine or OneMachine())
    reading.check()
    for table in (reading.products, reading.events):
        for reason, count in table.dropped.items():
            log.info(f"{count:,} {table.table} are dropped: {reason}")
    data = reading.arrange(seed)
    for sentence in reading.warnings:
        log.warning(sentence)
    return data


def check_learnable(data: Dataset) -> None:
    """Raises DataError if catalogue or events have fewer than two products: every vector would be zero."""
    if len(data.products) < 2:
        raise DataError("the catalogue has one product: a model needs two")
    first = int(data.events.product[0])
    if (data.events.product == first).all():
        raise DataError(
            f"all {len(data.events.product):,} events are of one product, {data.products.ids[first]!r}: a model needs "
            "events of two"
        )


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
