"""What is added to the n-grams of queries, and that a damaged file is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from twotower.errors import CorruptArtifact
from twotower.graphs.query_ngrams import QueryNgrams

LEARNED = QueryNgrams(np.array([2, 5]), np.array([[0, 1], [2, 0]], np.float32))


def test_a_text_gets_what_its_ngrams_learned_by_their_weights() -> None:
    sums = np.array([[3, 0], [0, 4], [0, 0]], np.float32)
    ids, mask = np.array([[2, 1, 0], [5, 5, 2], [0, 0, 0]]), np.array([[4, 9, 0], [1, 2, 0], [0, 0, 0]])
    # (3, 4) / 5; (0 + 3 x 2, 4) / sqrt(52), where the last n-gram is padding; nothing
    expected = [[0.6, 0.8], [6 / 52**0.5, 4 / 52**0.5], [0, 0]]
    np.testing.assert_allclose(LEARNED.vectors(sums, ids, mask), expected, atol=1e-6)
    assert sums.tolist() == [[3, 0], [0, 4], [0, 0]]


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    paths = tmp_path / "ids.npy", tmp_path / "added.npy"
    LEARNED.save(*paths)
    loaded = QueryNgrams.load(*paths, 6, 2)
    np.testing.assert_array_equal(loaded.ids, LEARNED.ids)
    np.testing.assert_array_equal(loaded.added, LEARNED.added)


@pytest.mark.parametrize(
    "wrong",
    [
        QueryNgrams(np.array([5, 2]), LEARNED.added),
        QueryNgrams(np.array([0, 2]), LEARNED.added),
        QueryNgrams(np.array([2, 6]), LEARNED.added),
        QueryNgrams(np.array([2]), LEARNED.added),
        QueryNgrams(LEARNED.ids, np.array([[0, np.nan], [1, 1]], np.float32)),
        QueryNgrams(LEARNED.ids, np.ones((2, 3), np.float32)),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path: Path, wrong: QueryNgrams) -> None:
    paths = tmp_path / "ids.npy", tmp_path / "added.npy"
    wrong.save(*paths)
    with pytest.raises(CorruptArtifact):
        QueryNgrams.load(*paths, 6, 2)
    with pytest.raises(CorruptArtifact, match="cannot be read"):
        QueryNgrams.load(tmp_path / "none.npy", paths[1], 6, 2)
