"""TextEncoder's batches: which texts share one, and that no vector depends on it."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.tiny_version import build_version
from twotower.artifact.layout import Layout
from twotower.artifact.version import open_version
from twotower.graphs.text_encoder import TextEncoder, cut_batches


def test_batches_worked_out_by_hand() -> None:
    lengths = [9, 3, 100, 3, 10, 3]
    # 3 3 3 | 9 10 (a twentieth of the 20 places is padding) | 100, over the bound by itself
    assert list(cut_batches(lengths, 64, 30)) == [[1, 3, 5], [0, 4], [2]]
    assert list(cut_batches(lengths, 2, 30)) == [[1, 3], [5], [0, 4], [2]]
    assert list(cut_batches(lengths, 64, 8)) == [[1, 3], [5], [0], [4], [2]]
    assert list(cut_batches([], 64, 8)) == []


@given(st.lists(st.integers(0, 300), max_size=200), st.integers(1, 64), st.integers(1, 1000))
def test_every_row_is_in_one_batch_and_every_bound_holds(lengths: list[int], texts: int, places: int) -> None:
    batches = list(cut_batches(lengths, texts, places))
    assert sorted(chain.from_iterable(batches)) == list(range(len(lengths)))
    for batch in batches:
        taken = len(batch) * max(lengths[row] for row in batch)
        assert len(batch) == 1 or (len(batch) <= texts and taken <= places)
        assert taken - sum(lengths[row] for row in batch) <= 0.2 * taken


def test_order_and_vectors_do_not_depend_on_batches_or_threads(tmp_path: Path) -> None:
    build_version(tmp_path, "a")
    files = open_version(Layout(tmp_path), "a").encoder
    texts = ["عود " * (1 + (7 * place) % 40) for place in range(60)]
    one, two = TextEncoder.load(files, 1), TextEncoder.load(files, 2)
    alone = np.concatenate([one.encode([text]) for text in texts])
    np.testing.assert_allclose(one.encode(texts), alone, atol=1e-6)
    np.testing.assert_array_equal(two.encode(texts, batch_size=8), one.encode(texts, batch_size=8))
    assert one.encode([]).shape == (0, one.spec.dimension)
