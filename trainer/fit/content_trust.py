"""Measures how far each part of the products' content can be trusted: how well it finds products of the same buyers.

Texts may say what a product is, or they may be reviews, or one text for every product. The events decide, before any
model is trained.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from trainer.data.catalogue import Products
from trainer.data.matrix import training_matrix
from trainer.fit.text_neighbours import NEIGHBOUR_RIDGE, REFERENCES, TextNeighbours
from trainer.fit.training_set import TrainingSet
from trainer.fit.validation import gains, mean
from trainer.text.vectors import texts_of, titles_of
from trainer.text.words import word_vectors
from twotower.arrays import Float64, Int64

# products whose buyers are predicted, at most; with fewer than the minimum nothing is measured
_ASKED, _MIN_ASKED = 1000, 30
# titles must be better by this many standard errors
_ERRORS = 1.0
_TITLE, _BOTH = "title", "title and description"


class ContentTrust(NamedTuple):
    """How near the buyers of a product are to those of its nearest products, by each part of its content.

    `cosines`: the mean over `products` products, by part; a part that no product has is left out.
    `descriptions_mislead`: titles alone are clearly better than titles with descriptions.
    """

    products: int
    cosines: dict[str, float]
    descriptions_mislead: bool

    def describe(self) -> str:
        """The cosines in words."""
        if not self.products:
            return "too few products have buyers to measure what content tells"
        parts = ", ".join(f"{name} {cosine:.3f}" for name, cosine in self.cosines.items())
        return f"cosine of a product's buyers to those of its nearest products by {parts}"


def measure_trust(products: Products, data: TrainingSet, seed: int) -> ContentTrust:
    """Measures the parts on training events only, on products drawn with `seed`.

    A product's buyers are a vector with a number for each buyer, the smaller the more the buyer took (as in item-kNN).
    It is predicted as a cold product is placed: from its nearest products among up to 10,000 others.
    """
    buyers = _buyer_vectors(data, len(products))
    asked, references = _draw(np.flatnonzero(np.diff(buyers.indptr)), seed)
    if len(asked) < _MIN_ASKED:
        return ContentTrust(0, {}, False)
    rows = np.concatenate((asked, references))
    cosines = {
        name: _agreement(TextNeighbours(word_vectors(texts), seed), buyers[rows], len(asked))
        for name, texts in _parts(products.take(rows)).items()
    }
    both = cosines.get(_BOTH)
    mislead = both is not None and gains(cosines[_TITLE], both, errors=_ERRORS)
    return ContentTrust(len(asked), {name: mean(one) for name, one in cosines.items()}, mislead)


def _parts(products: Products) -> dict[str, list[str]]:
    """The text of each product by each part of its content; only parts that some product has."""
    has_descriptions = any(products.descriptions)
    parts = {
        _TITLE: titles_of(products),
        _BOTH: texts_of(products) if has_descriptions else [],
        "brand": products.brands,
        "category": products.categories,
        "attributes": [" ".join(names) for names in products.attributes],
    }
    return {name: texts for name, texts in parts.items() if any(texts)}


def _buyer_vectors(data: TrainingSet, products: int) -> Any:
    """A row of length 1 for each product [N, buyers]: its buyers, each weighted by 1 / the root of its products.

    Buyers of one product say nothing about neighbours. A row is zero without other buyers.
    """
    matrix = training_matrix(data.events, data.stop, products).T.tocsr()
    sizes = np.asarray(matrix.sum(axis=0)).ravel()
    weights = np.where(sizes > 1, 1 / np.sqrt(np.maximum(sizes, 1)), 0).astype(np.float32)
    weighted = sparse.csr_matrix(matrix @ sparse.diags(weights))
    weighted.eliminate_zeros()
    return sparse.csr_matrix(sparse.diags(1 / np.maximum(_lengths(weighted), 1e-12)).astype(np.float32) @ weighted)


def _draw(known: Int64, seed: int) -> tuple[Int64, Int64]:
    """The products that are asked for, at most a fifth, and those that answer; both at random."""
    order = np.random.default_rng(seed).permutation(known)
    asked = min(_ASKED, len(known) // 5)
    return order[:asked], order[asked : asked + REFERENCES]


def _agreement(neighbours: TextNeighbours, buyers: Any, asked: int) -> Float64:
    """Cosines [asked] of the buyers of the first rows to those predicted from their neighbours among the other rows."""
    rows = np.arange(buyers.shape[0])
    predicted = neighbours.weights(rows[:asked], rows[asked:], NEIGHBOUR_RIDGE) @ buyers
    products = np.asarray(predicted.multiply(buyers[:asked]).sum(axis=1)).ravel()
    cosines: Float64 = products / np.maximum(_lengths(predicted), 1e-12)
    return cosines


def _lengths(matrix: Any) -> Float64:
    return np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1), np.float64).ravel())
