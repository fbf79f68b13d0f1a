"""Product texts as TF-IDF vectors of their words: which products share rare words.

The vectors of a text encoder say what is near in meaning. For "products like this one are bought by the same buyers",
exact words are the better guide: a line of products shares its rare words, and the sum over a short vector blurs them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from twotower.text.normalise import Normaliser

_WORD = re.compile(r"\w+")
# words of a text that are read, about as many as a pretrained encoder reads
_LONGEST = 100


def word_vectors(texts: Sequence[str]) -> sparse.csr_matrix:
    """TF-IDF vectors [N, V] of words and of pairs of words, of length 1, or zero rows for texts without words.

    Raw texts: spellings of one Arabic word are folded into one, as for the catalogue encoder. A word counts 1 + log of
    its occurrences (Salton and Buckley, Information Processing and Management 24(5), 1988).
    """
    normalise = Normaliser.profile("full")

    def terms(text: str) -> list[str]:
        words = _WORD.findall(normalise(text))[:_LONGEST]
        return words + [f"{one} {other}" for one, other in pairwise(words)]

    vectoriser = TfidfVectorizer(analyzer=terms, sublinear_tf=True, dtype=np.float32)
    # without any word the vectoriser raises
    if not any(_WORD.search(normalise(text)) for text in texts):
        return sparse.csr_matrix((len(texts), 1), dtype=np.float32)
    return sparse.csr_matrix(vectoriser.fit_transform(texts))
