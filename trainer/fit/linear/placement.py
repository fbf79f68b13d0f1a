"""A linear autoencoder in closed form as two towers: a strong model where buyers take many products each, in seconds.

EASE (Steck 2019, arXiv:1905.03375) scores a history by the regression of every product on all others. The partial
correlations behind it are a symmetric matrix; its leading eigenvectors, scaled and normalised, are item vectors whose
cosines come near to it (ELSA, Vančura et al., RecSys 2022, learns such vectors by descent), and the decayed mean of a
history's vectors is the buyer's.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse
from torch import Tensor

from trainer.fit.linear.spectral import unit
from trainer.fit.linear.trend import BIASES, tilts
from trainer.fit.text_neighbors import alike
from trainer.model.inputs import ItemFeatures
from twotower.arrays import Float32, Int64

# regularisation of what content tells of a vector: tried on a tenth of the products; and rounds of backfitting
_RIDGES, _BACKFITS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0), 3


# a table's row is its products' mean residual, as if this many more had none
_SHRINK = 3.0


# of what a text that is no product's is to be near: the mean of its category, beside the product's own vector; and how
# smoothly texts tell of it
_PART_OF_CATEGORY, _ALIGNED_RIDGE = 0.8, 3.0


# how much more, of the products that read most alike, the nearer tell of one that nobody took: tried as the ridges are
_SHARPNESSES = (0.0, 4.0, 8.0, 16.0)


# products on which these are tried, at most; a few of them may tell nonsense of how much too small guessed trends are
_TRIED, _MOST_SLOPE = 2000, 2.0


class Tables(NamedTuple):
    """What content tells of a vector: one matrix for the text [E, D], one row per brand, category and attribute."""

    text: Float32
    brand: Float32
    category: Float32
    attribute: Float32


class Guess(NamedTuple):
    """What content and the products that read alike tell of unknown ones [C], in their order: unit vectors [C, D] (zero
    where nothing tells of them), and trends [C]."""

    vectors: Float32
    trend: Float32


class Told(NamedTuple):
    """How content tells most: the ridge and the sharpness; what to multiply the trends by that it makes too small, and
    the variance about them."""

    ridge: float
    sharpness: float
    slope: float
    variance: float

    def trend(self, told: Float32) -> Float32:
        """The trends [C] of products of whom content and what reads alike tell these.

        A popularity of which the logarithm is uncertain is higher in the mean than that logarithm's mean tells: by half
        its variance, as of a lognormal variable.
        """
        found: Float32 = (self.slope * told + self.variance / 2).astype(np.float32)
        return found


class Placement:
    """Vectors [N, D] of products (zero rows: unknown), their trends [N], and what content tells of them.

    Content is fitted by ridge regression, once for each strength of the trend. With `titles` [N, E], the vectors of the
    titles alone, texts are aligned to categories, as the softmax's are.
    """

    def __init__(
        self, vectors: Float32, trend: Float32, features: ItemFeatures, seed: int, titles: Tensor | None = None
    ) -> None:
        self.known = np.linalg.norm(vectors, axis=1) > 0
        self._whole = np.column_stack((vectors, trend)).astype(np.float32, copy=False)  # [N, D + 1]
        self._seed, self._features, self._titles = seed, features, titles
        self._text = unit(features.text.cpu().numpy())
        self._bags = {
            "brand": _bag(features.brand.cpu().numpy()[:, None]),
            "category": _bag(features.category.cpu().numpy()[:, None]),
            "attribute": _bag(features.attributes.cpu().numpy()),
        }
        self.told = self._tell()
        self._fitted: dict[float, tuple[Float32, Float32, Tables]] = {}
        self._guess: Guess | None = None

    @property
    def dimension(self) -> int:
        """D."""
        return int(self._whole.shape[1]) - 1

    def leading(self, dimension: int) -> Placement:
        """The same in fewer dimensions: vectors begin with what counts most."""
        vectors, trend = unit(self._whole[:, :dimension]), self._whole[:, -1]
        return Placement(vectors, trend, self._features, self._seed, self._titles)

    def fit(self, strength: float) -> tuple[Float32, Float32, Tables]:
        """Vectors [N, D + 2] tilted by `strength` times the trend, those that content alone gives, and its tables."""
        if strength not in self._fitted:
            last = tilts(self._whole[:, -1], strength)
            placed = np.zeros((len(last), self._whole.shape[1] - 1 + BIASES), np.float32)
            placed[:, :-BIASES] = self._whole[:, :-1] * np.sqrt(1 - last**2)[:, None]
            placed[self.known, -1] = last[self.known]
            if self._titles is None:
                content, tables = self._backfit(placed, self.known, self.told.ridge)
            else:
                content, tables = self._aligned(placed, unit(self._titles.cpu().numpy()))
            self._fitted[strength] = placed, content, tables
        return self._fitted[strength]

    def guess(self) -> Guess:
        """What the known products tell of the others."""
        if self._guess is None:
            found, _ = self._backfit(self._whole, self.known, self.told.ridge)
            new = np.flatnonzero(~self.known)
            weights = alike(self._text, new, np.flatnonzero(self.known), [self.told.sharpness], self._seed)[0]
            told = found[new] + self._left(weights, found)
            self._guess = Guess(unit(told[:, :-1]), self.told.trend(told[:, -1]))
        return self._guess

    def _tell(self) -> Told:
        """What tells most of a tenth of the products that nothing is fitted to."""
        draw = np.random.default_rng(self._seed)
        held = np.flatnonzero(self.known & (draw.random(len(self.known)) < 0.1))
        fitted = self.known.copy()
        fitted[held] = False
        best, most = Told(_RIDGES[-1], 0.0, 0.0, 0.0), -np.inf
        if not len(held) or not fitted.any():
            return best
        if len(held) > _TRIED:
            held = draw.choice(held, _TRIED, replace=False)
        wanted, trend = self._whole[held, :-1], self._whole[held, -1]
        near = alike(self._text, held, np.flatnonzero(fitted), _SHARPNESSES, self._seed)
        for ridge in _RIDGES:
            found, _ = self._backfit(self._whole, fitted, ridge)
            for sharpness, weights in zip(_SHARPNESSES, near, strict=True):
                told = found[held] + self._left(weights, found)
                agreement = float((unit(told[:, :-1]) * wanted).sum(axis=1).mean())
                if agreement > most:
                    most = agreement
                    slope = float(told[:, -1] @ trend / max(told[:, -1] @ told[:, -1], 1e-9))
                    slope = min(max(slope, 0.0), _MOST_SLOPE)
                    best = Told(ridge, sharpness, slope, float((trend - slope * told[:, -1]).var()))
        return best

    def _left(self, weights: Any, found: Float32) -> Float32:
        """Weighted means [A, D + 1] of what `found` [N, D + 1] leaves open of the products in `weights` [A, N]."""
        named = np.unique(weights.indices)
        means: Float32 = weights[:, named] @ (self._whole[named] - found[named])
        return means

    def _aligned(self, placed: Float32, titles: Float32) -> tuple[Float32, Tables]:
        """What content adds up to [N, D + 2], and its tables, where texts and titles alone are to lead near the mean of
        their category, as those of a search must: what they leave open is told by the brand, the category, the
        attributes, and the product's own row."""
        bags = {name: bag[self.known] for name, bag in self._bags.items()}
        counts = {name: np.asarray(bag.sum(axis=0)).ravel() for name, bag in bags.items()}
        means = unit((bags["category"].T @ placed[self.known]) / np.maximum(counts["category"], 1)[:, None])
        lead = np.asarray(self._bags["category"] @ means, np.float32)  # [N, D + 2], zero without a category
        part = np.float32(_PART_OF_CATEGORY) * lead.any(axis=1, keepdims=True)
        wanted = (part * lead + (1 - part) * placed)[self.known]
        text, title = self._text[self.known], titles[self.known]
        gram = text.T @ text + title.T @ title + np.float32(_ALIGNED_RIDGE) * np.eye(text.shape[1], dtype=np.float32)
        tables = {"text": linalg.solve(gram, (text + title).T @ wanted, assume_a="pos", check_finite=False)}
        found = self._text @ tables["text"]
        for name, bag in bags.items():
            left = placed[self.known] - found[self.known]
            tables[name] = np.asarray((bag.T @ left) / (counts[name] + _SHRINK)[:, None], np.float32)
            found += self._bags[name] @ tables[name]
        return found, Tables(**tables)

    def _backfit(self, vectors: Float32, known: NDArray[np.bool_], ridge: float) -> tuple[Float32, Tables]:
        """Text by ridge regression and each bag's rows by shrunken means, in turns, each on what the others leave."""
        text, bags = self._text[known], {name: bag[known] for name, bag in self._bags.items()}
        gram = text.T @ text + np.float32(ridge) * np.eye(text.shape[1], dtype=np.float32)
        factor = linalg.cho_factor(gram, check_finite=False)
        left = vectors[known].copy()
        tables: dict[str, Float32] = {}
        part: dict[str, Float32] = {}
        for _ in range(_BACKFITS):
            for name, bag in bags.items():
                if name in part:
                    left += part[name]
                weight = np.asarray(bag.sum(axis=0)).ravel() + _SHRINK
                tables[name] = np.asarray((bag.T @ left) / weight[:, None], np.float32)
                part[name] = np.asarray(bag @ tables[name], np.float32)
                left -= part[name]
            if "text" in part:
                left += part["text"]
            tables["text"] = linalg.cho_solve(factor, text.T @ left, check_finite=False)
            part["text"] = text @ tables["text"]
            left -= part["text"]
        found = self._text @ tables["text"]
        for name, bag in self._bags.items():
            found += bag @ tables[name]
        return found, Tables(**tables)


def _bag(index: Int64) -> Any:
    """Rows [N, K] that take the mean of columns `index` [N, A]; 0 is none."""
    row, place = np.nonzero(index)
    counts = np.bincount(row, minlength=len(index))
    width = int(index.max()) + 1 if index.size else 1
    shape = (len(index), width)
    return sparse.csr_matrix(((1 / counts[row]).astype(np.float32), (row, index[row, place])), shape=shape)
