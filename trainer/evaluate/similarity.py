"""Do vectors tell categories apart? Similarity of product pairs inside a category and across categories."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata

from trainer.config.schema import TextPair
from twotower.arrays import Float32, Int64

PAIRS = 20_000


def draw_pairs(category: Int64, pairs: int, seed: int) -> tuple[Int64, Int64]:
    """`pairs` random pairs [P, 2] of different products of one category, and as many across categories.

    `category` [N], 0 = unknown: such products are left out. Both are empty where either cannot be drawn.
    """
    known = np.flatnonzero(category)
    order = known[np.argsort(category[known], kind="stable")]
    codes, start, size = np.unique(category[order], return_index=True, return_counts=True)
    shared = np.flatnonzero((size >= 2)[np.searchsorted(codes, category[order])])
    if len(codes) < 2 or not len(shared):
        return np.empty((0, 2), np.int64), np.empty((0, 2), np.int64)
    draw = np.random.default_rng(seed)
    group = np.searchsorted(codes, category[order])
    one = draw.choice(shared, pairs)
    # a place of the same category, and the next one around where it is the very same
    other = draw.integers(size[group[one]] - 1) + 1
    same = np.stack((order[one], order[start[group[one]] + (one - start[group[one]] + other) % size[group[one]]]), 1)
    one = draw.integers(len(order), size=pairs)
    # a place outside the category: those after it, around the end
    outside = len(order) - size[group[one]]
    two = (start[group[one]] + size[group[one]] + draw.integers(outside)) % len(order)
    return same, np.stack((order[one], order[two]), axis=1)


def separation(vectors: Float32, category: Int64, seed: int, pairs: int = PAIRS) -> dict[str, Any]:
    """Mean cosine of both kinds of pairs of unit `vectors` [N, D], and the AUC: how often a pair of one category is
    more alike than a pair of two. None where there are no two categories, or no two products of one."""
    same, cross = draw_pairs(category, pairs, seed)
    if not len(same):
        return {"same_category_mean": None, "cross_category_mean": None, "auc": None, "pairs": 0}
    inside, across = ((vectors[pair[:, 0]] * vectors[pair[:, 1]]).sum(axis=1) for pair in (same, cross))
    ranks = rankdata(np.concatenate((inside, across)))[: len(inside)]
    auc = (ranks.sum() - len(inside) * (len(inside) + 1) / 2) / (len(inside) * len(across))
    return {
        "same_category_mean": float(inside.mean()),
        "cross_category_mean": float(across.mean()),
        "auc": float(auc),
        "pairs": len(inside),
    }


class Pair(NamedTuple):
    """Two products by their rows, and the cosine of their vectors."""

    one: int
    two: int
    cosine: float


def example_pairs(vectors: Float32, category: Int64, count: int, seed: int) -> tuple[list[Pair], list[Pair]]:
    """`count` random pairs of one category and as many of two, of unit `vectors` [N, D]; see `draw_pairs`."""
    same, cross = draw_pairs(category, count, seed)
    return _pairs(vectors, same), _pairs(vectors, cross)


def nearest(vectors: Float32, rows: Int64, count: int) -> list[list[Pair]]:
    """The `count` products nearest to each of `rows` among unit `vectors` [N, D], the nearest first."""
    cosines = vectors[rows] @ vectors.T
    cosines[np.arange(len(rows)), rows] = -np.inf
    best = np.argsort(-cosines, axis=1, kind="stable")[:, : min(count, len(vectors) - 1)]
    return [[Pair(int(row), int(other), float(cosines[i, other])) for other in best[i]] for i, row in enumerate(rows)]


def text_pairs(pairs: Sequence[TextPair], encode: Callable[[list[str]], Float32]) -> list[dict[str, Any]]:
    """The pairs with the `cosine` of their titles' vectors, and whether it is what it should be (`holds`).

    `encode` gives unit vectors [B, D] of B titles.
    """
    if not pairs:
        return []
    titles = list(dict.fromkeys(title for pair in pairs for title in (pair.one, pair.two)))
    vector = dict(zip(titles, encode(titles), strict=True))
    found = []
    for pair in pairs:
        cosine = float(vector[pair.one] @ vector[pair.two])
        holds = (pair.above is None or cosine > pair.above) and (pair.below is None or cosine < pair.below)
        found.append(pair.model_dump() | {"cosine": cosine, "holds": holds})
    return found


def missed(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line for each of the `text_pairs` that is not as alike, or as different, as it should be."""
    return [
        f"{pair['one']!r} and {pair['two']!r} have a cosine of {pair['cosine']:.2f}, wanted "
        + " and ".join(f"{name} {pair[name]:g}" for name in ("above", "below") if pair[name] is not None)
        for pair in pairs
        if not pair["holds"]
    ]


def _pairs(vectors: Float32, rows: Int64) -> list[Pair]:
    return [Pair(int(one), int(two), float(vectors[one] @ vectors[two])) for one, two in rows]
