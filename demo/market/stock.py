"""The products of the market: types, brands, styles, prices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from demo.market.catalogue import Catalogue, Category, ProductType
from twotower.arrays import Float64, Int64, Mask

DAYS = 120
DAY_SECONDS = 86_400
WEEKS = -(-DAYS // 7)
PRICE_LEVELS = 3


def identifiers(prefix: str, count: int, digits: int) -> npt.NDArray[np.object_]:
    """`count` ids: the prefix and a number, with zeros in front."""
    return np.array([f"{prefix}{number:0{digits}d}" for number in range(count)], dtype=object)


@dataclass(frozen=True)
class Assortment:
    """The catalogue as arrays: categories and types have numbers, in the order of the catalogue.

    The types of category `c` are those from `first_type[c]` up to but not including `first_type[c + 1]`. The shares
    of types, brands and styles have one row for each category, cumulated for `draw`.
    """

    catalogue: Catalogue
    categories: tuple[Category, ...]
    types: tuple[ProductType, ...]
    type_number: dict[str, int]
    category_of: Int64
    first_type: Int64
    most_brands: int
    most_styles: int
    category_weights: Float64
    type_shares: Float64
    brand_shares: Float64
    style_shares: Float64

    @classmethod
    def of(cls, catalogue: Catalogue) -> Assortment:
        """Numbers the categories and types of a catalogue."""
        categories = tuple(catalogue.categories.values())
        sizes = [len(category.types) for category in categories]
        names = [name for category in categories for name in category.types]
        return cls(
            catalogue=catalogue,
            categories=categories,
            types=tuple(kind for category in categories for kind in category.types.values()),
            type_number={name: number for number, name in enumerate(names)},
            category_of=np.repeat(np.arange(len(categories)), sizes),
            first_type=np.concatenate([[0], np.cumsum(sizes)]),
            most_brands=max(len(category.brands) for category in categories),
            most_styles=max(len(category.style_weights) for category in categories),
            category_weights=np.array([category.weight for category in categories]),
            type_shares=cumulative([[kind.weight for kind in category.types.values()] for category in categories]),
            brand_shares=cumulative([[(n + 1.5) ** -0.8 for n in range(len(c.brands))] for c in categories]),
            style_shares=cumulative([category.style_weights for category in categories]),
        )

    def draw_categories(self, rng: np.random.Generator, count: int) -> Int64:
        """Categories [count], by weight."""
        return rng.choice(len(self.categories), count, p=self.category_weights / self.category_weights.sum())

    def draw_types(self, rng: np.random.Generator, category: Int64) -> Int64:
        """A type of each given category, by weight; it may have no products."""
        return self.first_type[category] + draw(rng, self.type_shares, category)


@dataclass(frozen=True)
class Shelf:
    """Attributes of all products, one array entry for each; `launch_week` 0 means on sale from the first day."""

    assortment: Assortment
    kind: Int64
    brand: Int64
    style: Int64
    price_level: Int64
    price: Float64
    in_stock: Mask
    weight: Float64
    launch_week: Int64


def cumulative(rows: Sequence[Sequence[float]]) -> Float64:
    """Rows of weights as cumulative shares, padded with ones to a rectangle."""
    table = np.ones((len(rows), max(len(row) for row in rows)))
    for number, row in enumerate(rows):
        shares = np.cumsum(row) / np.sum(row)
        table[number, : len(row) - 1] = shares[:-1]
    return table


def draw(rng: np.random.Generator, table: Float64, row: Int64) -> Int64:
    """One column for each entry of `row`, by the cumulative shares in that row of `table`."""
    picked: Int64 = (table[row] <= rng.random(len(row))[:, None]).sum(axis=1)
    return picked


def stock(assortment: Assortment, rng: np.random.Generator, products: int) -> Shelf:
    """Fills the shelf: every category at least once, types by weight, Zipf popularity inside a type."""
    categories = assortment.categories
    weights = assortment.category_weights
    extra = rng.multinomial(products - len(categories), weights / weights.sum())
    category = rng.permutation(np.repeat(np.arange(len(categories)), extra + 1))
    kind = assortment.draw_types(rng, category)
    brand = draw(rng, assortment.brand_shares, category)
    style = draw(rng, assortment.style_shares, category)
    level = rng.normal(0.0, 0.38, products)
    base = np.array([kind_.price for kind_ in assortment.types])[kind]
    style_price = np.ones((len(categories), assortment.most_styles))
    for number, entry in enumerate(categories):
        style_price[number, : len(entry.style_prices)] = entry.style_prices
    rank = _rank_inside(kind, rng.random(products))
    late = (rng.random(products) < 0.18) & (rank > 0)
    return Shelf(
        assortment=assortment,
        kind=kind,
        brand=brand,
        style=style,
        price_level=np.digitize(level, [-0.17, 0.17]),
        price=_shop_price(base * style_price[category, style] * np.exp(level)),
        in_stock=rng.random(products) < 0.95,
        weight=np.power(rank + 1.0, -1.15),
        launch_week=np.where(late, rng.integers(1, WEEKS - 1, products), 0),
    )


def _rank_inside(group: Int64, score: Float64) -> Int64:
    """Position of each entry inside its group, by score, from 0."""
    order = np.lexsort((score, group))
    ordered = group[order]
    rank = np.empty(len(group), dtype=np.int64)
    rank[order] = np.arange(len(group)) - np.searchsorted(ordered, ordered)
    return rank


def _shop_price(raw: Float64) -> Float64:
    """Prices as shops write them: 17.5, 49, 185, 1250."""
    steps = np.select([raw < 30, raw < 100, raw < 1000], [0.5, 1.0, 5.0], 50.0)
    rounded: Float64 = np.maximum(np.round(raw / steps) * steps, 4.0)
    return rounded
