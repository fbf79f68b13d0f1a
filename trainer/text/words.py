"""Product texts as TF-IDF vectors of their words: which products share rare words.

The vectors of a text encoder say what is near in meaning. For "products like this one are bought by the same buyers",
exact words are the better guide: a line of products shares its rare words, and the sum over a short vector blurs them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from twotower.text.normalise import Normaliser

_WORD = re.compile(r"\w+")
# words of a text that are read
_LONGEST = 300


def word_vectors(texts: Sequence[str]) -> sparse.csr_matrix:
    """TF-IDF vectors [N, V] of words and of pairs of neighbouring words, of length 1; zero rows for texts without words.

    Raw texts: spellings of one Arabic word are folded into one, as for the catalogue encoder. A word counts 1 + log of
    its occurrences (Salton and Buckley, Information Processing and Management 24(5), 1988).
    """
    normalise = Normaliser.profile("full")
    terms = [_terms(_WORD.findall(normalise(text))[:_LONGEST]) for text in texts]
    if not any(terms):
        return sparse.csr_matrix((len(texts), 1), dtype=np.float32)
    vectoriser = TfidfVectorizer(analyzer=_as_they_are, sublinear_tf=True, dtype=np.float32)
    return sparse.csr_matrix(vectoriser.fit_transform(terms))


def _terms(words: list[str]) -> list[str]:
    return words + [f"{one} {other}" for one, other in zip(words, words[1:], strict=False)]


def _as_they_are(terms: Any) -> Any:
    return terms
