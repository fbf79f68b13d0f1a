"""The buyers of the market, their tastes, and how a product is drawn for a taste."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from demo.market.stock import PRICE_LEVELS, WEEKS, Assortment, Shelf, cumulative, draw
from twotower.arrays import Float64, Int64, Mask

_INTERESTS = 4
FAVOURITES = 3
COMPANIONS = 4


class _Aisle:
    """Products sorted by group, with their popularity in each week: a group is one range to draw from."""

    def __init__(self, group: Int64, groups: int, weekly: Float64) -> None:
        self._order = np.argsort(group, kind="stable")
        self._edges = np.searchsorted(group[self._order], np.arange(groups + 1))
        sums = np.zeros((WEEKS, len(group) + 1))
        np.cumsum(weekly[:, self._order], axis=1, out=sums[:, 1:])
        # Stacked with a growing offset, the weeks form one ascending array: a single search serves any week.
        self._stride = float(sums[:, -1].max()) + 1.0
        self._sums = sums + np.arange(WEEKS)[:, None] * self._stride
        self._flat = self._sums.ravel()

    def pick(self, rng: np.random.Generator, week: Int64, low: Int64, high: Int64) -> Int64:
        """A product number from groups `low` up to but not including `high`, for each entry; -1 if none is on sale."""
        first, last = self._edges[low], self._edges[high]
        bottom, top = self._sums[week, first], self._sums[week, last]
        place = np.searchsorted(self._flat, bottom + rng.random(len(week)) * (top - bottom), side="right") - 1
        place = np.clip(place - week * self._sums.shape[1], first, np.maximum(last - 1, first))
        product: Int64 = self._order[np.minimum(place, len(self._order) - 1)]
        return np.where(top - bottom > 1e-9, product, -1)


class _Taste(NamedTuple):
    """The wanted type, brand, style and price level; -1 in `brand` means no preference."""

    kind: Int64
    brand: Int64
    style: Int64
    price_level: Int64

    def take(self, rows: Mask | Int64) -> _Taste:
        """The tastes of some rows."""
        return _Taste(self.kind[rows], self.brand[rows], self.style[rows], self.price_level[rows])


@dataclass(frozen=True)
class Market:
    """The shelf, indexed so that many products are drawn from it at once.

    `stocked[t]` is type `t`, or another type of its category if `t` has no product. `complements` and `look_alikes`
    hold `COMPANIONS` product numbers for each product.
    """

    shelf: Shelf
    by_brand: _Aisle
    by_style: _Aisle
    stocked: Int64
    link_shares: Float64
    link_targets: Int64
    complements: Int64
    look_alikes: Int64

    @classmethod
    def build(cls, shelf: Shelf, rng: np.random.Generator) -> Market:
        """Indexes the shelf and ties every product to a few complements and look-alikes."""
        assortment = shelf.assortment
        week = np.arange(WEEKS)[:, None]
        age = week - shelf.launch_week[None, :]
        fresh = np.where(shelf.launch_week[None, :] > 0, 1.0 + 3.0 * np.exp(-age / 2.5), 1.0)
        weekly = np.where(age >= 0, shelf.weight[None, :] * fresh, 0.0)
        types, brands, styles = len(assortment.types), assortment.most_brands, assortment.most_styles
        brand_group = shelf.kind * brands + shelf.brand
        style_group = (shelf.kind * styles + shelf.style) * PRICE_LEVELS + shelf.price_level
        numbers = assortment.type_number
        links = [[(numbers[name], share) for name, share in kind.links.items()] for kind in assortment.types]
        targets = np.zeros((types, max(len(row) for row in links)), dtype=np.int64)
        for number, row in enumerate(links):
            targets[number, : len(row)] = [target for target, _ in row]
        empty = np.zeros((0, COMPANIONS), dtype=np.int64)
        market = cls(
            shelf=shelf,
            by_brand=_Aisle(brand_group, types * brands, weekly),
            by_style=_Aisle(style_group, types * styles * PRICE_LEVELS, weekly),
            stocked=_stocked_types(assortment, shelf.kind),
            link_shares=cumulative([[share for _, share in row] for row in links]),
            link_targets=targets,
            complements=empty,
            look_alikes=empty,
        )
        return cls(**{**market.__dict__, **market._companions(rng)})

    def _companions(self, rng: np.random.Generator) -> dict[str, Int64]:
        shelf, category_of = self.shelf, self.shelf.assortment.category_of
        week = np.full(len(shelf.kind), WEEKS - 1)
        own = _Taste(shelf.kind, shelf.brand, shelf.style, shelf.price_level)
        complements, look_alikes = [], []
        for _ in range(COMPANIONS):
            target = self.linked(rng, shelf.kind)
            near = category_of[target] == category_of[shelf.kind]
            wanted = own._replace(kind=target, brand=np.where(near, shelf.brand, -1))
            complements.append(self.pick(rng, week, wanted))
            look_alikes.append(self.pick(rng, week, own))
        return {"complements": np.stack(complements, axis=1), "look_alikes": np.stack(look_alikes, axis=1)}

    def linked(self, rng: np.random.Generator, kind: Int64) -> Int64:
        """A linked type of each given type, one that has products."""
        column = draw(rng, self.link_shares, kind)
        target: Int64 = self.stocked[self.link_targets[kind, column]]
        return target

    def pick(self, rng: np.random.Generator, week: Int64, taste: _Taste) -> Int64:
        """A product of the wanted type on sale in that week, mostly of the wanted brand, style or price level."""
        kind = taste.kind
        brands, styles = self.shelf.assortment.most_brands, self.shelf.assortment.most_styles
        mode = rng.random(len(kind))
        style = (kind * styles + taste.style) * PRICE_LEVELS
        level = style + taste.price_level
        exact = mode < 0.4
        low = np.where(exact, level, style)
        high = np.where(exact, level + 1, style + PRICE_LEVELS)
        whole = mode >= 0.85
        per_type = styles * PRICE_LEVELS
        low, high = np.where(whole, kind * per_type, low), np.where(whole, (kind + 1) * per_type, high)
        product = self.by_style.pick(rng, week, low, high)
        branded = (mode >= 0.55) & (mode < 0.85) & (taste.brand >= 0)
        group = kind * brands + np.maximum(taste.brand, 0)
        same_brand = self.by_brand.pick(rng, week, group, group + 1)
        product = np.where(branded & (same_brand >= 0), same_brand, product)
        any_of_type = self.by_style.pick(rng, week, kind * per_type, (kind + 1) * per_type)
        return np.where(product >= 0, product, any_of_type)


def _stocked_types(assortment: Assortment, kind: Int64) -> Int64:
    """Each type itself, or the type of its category with the most products if it has none."""
    counts = np.bincount(kind, minlength=len(assortment.types))
    best = [int(first + np.argmax(counts[first:last])) for first, last in pairwise(assortment.first_type.tolist())]
    stocked: Int64 = np.where(counts > 0, np.arange(len(counts)), np.array(best)[assortment.category_of])
    return stocked


def _affinity(assortment: Assortment) -> Float64:
    """How strongly an interest in one category comes with an interest in another, as logarithms."""
    keys = list(assortment.catalogue.categories)
    table = np.tile(assortment.category_weights, (len(keys), 1))
    for number, category in enumerate(assortment.categories):
        table[number, [keys.index(name) for name in category.near]] *= 7.0
        table[number, number] = 1e-12
    logs: Float64 = np.log(table)
    return logs


@dataclass(frozen=True)
class Buyers:
    """A block of buyers: up to four interests each, with a taste for each of them.

    Arrays have one row for each buyer and one column for each interest. `base`, `swing`, `period` and `phase` say how
    the strength of an interest moves over the weeks.
    """

    assortment: Assortment
    category: Int64
    favourites: Int64
    brand: Int64
    style: Int64
    price_level: Int64
    base: Float64
    swing: Float64
    period: Float64
    phase: Float64
    cart_share: Float64

    @classmethod
    def invite(cls, market: Market, rng: np.random.Generator, count: int) -> Buyers:
        """Draws `count` buyers."""
        assortment = market.shelf.assortment
        shape = (count, _INTERESTS)
        first = assortment.draw_categories(rng, count)
        score = _affinity(assortment)[first] + rng.gumbel(size=(count, len(assortment.categories)))
        others = np.argsort(-score, axis=1)[:, : _INTERESTS - 1]
        category = np.concatenate([first[:, None], others], axis=1)
        interests = 1 + rng.choice(_INTERESTS, count, p=[0.22, 0.34, 0.28, 0.16])
        base = rng.normal(0.0, 0.8, shape) - np.where(np.arange(_INTERESTS) < interests[:, None], 0.0, np.inf)
        flat = category.ravel()
        level = np.clip(rng.normal(1.0, 0.75, count)[:, None] + rng.normal(0.0, 0.3, shape), 0, 2)
        return cls(
            assortment=assortment,
            category=category,
            favourites=_favourite_types(market, rng, flat).reshape(count, _INTERESTS, FAVOURITES),
            brand=draw(rng, assortment.brand_shares, flat).reshape(shape),
            style=draw(rng, assortment.style_shares, flat).reshape(shape),
            price_level=np.rint(level).astype(np.int64),
            base=base,
            swing=rng.uniform(0.5, 2.5, shape),
            period=rng.uniform(50.0, 150.0, shape),
            phase=rng.uniform(0.0, 2 * np.pi, shape),
            cart_share=rng.beta(4.0, 16.0, count),
        )

    def interest(self, rng: np.random.Generator, buyer: Int64, day: Float64) -> Int64:
        """The interest that drives each visit; the mixture changes slowly over the weeks."""
        angle = 2 * np.pi * day[:, None] / self.period[buyer] + self.phase[buyer]
        score = self.base[buyer] + self.swing[buyer] * np.sin(angle) + rng.gumbel(size=(len(buyer), _INTERESTS))
        picked: Int64 = np.argmax(score, axis=1)
        return picked

    def taste(self, rng: np.random.Generator, buyer: Int64, kind: Int64) -> _Taste:
        """Each buyer's taste for a type. Outside the buyer's interests only the price level is the buyer's own."""
        style_shares = self.assortment.style_shares
        category = self.assortment.category_of[kind]
        same = self.category[buyer] == category[:, None]
        slot = np.argmax(same, axis=1)
        known = same[np.arange(len(buyer)), slot]
        style = np.where(known, self.style[buyer, slot], draw(rng, style_shares, category))
        wander = rng.random(len(buyer)) < 0.15
        style = np.where(wander, draw(rng, style_shares, category), style)
        return _Taste(kind, np.where(known, self.brand[buyer, slot], -1), style, self.price_level[buyer, slot])


def _favourite_types(market: Market, rng: np.random.Generator, category: Int64) -> Int64:
    """Three favourite types [N, 3] for each category: one, a complement of it, and often the first again."""
    assortment = market.shelf.assortment
    first = market.stocked[assortment.draw_types(rng, category)]
    second = market.linked(rng, first)
    second = np.where(assortment.category_of[second] == category, second, first)
    third = market.stocked[assortment.draw_types(rng, category)]
    third = np.where(rng.random(len(category)) < 0.5, third, first)
    return np.stack([first, second, third], axis=1)
