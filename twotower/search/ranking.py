"""What every search ends with: exact inner products, and rows in order of score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from twotower.arrays import Float32, Int64, Mask

# a search fetches this many rows more than it returns, so that it sees a tie at the k-th place
SPARE = 8


class Hits(NamedTuple):
    """Rows of the index and their inner products, best first."""

    rows: Int64
    scores: Float32


def inner_products(vectors: Float32, queries: Float32, rows: Int64) -> Float32:
    """Inner products [B, F] of queries [B, D] with their own rows [B, F] of `vectors` [N, D]; -inf for a row below 0.

    Each is summed by itself and read in place: a score does not depend on the rest of the batch, and nothing is copied.
    """
    import faiss

    scores = np.empty(rows.shape, np.float32)
    pointers = (faiss.swig_ptr(array) for array in (scores, queries, vectors, rows))
    faiss.fvec_inner_products_by_idx(*pointers, vectors.shape[1], *rows.shape)  # type: ignore[attr-defined]
    return scores


def best_first(rows: Int64, scores: Float32) -> tuple[Int64, Float32]:
    """Rows and scores [B, F], each row's best score first, equal scores in the order of the rows."""
    if (scores[:, 1:] < scores[:, :-1]).all():
        return rows, scores
    every = np.arange(len(rows))[:, None]
    # a stable sort is very fast on nearly sorted input, such as FAISS's answers
    order = np.argsort(-scores, axis=1, kind="stable")
    ordered = scores[every, order]
    tied = ordered[:, 1:] == ordered[:, :-1]
    if tied.any() and (tied & (ordered[:, 1:] > -np.inf)).any():
        order = np.lexsort((rows, -scores), axis=1)
        ordered = scores[every, order]
    return rows[every, order], ordered


def united(found: Sequence[Sequence[Hits]], ks: Sequence[int]) -> list[Hits]:
    """The best `k` rows of each query, of the hits that several parts of the rows have for it."""
    results = []
    for k, *hits in zip(ks, *found, strict=True):
        rows, scores = np.concatenate([one.rows for one in hits]), np.concatenate([one.scores for one in hits])
        ordered, falling = best_first(rows[None], scores[None])
        results.append(Hits(ordered[0, :k], falling[0, :k]))
    return results


def distinct(rows: Int64) -> Int64:
    """The rows in rising order, each once.

    `np.unique` hashes them first, which takes four times as long for 500 rows; with the inverse it sorts by reference.
    """
    ordered = np.sort(rows)
    is_first = np.ones(len(ordered), np.bool_)
    is_first[1:] = ordered[1:] != ordered[:-1]
    return ordered[is_first]


def outside(rows: Int64, excluded: Int64) -> Mask:
    """True for each row that is not excluded; `excluded` is sorted and holds at least one row.

    `np.isin` takes twenty times as long for 158 rows and 50 excluded.
    """
    # searching all but the last never gives a place beyond the end
    kept: Mask = excluded[excluded[:-1].searchsorted(rows)] != rows
    return kept
