"""An approximate index as the trainer tunes it, made once for all tests."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np

from trainer.config.schema import Index
from trainer.index.build import build, item_queries
from twotower.search.vector_index import VectorIndex


@lru_cache(maxsize=2)
def tuned(kind: Literal["ivf", "hnsw"] = "ivf") -> VectorIndex:
    """20,000 products in lists of codes or in a graph, tuned by the trainer to .98."""
    draw = np.random.default_rng(5)
    vectors = draw.normal(size=(20_000, 16)) + draw.normal(size=(100, 16))[draw.integers(0, 100, 20_000)]
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    config = Index(kind=kind, target_recall=0.98)
    made = build(vectors, item_queries(vectors, 3, 100), config, 7, 1)
    return VectorIndex(made.index, vectors, made.spec)
