"""Writes the SYNTHETIC demo market: an invented Arabic marketplace and invented buyers.

No product, brand, price, buyer or event in these files is real, and nothing is derived from real logs. They let a
reader try training, evaluation and serving. Figures measured on them say how the system behaves, not how well it would
rank the products of a real shop.

The order of events matters: interests drift over the weeks, a session stays close to one taste (brand, style, price
level), and one product leads to its complements (a ring to a necklace, motor oil to a filter). Every product carries
``"synthetic": true`` in its metadata.
"""

from __future__ import annotations

import csv
import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import polars as pl

from demo.market.buyers import Market
from demo.market.catalogue import load_catalogue
from demo.market.days import sort_by_day
from demo.market.simulate import Log, simulate_buyers
from demo.market.stock import Assortment, identifiers, stock
from demo.market.titles import product_rows

NEWEST = datetime(2026, 6, 30, 22, 0, tzinfo=UTC)
EVENT_NAMES = ("View", "AddToCart", "Purchase")
_MOST_EVENTS_PER_BUYER = 2_000
_PRODUCT_COLUMNS = ("product_id", "title", "description", "metadata")


class DemoSummary(NamedTuple):
    """The two files that `generate` wrote, and their sizes."""

    products_path: Path
    events_path: Path
    products: int
    buyers: int
    events: int
    categories: int


def generate(
    out: Path, products: int = 5000, buyers: int = 5000, events: int = 200_000, seed: int = 7, newest: datetime = NEWEST
) -> DemoSummary:
    """Writes `products.csv` and `events.csv` of a synthetic Arabic marketplace into `out`.

    Equal arguments give the same bytes. A file replaces an older one only when it is complete. Events are sorted by
    time, in UTC and whole seconds; they span about `DAYS` days and end at `newest`.

    Raises ValueError with the argument's name if a size is impossible or `newest` has no time zone, and OSError if
    `out` cannot be written.
    """
    assortment = Assortment.of(load_catalogue())
    categories = len(assortment.categories)
    if products < categories:
        raise ValueError(f"products must be at least {categories} (one for each category), got {products}")
    _check(buyers, events, seed, newest)
    out.mkdir(parents=True, exist_ok=True)
    shelf = stock(assortment, np.random.default_rng([seed, 1]), products)
    products_path = out / "products.csv"
    with (
        _replaced(products_path) as file,
        open(file.fileno(), "w", encoding="utf-8", newline="", closefd=False) as text,
    ):
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(_PRODUCT_COLUMNS)
        writer.writerows(product_rows(shelf, random.Random(seed)))
    market = Market.build(shelf, np.random.default_rng([seed, 2]))
    events_path = out / "events.csv"
    with _replaced(events_path) as file, tempfile.TemporaryDirectory(prefix=".days.", dir=out) as folder:
        blocks = simulate_buyers(market, buyers, events, seed, newest)
        _write_events(file, sort_by_day(blocks, Path(folder)), (products, buyers, events), newest)
    return DemoSummary(products_path, events_path, products, buyers, events, categories)


def _check(buyers: int, events: int, seed: int, newest: datetime) -> None:
    if buyers < 1:
        raise ValueError(f"buyers must be at least 1, got {buyers}")
    if events < 3 * buyers:
        raise ValueError(f"events must be at least 3 * buyers = {3 * buyers}, got {events}")
    if events > _MOST_EVENTS_PER_BUYER * buyers:
        most = _MOST_EVENTS_PER_BUYER * buyers
        raise ValueError(f"events must be at most {_MOST_EVENTS_PER_BUYER} * buyers = {most}, got {events}")
    if seed < 0:
        raise ValueError(f"seed must not be negative, got {seed}")
    if newest.tzinfo is None:
        raise ValueError(f"newest must carry a time zone, got {newest.isoformat()}")


@contextmanager
def _replaced(path: Path) -> Iterator[IO[bytes]]:
    """A file that replaces `path` when the block is over without an error."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_events(file: IO[bytes], days: Iterator[Log], size: tuple[int, int, int], newest: datetime) -> None:
    """Writes the sorted events, one day at a time; the last of them is at `newest`."""
    products, buyers, events = size
    names = {
        "distinct_id": pl.Series(identifiers("B", buyers, 5), dtype=pl.String),
        "product_id": pl.Series(identifiers("P", products, 6), dtype=pl.String),
        "event_name": pl.Series(EVENT_NAMES),
    }
    written = 0
    for log in days:
        codes = (log.buyer, log.product, log.kind.astype(np.int32))
        written += len(log.second)
        if written == events:
            log.second[-1] = int(newest.timestamp())
        columns = {name: texts.gather(code) for (name, texts), code in zip(names.items(), codes, strict=True)}
        times = pl.Series(log.second * 1000).cast(pl.Datetime("ms")).dt.to_string("%Y-%m-%dT%H:%M:%SZ")
        pl.DataFrame(columns | {"created_at": times}).write_csv(file, include_header=written == len(log.second))
