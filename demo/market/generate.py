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
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from demo.market.buyers import Market
from demo.market.catalogue import load_catalogue
from demo.market.simulate import Log, simulate
from demo.market.stock import Assortment, identifiers, stock
from demo.market.titles import product_rows

NEWEST = datetime(2026, 6, 30, 22, 0, tzinfo=UTC)
EVENT_NAMES = ("View", "AddToCart", "Purchase")
_MOST_EVENTS_PER_BUYER = 2_000
_CHUNK_ROWS = 100_000


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
    _write_csv(
        products_path, ("product_id", "title", "description", "metadata"), product_rows(shelf, random.Random(seed))
    )
    market = Market.build(shelf, np.random.default_rng([seed, 2]))
    log = simulate(market, buyers, events, seed, newest)
    events_path = out / "events.csv"
    _write_csv(
        events_path, ("distinct_id", "product_id", "event_name", "created_at"), _event_rows(log, products, buyers)
    )
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


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _event_rows(log: Log, products: int, buyers: int) -> Iterator[tuple[str, str, str, str]]:
    product_ids = identifiers("P", products, 6)
    buyer_ids = identifiers("B", buyers, 5)
    kinds = np.array(EVENT_NAMES, dtype=object)
    for start in range(0, len(log.second), _CHUNK_ROWS):
        part = slice(start, start + _CHUNK_ROWS)
        times = np.datetime_as_string(log.second[part].astype("datetime64[s]"))
        stamps = [f"{time}Z" for time in times.tolist()]
        yield from zip(
            buyer_ids[log.buyer[part]].tolist(),
            product_ids[log.product[part]].tolist(),
            kinds[log.kind[part]].tolist(),
            stamps,
            strict=True,
        )
