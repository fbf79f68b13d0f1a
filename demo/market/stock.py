"""The products of the market: types, brands, styles, prices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from demo.market.catalogue import (
    CATEGORIES,
    ProductType,
)

Ints = npt.NDArray[np.int64]


Floats = npt.NDArray[np.float64]


Bools = npt.NDArray[np.bool_]


DAYS = 120


DAY = 86_400


WEEKS = -(-DAYS // 7)


TIERS = 3


def identifiers(prefix: str, count: int, digits: int) -> npt.NDArray[np.object_]:
    return np.array([f"{prefix}{number:0{digits}d}" for number in range(count)], dtype=object)


TYPES: tuple[ProductType, ...] = tuple(kind for category in CATEGORIES for kind in category.types)


CATEGORY_OF: Ints = np.array([number for number, category in enumerate(CATEGORIES) for _ in category.types])


FIRST_TYPE: Ints = np.concatenate([[0], np.cumsum([len(category.types) for category in CATEGORIES])])


MOST_BRANDS = max(len(category.brands) for category in CATEGORIES)


MOST_STYLES = max(len(category.style_weights) for category in CATEGORIES)


@dataclass(frozen=True)
class Shelf:
    """Attributes of every product, one array entry each; `launch_week` 0 means on sale from the first day."""

    kind: Ints
    brand: Ints
    style: Ints
    tier: Ints
    price: Floats
    in_stock: Bools
    weight: Floats
    launch_week: Ints


def cumulative(rows: Sequence[Sequence[float]]) -> Floats:
    """Rows of weights as cumulative shares, padded with ones to a rectangle."""
    table = np.ones((len(rows), max(len(row) for row in rows)))
    for number, row in enumerate(rows):
        shares = np.cumsum(row) / np.sum(row)
        table[number, : len(row) - 1] = shares[:-1]
    return table


def draw(rng: np.random.Generator, table: Floats, row: Ints) -> Ints:
    """One column for each entry of `row`, by the cumulative shares in that row of `table`."""
    picked: Ints = (table[row] <= rng.random(len(row))[:, None]).sum(axis=1)
    return picked


TYPE_SHARES = cumulative([[kind.weight for kind in category.types] for category in CATEGORIES])


BRAND_SHARES = cumulative([[(n + 1.5) ** -0.8 for n in range(len(c.brands))] for c in CATEGORIES])


STYLE_SHARES = cumulative([category.style_weights for category in CATEGORIES])


def stock(rng: np.random.Generator, products: int) -> Shelf:
    """Fill the shelf: every category at least once, types by weight, Zipf popularity inside a type."""
    shares = np.array([category.weight for category in CATEGORIES])
    extra = rng.multinomial(products - len(CATEGORIES), shares / shares.sum())
    category = rng.permutation(np.repeat(np.arange(len(CATEGORIES)), extra + 1))
    kind = FIRST_TYPE[category] + draw(rng, TYPE_SHARES, category)
    brand = draw(rng, BRAND_SHARES, category)
    style = draw(rng, STYLE_SHARES, category)
    level = rng.normal(0.0, 0.38, products)
    base = np.array([kind_.price for kind_ in TYPES])[kind]
    style_price = np.ones((len(CATEGORIES), MOST_STYLES))
    for number, entry in enumerate(CATEGORIES):
        style_price[number, : len(entry.style_prices)] = entry.style_prices
    rank = _rank_inside(kind, rng.random(products))
    late = (rng.random(products) < 0.18) & (rank > 0)
    return Shelf(
        kind=kind,
        brand=brand,
        style=style,
        tier=np.digitize(level, [-0.17, 0.17]),
        price=_shop_price(base * style_price[category, style] * np.exp(level)),
        in_stock=rng.random(products) < 0.95,
        weight=np.power(rank + 1.0, -1.15),
        launch_week=np.where(late, rng.integers(1, WEEKS - 1, products), 0),
    )


def _rank_inside(group: Ints, score: Floats) -> Ints:
    """Position of each entry inside its group, by score, from 0."""
    order = np.lexsort((score, group))
    ordered = group[order]
    rank = np.empty(len(group), dtype=np.int64)
    rank[order] = np.arange(len(group)) - np.searchsorted(ordered, ordered)
    return rank


def _shop_price(raw: Floats) -> Floats:
    """Prices as shops write them: 17.5, 49, 185, 1250."""
    steps = np.select([raw < 30, raw < 100, raw < 1000], [0.5, 1.0, 5.0], 50.0)
    rounded: Floats = np.maximum(np.round(raw / steps) * steps, 4.0)
    return rounded
