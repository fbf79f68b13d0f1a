"""Chooses the strength of shrinkage on baskets that the pairs were not counted in."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from trainer.config.schema import Together
from trainer.fit.together.groups import Groups, Shopping
from trainer.fit.together.substitutes import Substitutes
from trainer.fit.together.table import Strength, TableFitter
from twotower.arrays import Float64, Int64
from twotower.events import DAY_MS

log = logging.getLogger(__name__)

_LISTED = 10


class Carts(NamedTuple):
    """Baskets with one product held out: the rest [B, N], one product of the rest [B, N], and the held-out row [B]."""

    rest: sparse.csr_matrix
    one: sparse.csr_matrix
    target: Int64


def hold_out(baskets: Groups, most: int, seed: int) -> Carts:
    """Up to `most` random baskets of two products or more, each with a random product held out."""
    draw = np.random.default_rng(seed)
    rows = np.flatnonzero(baskets.sizes > 1)
    if len(rows) > most:
        rows = np.sort(draw.choice(rows, most, replace=False))
    members = baskets.members[rows].tocsr().sorted_indices()
    sizes = np.diff(members.indptr)
    held = draw.integers(0, sizes)
    shown = (held + draw.integers(1, sizes)) % sizes if len(rows) else held
    one = sparse.csr_matrix(
        (np.ones(len(rows)), members.indices[members.indptr[:-1] + shown], np.arange(len(rows) + 1)),
        shape=members.shape,
    )
    target = members.indices[members.indptr[:-1] + held].astype(np.int64)
    out = sparse.csr_matrix((np.ones(len(rows)), target, np.arange(len(rows) + 1)), shape=members.shape)
    rest = (members - out).tocsr()
    rest.eliminate_zeros()
    return Carts(rest, one, target)


def found(cart: sparse.csr_matrix, table: sparse.csr_matrix, target: Int64, listed: int = _LISTED) -> Float64:
    """Whether the target [B] is among the first so many products by the summed scores, without those of the cart.

    Where several products share the score of the last place, the chance that it is the target.
    """
    hits = np.zeros(len(target))
    scores = (cart @ table).tocsr()
    for row, wanted in enumerate(target.tolist()):
        part = slice(scores.indptr[row], scores.indptr[row + 1])
        columns, values = scores.indices[part], scores.data[part]
        own = cart.indices[cart.indptr[row] : cart.indptr[row + 1]]
        score = values[columns == wanted].sum()
        if score > 0:
            others = values[~np.isin(columns, own) & (columns != wanted)]
            better, equal = int((others > score).sum()), int((others == score).sum())
            hits[row] = min(max(listed - better, 0) / (equal + 1), 1.0)
    return hits


class Choice(NamedTuple):
    """The strength that was chosen, and what metrics.json says about it."""

    strength: Strength
    facts: dict[str, Any]


def choose_strength(shopping: Shopping, substitutes: Substitutes, settings: Together, seed: int) -> Choice:
    """The first strengths of the settings, or those of best recall@10 on the newest baskets if there are enough.

    The shrinkage orders the complements of one product, and is chosen by one product of the basket; the ridge is chosen
    by all the others.
    """
    first = Strength(settings.shrinkages[0], settings.ridges[0])
    newest = int(shopping.baskets.end.max(initial=0))
    cut = newest - round(settings.validation_days * DAY_MS)
    held = hold_out(shopping.baskets.take(shopping.baskets.end > cut), settings.validation_baskets, seed)
    count = len(held.target)
    if count < settings.min_validation:
        log.info(f"complements: {count:,} baskets to validate on, {settings.min_validation:,} are needed")
        return Choice(first, {"validation_baskets": count})
    fitter = TableFitter(shopping.until(cut), substitutes, settings)
    lists = {one: fitter.lists(one) for one in settings.shrinkages}
    by_shrinkage = {one: float(found(held.one, lists[one], held.target).mean()) for one in settings.shrinkages}
    shrinkage = max(settings.shrinkages, key=lambda one: by_shrinkage[one])
    tables = fitter.weights(lists[shrinkage], settings.ridges)
    by_ridge = {
        one: float(found(held.rest, table, held.target).mean())
        for one, table in zip(settings.ridges, tables, strict=True)
    }
    strength = Strength(shrinkage, max(settings.ridges, key=lambda one: by_ridge[one]))
    facts = {
        "validation_baskets": count,
        "recall@10_of_one_product": {f"{one:g}": value for one, value in by_shrinkage.items()},
        "recall@10_of_the_rest": {f"{one:g}": value for one, value in by_ridge.items()},
    }
    return Choice(strength, facts)
