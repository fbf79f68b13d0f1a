"""Measures how well vectors separate categories: cosines of pairs inside a category and across categories."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata

from trainer.config.schema import TextPair
from twotower.arrays import Float32, Int64

PAIRS = 20_000


def draw_pairs(category: Int64, pairs: int, seed: int) -> tuple[Int64, Int64]:
    """Draws `pairs` random pairs [P, 2] of different products of one category, and as many across categories.

    `category` [N]: products of category 0, unknown, are left out. Both are empty if one kind cannot be drawn.
    """
    known = np.flatnonzero(category)
    order = known[np.argsort(category[known], kind="stable")]
    codes, start, size = np.unique(category[order], return_index=True, return_counts=True)
    shared = np.flatnonzero((size >= 2)[np.searchsorted(codes, category[order])])
    if len(codes) < 2 or not len(shared):
        return np.empty((0, 2), np.int64), np.empty((0, 2), np.int64)
    draw = np.random.default_rng(seed)
    group = np.searchsorted(codes, category[order])
    first = draw.choice(shared, pairs)
    # the second place is 1 to size - 1 steps further in the category, around its end: never the first again
    step = draw.integers(size[group[first]] - 1) + 1
    begin, length = start[group[first]], size[group[first]]
    same = np.stack((order[first], order[begin + (first - begin + step) % length]), axis=1)
    first = draw.integers(len(order), size=pairs)
    # the second place is outside the category: after it, around the end of all
    begin, length = start[group[first]], size[group[first]]
    second = (begin + length + draw.integers(len(order) - length)) % len(order)
    return same, np.stack((order[first], order[second]), axis=1)


def separation(vectors: Float32, category: Int64, seed: int, pairs: int = PAIRS) -> dict[str, Any]:
    """Returns the mean cosine of both kinds of pairs of unit `vectors` [N, D], and the AUC.

    The AUC is the probability that a pair of one category has a higher cosine than a pair of two categories. All are
    None without two categories, or without two products of one category.
    """
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
    """The rows of two products, and the cosine of their vectors."""

    one: int
    two: int
    cosine: float


def example_pairs(vectors: Float32, category: Int64, count: int, seed: int) -> tuple[list[Pair], list[Pair]]:
    """Draws `count` random pairs of one category and as many of two, from unit `vectors` [N, D]; see `draw_pairs`."""
    same, cross = draw_pairs(category, count, seed)
    return _pairs(vectors, same), _pairs(vectors, cross)


def nearest(vectors: Float32, rows: Int64, count: int) -> list[list[Pair]]:
    """Returns the `count` nearest neighbours of each of `rows` among unit `vectors` [N, D], the nearest first."""
    cosines = vectors[rows] @ vectors.T
    cosines[np.arange(len(rows)), rows] = -np.inf
    best = np.argsort(-cosines, axis=1, kind="stable")[:, : min(count, len(vectors) - 1)]
    return [[Pair(int(row), int(other), float(cosines[i, other])) for other in best[i]] for i, row in enumerate(rows)]


def text_pairs(pairs: Sequence[TextPair], encode: Callable[[list[str]], Float32]) -> list[dict[str, Any]]:
    """Adds to each configured pair the `cosine` of its titles, and `holds`: whether it is within the pair's bounds.

    `encode` returns unit vectors [B, D] of B titles.
    """
    if not pairs:
        return []
    titles = list(dict.fromkeys(title for pair in pairs for title in (pair.one, pair.two)))
    vector = dict(zip(titles, encode(titles), strict=True))
    measured = []
    for pair in pairs:
        cosine = float(vector[pair.one] @ vector[pair.two])
        holds = (pair.above is None or cosine > pair.above) and (pair.below is None or cosine < pair.below)
        measured.append(pair.model_dump() | {"cosine": cosine, "holds": holds})
    return measured


def describe_unmet(pairs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Returns one line for each of the `text_pairs` with a cosine outside its bounds."""
    return [
        f"{pair['one']!r} and {pair['two']!r} have a cosine of {pair['cosine']:.2f}, wanted "
        + " and ".join(f"{name} {pair[name]:g}" for name in ("above", "below") if pair[name] is not None)
        for pair in pairs
        if not pair["holds"]
    ]


def _pairs(vectors: Float32, rows: Int64) -> list[Pair]:
    return [Pair(int(one), int(two), float(vectors[one] @ vectors[two])) for one, two in rows]
