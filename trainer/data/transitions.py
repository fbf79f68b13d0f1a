"""TEMPORARY"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import sparse

from trainer.data.events import Events
from trainer.data.matrix import keep_largest
from trainer.data.popularity import buyer_counts
from twotower.arrays import Int64


class TransitionSettings(NamedTuple):
    steps: int
    decay: float
    reverse: float
    source_power: float
    target_power: float
    max_gap_days: float | None
    kind_power: float
    keep: int
    repeats: bool


def transition_matrix(events: Events, stop: Int64, products: int, settings: TransitionSettings) -> sparse.csr_matrix:
    M = len(events.buyer)
    tr = np.arange(M) < stop[events.buyer]
    shape = (products, products)
    A = sparse.csr_matrix(shape, dtype=np.float32)
    for g in range(1, settings.steps + 1):
        i = np.arange(M - g)
        j = i + g
        ok = (events.buyer[i] == events.buyer[j]) & tr[j]
        p, q = events.product[i], events.product[j]
        ok &= p != q
        p, q = p[ok], q[ok]
        w = np.full(len(p), settings.decay ** (g - 1), np.float32)
        A = A + sparse.csr_matrix((w, (p, q)), shape=shape)
        if settings.reverse:
            A = A + sparse.csr_matrix((w * np.float32(settings.reverse), (q, p)), shape=shape)
    rs = np.asarray(A.sum(axis=1)).ravel()
    buyers = buyer_counts(events, stop, products)
    A = sparse.diags((1 / np.maximum(rs, 1e-9) ** settings.source_power).astype(np.float32)) @ A
    A = A @ sparse.diags((1 / np.maximum(buyers, 1) ** settings.target_power).astype(np.float32))
    return keep_largest(A.tocsr(), settings.keep)
