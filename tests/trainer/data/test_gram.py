"""The Gram matrix summed over shards of buyers is that of all buyers, to the byte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from trainer.cluster.parts import OneMachine, Part, Worker
from trainer.data import gram

BUYERS, PRODUCTS = 90, 12


def shop() -> sparse.csr_matrix:
    """Buyers by products; some buyers have nothing."""
    draw = np.random.default_rng(5)
    has = draw.random((BUYERS, PRODUCTS)) < draw.choice([0.0, 0.3, 0.8], size=(BUYERS, 1))
    return sparse.csr_matrix(has.astype(np.float32))


class Counting:
    """One machine, which counts the parts, and cuts results as a cluster cuts large ones."""

    def __init__(self) -> None:
        self.parts = 0

    def map(self, parts: Iterable[Part], worker: Worker, *arguments: Any) -> Iterator[Part]:
        for result in OneMachine().map(parts, worker, *arguments):
            self.parts += 1
            for rows in (slice(0, 5), slice(5, None)):
                yield {name: values[rows] for name, values in result.items()}


def test_two_buyers_in_two_shards_are_counted_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram, "SHARD", 2)
    # the first buyer has products 0 and 1, the second 1 and 2
    matrix = sparse.csr_matrix(np.array([[1, 1, 0], [0, 1, 1]], np.float32))
    assert gram.sum_of_grams(matrix, OneMachine()).tolist() == [[1, 1, 0], [1, 2, 1], [0, 1, 1]]


@pytest.mark.parametrize(("size", "parts"), [(1000, 0), (200, 2), (40, 10)])
def test_the_sum_is_the_whole_for_any_number_of_shards(monkeypatch: pytest.MonkeyPatch, size: int, parts: int) -> None:
    monkeypatch.setattr(gram, "SHARD", size)
    matrix, engine = shop(), Counting()
    assert matrix.nnz == 386
    whole, found = gram.gram_matrix(matrix), gram.sum_of_grams(matrix, engine)
    assert (found.tobytes(order="F"), found.flags.f_contiguous) == (whole.tobytes(order="F"), True)
    assert engine.parts == parts
