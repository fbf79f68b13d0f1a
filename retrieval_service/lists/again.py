"""What a buyer buys again: the products of a history by the chance that the buyer buys them soon."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

import numpy as np

from twotower.arrays import Float32
from twotower.artifact.lists import RepeatModel
from twotower.artifact.version import Version
from twotower.events import DAY_MS
from twotower.repeats import (
    Interval,
    Pairs,
    RepeatTable,
    chance_of_repeat,
    purchase_days,
    usual_interval,
)
from twotower.serving import wire

# the category of each of some products, "" for one that is not known
CategoriesOf = Callable[[Sequence[str]], Sequence[str]]


class Missing(Enum):
    """Why a list is empty: nothing, the version has no model, the history no purchase, or no product that is bought
    again.
    """

    NOTHING = 0
    MODEL = 1
    PURCHASES = 2
    REPEATS = 3


class Due(NamedTuple):
    """When a buyer bought a product last (milliseconds), on how many days, and the usual interval."""

    last_ms: int
    times: int
    interval: Interval


class Regular(NamedTuple):
    """Products that the buyer buys again, in any order, with their chances [M] and facts."""

    product_ids: list[str]
    chances: Float32
    due: dict[str, Due]
    missing: Missing


class Again:
    """Ranks the products of histories with one version's model and figures.

    `rows` maps a product to its row; a product without a row has the figures of its category.
    """

    def __init__(
        self,
        model: RepeatModel | None,
        table: RepeatTable | None,
        rows: Mapping[str, int],
        categories: Sequence[str],
    ) -> None:
        self._model = model
        self._table = table
        self._rows = rows
        self._category_rows = {name: row for row, name in enumerate(categories)}

    def rank(self, history: str, now_ms: int, categories_of: CategoriesOf) -> Regular:
        """The products of a packed history that the buyer, or a large enough share of their buyers, bought again.

        Raises InvalidInput if the text is no packed history.
        """
        if self._model is None or self._table is None:
            return _empty(Missing.MODEL)
        bought = dict[str, list[int]]()
        for product, event, time_ms in zip(*wire.unpack_columns(history), strict=True):
            if event == self._model.event:
                bought.setdefault(product, []).append(time_ms)
        if not bought:
            return _empty(Missing.PURCHASES)
        products = list(bought)
        days = [purchase_days(times) for times in bought.values()]
        figures = self._figures(products, categories_of).astype(np.float64)  # [M, 5]
        times = np.array([len(one) for one in days], np.int64)
        chances = chance_of_repeat(self._model, _pairs(days, now_ms), figures[:, 2])
        kept = np.flatnonzero((times > 1) | (figures[:, 1] >= self._model.min_returns)).tolist()
        if not kept:
            return _empty(Missing.REPEATS)
        due = {
            products[place]: Due(
                max(bought[products[place]]),
                len(days[place]),
                usual_interval(days[place], *figures[place, 3:].tolist()),
            )
            for place in kept
        }
        return Regular(list(due), chances[kept].astype(np.float32), due, Missing.NOTHING)

    def _figures(self, products: Sequence[str], categories_of: CategoriesOf) -> Float32:
        assert self._table is not None
        rows = [self._rows.get(one, -1) for one in products]
        figures: Float32 = self._table.products[rows]
        new = [place for place, row in enumerate(rows) if row < 0]
        for place, category in zip(new, categories_of([products[place] for place in new]), strict=True):
            figures[place] = self._table.categories[self._category_rows.get(category, -1)]
        return figures


def _pairs(days: Sequence[Sequence[int]], now_ms: int) -> Pairs:
    first = np.array([one[0] for one in days], np.float64)
    last = np.array([one[-1] for one in days], np.float64) - first
    # a purchase may be a moment ahead of the clock
    observed = np.maximum(now_ms / DAY_MS - first, last)
    return Pairs(np.array([len(one) - 1 for one in days], np.int64), last, observed)


def _empty(missing: Missing) -> Regular:
    return Regular([], np.empty(0, np.float32), {}, missing)


def load_again(version: Version, rows: Mapping[str, int], categories: Sequence[str]) -> Again:
    """Opens a version's repeat purchases, if it has them; `categories` are the names in its catalogue, sorted.

    Raises CorruptArtifact if a file does not fit.
    """
    model, files = version.manifest.repeats, version.layout
    if model is None:
        return Again(None, None, rows, categories)
    version.check(files.repeat_products, files.repeat_categories)
    return Again(model, RepeatTable.load(files, len(rows), len(categories)), rows, categories)
