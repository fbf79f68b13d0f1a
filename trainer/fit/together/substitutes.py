"""Which products of one category are substitutes for one another: those whose texts are near.

Two rings share few words, if one title begins with a brand. So a product is compared by the mean of its nearest
neighbours' texts, within its category; on the demo market, whose product types are known, this separates products of
one type from others of the category far better than the texts alone, and better than vectors of behaviour, which are
near for complements too (docs/together.md has the figures).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from trainer.index.build import list_count, train_index
from twotower.arrays import Float32, Float64, Int64, Mask

_NEAREST = 10
_BLOCK = 1024
# products of a category from which on their nearest ones are searched in lists, and how many lists are read
_EXACT_BELOW, _PROBES = 20_000, 16
# pairs that the cut is learned from
_PAIRS = 200_000


@dataclass(frozen=True)
class Substitutes:
    """`vectors` [N, E]: mean texts, of length 1 or all zero. `category` [N]: its number, -1 for none.

    Products of one category whose vectors have a cosine of at least `cut` are substitutes.
    """

    vectors: Float32
    category: Int64
    cut: float

    @classmethod
    def learn(cls, texts: Float32, categories: Sequence[str], cut: float | Literal["auto"], seed: int) -> Substitutes:
        """From text vectors [N, E] of length 1 and the names of the categories [N], empty for none.

        `auto` cuts where the cosines of products of one category fall best into two classes (Otsu 1979).
        """
        names = {name: code for code, name in enumerate(sorted({one for one in categories if one}))}
        category = np.array([names.get(one, -1) for one in categories], np.int64)
        vectors = np.zeros(texts.shape, np.float32)
        for code in range(len(names)):
            rows = np.flatnonzero(category == code)
            vectors[rows] = _smoothed(texts[rows], seed)
        found = otsu(_sampled_cosines(vectors, category, seed)) if cut == "auto" else cut
        return cls(vectors, category, found)

    def are_substitutes(self, one: Int64, two: Int64) -> Mask:
        """For pairs of rows [P]."""
        same = (self.category[one] == self.category[two]) & (self.category[one] >= 0)
        near = np.zeros(len(one), np.bool_)
        for first in range(0, len(one), _PAIRS):
            part = np.flatnonzero(same[first : first + _PAIRS]) + first
            cosines = np.einsum("pe,pe->p", self.vectors[one[part]], self.vectors[two[part]])
            near[part] = cosines >= self.cut
        return near


def otsu(values: Float64 | Float32) -> float:
    """The value from which on the upper of two classes begins, where the variance between the classes is largest.

    Without two different values: infinity, so that nothing is above it. Source: Otsu 1979, without a histogram.
    """
    ordered = np.sort(values.astype(np.float64))
    places = np.flatnonzero(np.diff(ordered) > 0) + 1  # a class begins with a new value
    if not len(places):
        return float("inf")
    sums = np.cumsum(ordered)
    below = places / len(ordered)
    mean_below = sums[places - 1] / places
    mean_above = (sums[-1] - sums[places - 1]) / (len(ordered) - places)
    between = below * (1 - below) * (mean_above - mean_below) ** 2
    return float(ordered[places[int(between.argmax())]])


def _smoothed(texts: Float32, seed: int) -> Float32:
    """The mean of each vector's nearest ones, itself included, at length 1."""
    means = np.zeros(texts.shape, np.float32)
    find = _finder(texts, min(_NEAREST, len(texts)), seed)
    for first in range(0, len(texts), _BLOCK):
        means[first : first + _BLOCK] = texts[find(texts[first : first + _BLOCK])].mean(axis=1)
    means[~texts.any(axis=1)] = 0
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    return np.asarray(means / np.maximum(lengths, 1e-12), np.float32)


def _finder(texts: Float32, count: int, seed: int) -> Callable[[Float32], Int64]:
    """Finds the rows [B, count] of the texts [N, E] nearest to each of some texts [B, E].

    Comparing all pairs takes time with the square of N: from `_EXACT_BELOW` on, lists of near texts are searched, which
    misses a few.
    """
    if len(texts) < _EXACT_BELOW:
        return lambda asked: _nearest(asked @ texts.T, count)
    index = train_index(f"IVF{list_count(len(texts))},SQ8", texts, seed)
    index.nprobe = _PROBES

    def search(asked: Float32) -> Int64:
        rows: Int64 = index.search(asked, count)[1]
        # where the lists hold too few, the nearest counts again
        return np.where(rows < 0, rows[:, :1], rows)

    return search


def _nearest(cosines: Float32, count: int) -> Int64:
    """The places [B, count] of the highest of each row [B, N], in no order."""
    np.negative(cosines, out=cosines)
    nearest = np.empty((len(cosines), count), np.int64)
    for place, row in enumerate(cosines):
        nearest[place] = np.argpartition(row, count - 1)[:count]
    return nearest


def _sampled_cosines(vectors: Float32, category: Int64, seed: int) -> Float32:
    """The cosines of random pairs of different products of one category, as often as the category has pairs."""
    placed = np.flatnonzero((category >= 0) & vectors.any(axis=1))
    order = placed[np.argsort(category[placed], kind="stable")]
    sizes = np.bincount(category[order]) if len(order) else np.zeros(0, np.int64)
    starts, pairs = np.cumsum(sizes) - sizes, sizes.astype(np.float64) * (sizes - 1)
    if not pairs.sum():
        return np.empty(0, np.float32)
    draw = np.random.default_rng(seed)
    chosen = draw.choice(len(sizes), _PAIRS, p=pairs / pairs.sum())
    first = draw.integers(0, sizes[chosen])
    second = (first + draw.integers(1, sizes[chosen])) % sizes[chosen]
    one, two = (order[starts[chosen] + place] for place in (first, second))
    return np.asarray(np.einsum("pe,pe->p", vectors[one], vectors[two]), np.float32)
