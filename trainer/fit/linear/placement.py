"""A linear autoencoder in closed form as two towers: a strong model if buyers take many products, fitted in seconds.

EASE (Steck 2019, arXiv:1905.03375) scores a history by the regression of every product on all others. The partial
correlations behind it are a symmetric matrix; its leading eigenvectors, scaled and normalised, are item vectors whose
cosines come near to it (ELSA, Vančura et al., RecSys 2022, learns such vectors by descent). The buyer's vector is the
decayed mean of the history's item vectors.

This module splits each vector into what the product's content predicts and what its own row must add, and predicts the
vectors of cold products.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import linalg, sparse
from torch import Tensor

from trainer.fit.linear.cold import ColdStart
from trainer.fit.linear.trend import BIASES, tilts
from trainer.fit.normalise import normalise_rows
from trainer.fit.text_neighbours import TextNeighbours
from trainer.model.inputs import ItemFeatures
from twotower.arrays import Float32, Int64, Mask

# ridges of the text's regression and of the neighbours' to try on held-out products, and rounds of backfitting
_RIDGES, _NEIGHBOUR_RIDGES, _BACKFITS = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0), (0.1, 0.3, 1.0, 3.0, 10.0), 3
# a table's row is shrunk as if this many more products without a residual had it; and how far a table can be shrunk
# that says little, such as a brand that is the seller's name
_SHRINKAGE, _SHRINKAGES = 3.0, (10.0, 30.0, 100.0, 1e6)
# target of the text regression: 0.8 x category mean + 0.2 x product vector; and its ridge
_CATEGORY_WEIGHT, _ALIGNED_RIDGE = 0.8, 3.0
# share and maximum of the held-out products, and the largest correction of their trends: a few products may suggest any
_HELD_OUT, _MAX_HELD_OUT, _MAX_SLOPE = 0.1, 2000, 2.0


class ContentTables(NamedTuple):
    """What content adds to a vector: a matrix for the text [E, D], a row for each brand, category and attribute."""

    text: Float32
    brand: Float32
    category: Float32
    attribute: Float32


class LinearFit(NamedTuple):
    """Vectors [N, D + 2] of products, those that their content alone gives, and its tables."""

    vectors: Float32
    content: Float32
    tables: ContentTables


class ColdPrediction(NamedTuple):
    """Predicted vectors [C, D] of length 1 (zero if nothing is known of the product) and trends [C], in row order."""

    vectors: Float32
    trend: Float32


class _HeldOut(NamedTuple):
    """Products [A] that trials predict from the `fitted` [N]; the weights [A, N] of neighbours for each ridge."""

    products: Int64
    fitted: Mask
    neighbours: dict[float, Any]


class _Trial(NamedTuple):
    """Predicted vectors and trends [A, D + 1] of held-out products, and the mean cosine to the true vectors."""

    ridge: float
    neighbour_ridge: float
    cosine: float
    predicted: Float32


class Placement:
    """Item vectors [N, D] of length 1 (zero rows: cold products) and trends [N], with their regression on content.

    With `titles` [N, E], the text vectors of the titles alone, texts are aligned to categories, as the softmax's are.
    """

    def __init__(
        self,
        vectors: Float32,
        trend: Float32,
        features: ItemFeatures,
        neighbours: TextNeighbours,
        titles: Tensor | None = None,
    ) -> None:
        self.known = np.linalg.norm(vectors, axis=1) > 0
        self._whole = np.column_stack((vectors, trend)).astype(np.float32, copy=False)  # [N, D + 1]
        self._neighbours, self._features, self._titles = neighbours, features, titles
        self._text = normalise_rows(features.text.cpu().numpy())
        self._bags = {
            "brand": _bag(features.brand.cpu().numpy()[:, None]),
            "category": _bag(features.category.cpu().numpy()[:, None]),
            "attribute": _bag(features.attributes.cpu().numpy()),
        }
        self._shrinkages = dict.fromkeys(self._bags, _SHRINKAGE)
        self.cold_start = self._tune_cold_start()
        self._fits: dict[float, LinearFit] = {}
        self._cold: ColdPrediction | None = None

    @property
    def dimension(self) -> int:
        """D."""
        return int(self._whole.shape[1]) - 1

    def narrow(self, dimension: int) -> Placement:
        """The same products in the leading `dimension` numbers of their vectors, which carry most."""
        vectors, trend = normalise_rows(self._whole[:, :dimension]), self._whole[:, -1]
        return Placement(vectors, trend, self._features, self._neighbours, self._titles)

    def fit(self, trend_weight: float) -> LinearFit:
        """Tilts the vectors by the weighted trend and regresses them on content; the result is kept."""
        if trend_weight not in self._fits:
            tilt = tilts(self._whole[:, -1], trend_weight)
            vectors = np.zeros((len(tilt), self._whole.shape[1] - 1 + BIASES), np.float32)
            vectors[:, :-BIASES] = self._whole[:, :-1] * np.sqrt(1 - tilt**2)[:, None]
            vectors[self.known, -1] = tilt[self.known]
            if self._titles is None:
                content, tables = self._backfit(vectors, self.known, self.cold_start.ridge)
            else:
                content, tables = self._fit_aligned(vectors, normalise_rows(self._titles.cpu().numpy()))
            self._fits[trend_weight] = LinearFit(vectors, content, tables)
        return self._fits[trend_weight]

    def predict_cold(self) -> ColdPrediction:
        """Predicts the cold products from content and text neighbours; the result is kept."""
        if self._cold is None:
            content, _ = self._backfit(self._whole, self.known, self.cold_start.ridge)
            cold, known = np.flatnonzero(~self.known), np.flatnonzero(self.known)
            weights = self._neighbours.weights(cold, known, self.cold_start.neighbour_ridge)
            predicted = content[cold] + self._mean_residuals(weights, content)
            trend = self.cold_start.correct_trend(predicted[:, -1])
            self._cold = ColdPrediction(normalise_rows(predicted[:, :-1]), trend)
        return self._cold

    def _tune_cold_start(self) -> ColdStart:
        """Chooses the ridges, and how far each table is trusted, by the mean cosine of held-out products' predicted
        vectors to the true ones.
        """
        draw = np.random.default_rng(self._neighbours.seed)
        held_out = np.flatnonzero(self.known & (draw.random(len(self.known)) < _HELD_OUT))
        fitted = self.known.copy()
        fitted[held_out] = False
        if not len(held_out) or not fitted.any():
            return ColdStart(_RIDGES[-1], _NEIGHBOUR_RIDGES[-1], 0.0, 0.0)
        if len(held_out) > _MAX_HELD_OUT:
            held_out = draw.choice(held_out, _MAX_HELD_OUT, replace=False)
        references = np.flatnonzero(fitted)
        neighbours = {one: self._neighbours.weights(held_out, references, one) for one in _NEIGHBOUR_RIDGES}
        test = _HeldOut(held_out, fitted, neighbours)
        best = self._tune_ridges(test)
        if self._tune_tables(test, best):
            best = self._tune_ridges(test)
        trend = _trend_correction(best.predicted[:, -1], self._whole[held_out, -1])
        return ColdStart(best.ridge, best.neighbour_ridge, *trend)

    def _tune_ridges(self, test: _HeldOut) -> _Trial:
        """The best trial over all pairs of ridges."""
        trials = (
            self._try_placing(test, content, ridge, one)
            for ridge in _RIDGES
            for content in [self._backfit(self._whole, test.fitted, ridge)[0]]
            for one in _NEIGHBOUR_RIDGES
        )
        return max(trials, key=lambda trial: trial.cosine)

    def _tune_tables(self, test: _HeldOut, best: _Trial) -> bool:
        """Shrinks brands, categories or attributes more, one after another, where that is better than `best`."""
        found = best.cosine
        for name, bag in self._bags.items():
            for shrinkage in _SHRINKAGES if bag.nnz else ():
                before, self._shrinkages[name] = self._shrinkages[name], shrinkage
                content, _ = self._backfit(self._whole, test.fitted, best.ridge)
                cosine = self._try_placing(test, content, best.ridge, best.neighbour_ridge).cosine
                if cosine > found:
                    found = cosine
                else:
                    self._shrinkages[name] = before
        return found > best.cosine

    def _try_placing(self, test: _HeldOut, content: Float32, ridge: float, neighbour_ridge: float) -> _Trial:
        weights = test.neighbours[neighbour_ridge]
        predicted = content[test.products] + self._mean_residuals(weights, content)
        cosines = (normalise_rows(predicted[:, :-1]) * self._whole[test.products, :-1]).sum(axis=1)
        return _Trial(ridge, neighbour_ridge, float(cosines.mean()), predicted)

    def _mean_residuals(self, weights: Any, content: Float32) -> Float32:
        """Weighted means [A, D + 1] over neighbours (`weights` [A, N]) of what content [N, D + 1] leaves open."""
        used = np.unique(weights.indices)
        means: Float32 = weights[:, used] @ (self._whole[used] - content[used])
        return means

    def _fit_aligned(self, vectors: Float32, titles: Float32) -> tuple[Float32, ContentTables]:
        """Regresses vectors [N, D + 2] on content so that texts and titles alone land near their category's mean.

        Text searches need that. Brand, category, attributes and the product's own row add what the text leaves open.
        """
        bags = {name: bag[self.known] for name, bag in self._bags.items()}
        counts = {name: np.asarray(bag.sum(axis=0)).ravel() for name, bag in bags.items()}
        means = normalise_rows((bags["category"].T @ vectors[self.known]) / np.maximum(counts["category"], 1)[:, None])
        category = np.asarray(self._bags["category"] @ means, np.float32)  # [N, D + 2], zero without a category
        weight = np.float32(_CATEGORY_WEIGHT) * category.any(axis=1, keepdims=True)
        target = (weight * category + (1 - weight) * vectors)[self.known]
        text, title = self._text[self.known], titles[self.known]
        gram = text.T @ text + title.T @ title + np.float32(_ALIGNED_RIDGE) * np.eye(text.shape[1], dtype=np.float32)
        tables = {"text": linalg.solve(gram, (text + title).T @ target, assume_a="pos", check_finite=False)}
        content = self._text @ tables["text"]
        for name, bag in bags.items():
            residual = vectors[self.known] - content[self.known]
            tables[name] = np.asarray((bag.T @ residual) / (counts[name] + self._shrinkages[name])[:, None], np.float32)
            content += self._bags[name] @ tables[name]
        return content, ContentTables(**tables)

    def _backfit(self, vectors: Float32, fitted: Mask, ridge: float) -> tuple[Float32, ContentTables]:
        """Regresses the vectors of the `fitted` [N] products on content, each part in turn on what the others leave.

        The text's matrix is a ridge regression, the rows of brands, categories and attributes are shrunken means.
        Returns what content gives for every product, and the tables.
        """
        text, bags = self._text[fitted], {name: bag[fitted] for name, bag in self._bags.items()}
        gram = text.T @ text + np.float32(ridge) * np.eye(text.shape[1], dtype=np.float32)
        factor = linalg.cho_factor(gram, check_finite=False)
        residual = vectors[fitted].copy()
        tables: dict[str, Float32] = {}
        part: dict[str, Float32] = {}
        for _ in range(_BACKFITS):
            for name, bag in bags.items():
                if name in part:
                    residual += part[name]
                weight = np.asarray(bag.sum(axis=0)).ravel() + self._shrinkages[name]
                tables[name] = np.asarray((bag.T @ residual) / weight[:, None], np.float32)
                part[name] = np.asarray(bag @ tables[name], np.float32)
                residual -= part[name]
            if "text" in part:
                residual += part["text"]
            tables["text"] = linalg.cho_solve(factor, text.T @ residual, check_finite=False)
            part["text"] = text @ tables["text"]
            residual -= part["text"]
        content = self._text @ tables["text"]
        for name, bag in self._bags.items():
            content += bag @ tables[name]
        return content, ContentTables(**tables)


def _trend_correction(predicted: Float32, trend: Float32) -> tuple[float, float]:
    """The slope of the true trends on the predicted ones, within bounds, and the variance about it."""
    slope = float((predicted @ trend) / np.maximum(predicted @ predicted, 1e-9))
    slope = min(max(slope, 0.0), _MAX_SLOPE)
    return slope, float((trend - slope * predicted).var())


def _bag(index: Int64) -> Any:
    """A sparse matrix [N, K] whose rows average the entries that `index` [N, A] names; 0 names none."""
    row, place = np.nonzero(index)
    counts = np.bincount(row, minlength=len(index))
    width = int(index.max()) + 1 if index.size else 1
    shape = (len(index), width)
    return sparse.csr_matrix(((1 / counts[row]).astype(np.float32), (row, index[row, place])), shape=shape)
