"""The buyers of the market: their tastes, and what is on the shelves for them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from demo.market.catalogue import (
    CATEGORIES,
)
from demo.market.stock import (
    BRAND_SHARES,
    CATEGORY_OF,
    FIRST_TYPE,
    MOST_BRANDS,
    MOST_STYLES,
    STYLE_SHARES,
    TIERS,
    TYPE_SHARES,
    TYPES,
    WEEKS,
    Bools,
    Floats,
    Ints,
    Shelf,
    cumulative,
    draw,
)

_INTERESTS = 4


FAVOURITES = 3


COMPANIONS = 4


class _Aisle:
    """Products sorted by group, with weekly popularity, so that a group is one range to draw from."""

    def __init__(self, group: Ints, groups: int, weekly: Floats) -> None:
        self._order = np.argsort(group, kind="stable")
        self._edges = np.searchsorted(group[self._order], np.arange(groups + 1))
        sums = np.zeros((WEEKS, len(group) + 1))
        np.cumsum(weekly[:, self._order], axis=1, out=sums[:, 1:])
        # Stacked with a growing offset, the weeks form one ascending array: a single search serves any week.
        self._stride = float(sums[:, -1].max()) + 1.0
        self._sums = sums + np.arange(WEEKS)[:, None] * self._stride
        self._flat = self._sums.ravel()

    def pick(self, rng: np.random.Generator, week: Ints, low: Ints, high: Ints) -> Ints:
        """One product number from groups `low` up to but not including `high`, -1 where none is on sale."""
        first, last = self._edges[low], self._edges[high]
        bottom, top = self._sums[week, first], self._sums[week, last]
        place = np.searchsorted(self._flat, bottom + rng.random(len(week)) * (top - bottom), side="right") - 1
        place = np.clip(place - week * self._sums.shape[1], first, np.maximum(last - 1, first))
        product: Ints = self._order[np.minimum(place, len(self._order) - 1)]
        return np.where(top - bottom > 1e-9, product, -1)


class _Taste(NamedTuple):
    """What a pick should look like; -1 in `brand` means no preference."""

    kind: Ints
    brand: Ints
    style: Ints
    tier: Ints

    def take(self, rows: Bools | Ints) -> _Taste:
        """The same for some rows."""
        return _Taste(self.kind[rows], self.brand[rows], self.style[rows], self.tier[rows])


@dataclass(frozen=True)
class Market:
    """The shelf with everything needed to draw products from it in bulk."""

    shelf: Shelf
    by_brand: _Aisle
    by_style: _Aisle
    stocked: Ints
    link_shares: Floats
    link_targets: Ints
    complements: Ints
    look_alikes: Ints

    @classmethod
    def build(cls, shelf: Shelf, rng: np.random.Generator) -> Market:
        """Index the shelf and tie every product to a few complements and look-alikes."""
        week = np.arange(WEEKS)[:, None]
        age = week - shelf.launch_week[None, :]
        fresh = np.where(shelf.launch_week[None, :] > 0, 1.0 + 3.0 * np.exp(-age / 2.5), 1.0)
        weekly = np.where(age >= 0, shelf.weight[None, :] * fresh, 0.0)
        types = len(TYPES)
        brand_group = shelf.kind * MOST_BRANDS + shelf.brand
        style_group = (shelf.kind * MOST_STYLES + shelf.style) * TIERS + shelf.tier
        numbers = {kind.key: number for number, kind in enumerate(TYPES)}
        links = [[(numbers[name], share) for name, share in kind.links] for kind in TYPES]
        targets = np.zeros((types, max(len(row) for row in links)), dtype=np.int64)
        for number, row in enumerate(links):
            targets[number, : len(row)] = [target for target, _ in row]
        empty = np.zeros((0, COMPANIONS), dtype=np.int64)
        market = cls(
            shelf=shelf,
            by_brand=_Aisle(brand_group, types * MOST_BRANDS, weekly),
            by_style=_Aisle(style_group, types * MOST_STYLES * TIERS, weekly),
            stocked=_stocked_types(shelf.kind),
            link_shares=cumulative([[share for _, share in row] for row in links]),
            link_targets=targets,
            complements=empty,
            look_alikes=empty,
        )
        return cls(**{**market.__dict__, **market._companions(rng)})

    def _companions(self, rng: np.random.Generator) -> dict[str, Ints]:
        shelf = self.shelf
        week = np.full(len(shelf.kind), WEEKS - 1)
        own = _Taste(shelf.kind, shelf.brand, shelf.style, shelf.tier)
        complements, look_alikes = [], []
        for _ in range(COMPANIONS):
            target = self.linked(rng, shelf.kind)
            near = CATEGORY_OF[target] == CATEGORY_OF[shelf.kind]
            wanted = own._replace(kind=target, brand=np.where(near, shelf.brand, -1))
            complements.append(self.pick(rng, week, wanted))
            look_alikes.append(self.pick(rng, week, own))
        return {"complements": np.stack(complements, axis=1), "look_alikes": np.stack(look_alikes, axis=1)}

    def linked(self, rng: np.random.Generator, kind: Ints) -> Ints:
        """A type that complements each given type, always one with products."""
        column = draw(rng, self.link_shares, kind)
        target: Ints = self.stocked[self.link_targets[kind, column]]
        return target

    def pick(self, rng: np.random.Generator, week: Ints, taste: _Taste) -> Ints:
        """A product of the wanted type on sale that week, mostly of the wanted brand, style or price."""
        kind = taste.kind
        mode = rng.random(len(kind))
        style = (kind * MOST_STYLES + taste.style) * TIERS
        level = style + taste.tier
        exact = mode < 0.4
        low = np.where(exact, level, style)
        high = np.where(exact, level + 1, style + TIERS)
        whole = mode >= 0.85
        per_type = MOST_STYLES * TIERS
        low, high = np.where(whole, kind * per_type, low), np.where(whole, (kind + 1) * per_type, high)
        product = self.by_style.pick(rng, week, low, high)
        branded = (mode >= 0.55) & (mode < 0.85) & (taste.brand >= 0)
        group = kind * MOST_BRANDS + np.maximum(taste.brand, 0)
        same_brand = self.by_brand.pick(rng, week, group, group + 1)
        product = np.where(branded & (same_brand >= 0), same_brand, product)
        any_of_type = self.by_style.pick(rng, week, kind * per_type, (kind + 1) * per_type)
        return np.where(product >= 0, product, any_of_type)


def _stocked_types(kind: Ints) -> Ints:
    """For every type itself, or, where it has no product, a type of the same category that has one."""
    counts = np.bincount(kind, minlength=len(TYPES))
    best = [int(first + np.argmax(counts[first:last])) for first, last in pairwise(FIRST_TYPE.tolist())]
    stocked: Ints = np.where(counts > 0, np.arange(len(TYPES)), np.array(best)[CATEGORY_OF])
    return stocked


def _affinity() -> Floats:
    """How strongly an interest in one category comes with an interest in another, as logarithms."""
    weight = np.array([category.weight for category in CATEGORIES])
    keys = [category.key for category in CATEGORIES]
    table = np.tile(weight, (len(keys), 1))
    for number, category in enumerate(CATEGORIES):
        table[number, [keys.index(name) for name in category.near]] *= 7.0
        table[number, number] = 1e-12
    logs: Floats = np.log(table)
    return logs


@dataclass(frozen=True)
class Buyers:
    """A block of buyers: up to four interests each, with the taste they have inside each of them."""

    category: Ints
    favourites: Ints
    brand: Ints
    style: Ints
    tier: Ints
    base: Floats
    swing: Floats
    period: Floats
    phase: Floats
    cart_share: Floats

    @classmethod
    def invite(cls, market: Market, rng: np.random.Generator, count: int) -> Buyers:
        """Draw `count` buyers."""
        shape = (count, _INTERESTS)
        shares = np.array([category.weight for category in CATEGORIES])
        first = rng.choice(len(CATEGORIES), count, p=shares / shares.sum())
        score = _affinity()[first] + rng.gumbel(size=(count, len(CATEGORIES)))
        others = np.argsort(-score, axis=1)[:, : _INTERESTS - 1]
        category = np.concatenate([first[:, None], others], axis=1)
        interests = 1 + rng.choice(_INTERESTS, count, p=[0.22, 0.34, 0.28, 0.16])
        base = rng.normal(0.0, 0.8, shape) - np.where(np.arange(_INTERESTS) < interests[:, None], 0.0, np.inf)
        flat = category.ravel()
        level = np.clip(rng.normal(1.0, 0.75, count)[:, None] + rng.normal(0.0, 0.3, shape), 0, 2)
        return cls(
            category=category,
            favourites=_favourite_types(market, rng, flat).reshape(count, _INTERESTS, FAVOURITES),
            brand=draw(rng, BRAND_SHARES, flat).reshape(shape),
            style=draw(rng, STYLE_SHARES, flat).reshape(shape),
            tier=np.rint(level).astype(np.int64),
            base=base,
            swing=rng.uniform(0.5, 2.5, shape),
            period=rng.uniform(50.0, 150.0, shape),
            phase=rng.uniform(0.0, 2 * np.pi, shape),
            cart_share=rng.beta(4.0, 16.0, count),
        )

    def interest(self, rng: np.random.Generator, buyer: Ints, day: Floats) -> Ints:
        """Which interest drives each visit; the mixture swings slowly over the weeks."""
        angle = 2 * np.pi * day[:, None] / self.period[buyer] + self.phase[buyer]
        score = self.base[buyer] + self.swing[buyer] * np.sin(angle) + rng.gumbel(size=(len(buyer), _INTERESTS))
        picked: Ints = np.argmax(score, axis=1)
        return picked

    def taste(self, rng: np.random.Generator, buyer: Ints, kind: Ints) -> _Taste:
        """The buyer's taste for a type; outside the buyer's interests only the price level is known."""
        category = CATEGORY_OF[kind]
        same = self.category[buyer] == category[:, None]
        slot = np.argmax(same, axis=1)
        known = same[np.arange(len(buyer)), slot]
        style = np.where(known, self.style[buyer, slot], draw(rng, STYLE_SHARES, category))
        wander = rng.random(len(buyer)) < 0.15
        style = np.where(wander, draw(rng, STYLE_SHARES, category), style)
        return _Taste(kind, np.where(known, self.brand[buyer, slot], -1), style, self.tier[buyer, slot])


def _favourite_types(market: Market, rng: np.random.Generator, category: Ints) -> Ints:
    """Three slots of favourite types for each category entry: one, a complement of it, and often repeats."""
    first = market.stocked[FIRST_TYPE[category] + draw(rng, TYPE_SHARES, category)]
    second = market.linked(rng, first)
    second = np.where(CATEGORY_OF[second] == category, second, first)
    third = market.stocked[FIRST_TYPE[category] + draw(rng, TYPE_SHARES, category)]
    third = np.where(rng.random(len(category)) < 0.5, third, first)
    return np.stack([first, second, third], axis=1)
