"""The text index of a version: its vectors, its kind, and the measured share of titles that find their product."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.config.loading import load_config
from trainer.index.text_index import write_text_search
from twotower.arrays import Float32
from twotower.artifact.layout import VersionLayout
from twotower.search.vector_index import VectorIndex, save_unit_rows, unit_rows


class ByText:
    """A text encoder that gives each text a vector of its own, 3 long."""

    def encode(self, texts: Sequence[str]) -> Float32:
        seeds = (int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little") for text in texts)
        rows = np.array([np.random.default_rng(seed).normal(size=32) for seed in seeds], np.float32)
        return 3 * rows / np.linalg.norm(rows, axis=1, keepdims=True)


def written(tmp_path: Path, titles: list[str], texts: Float32, **index: Any) -> tuple[Any, VersionLayout]:
    folder = VersionLayout(tmp_path)
    config = load_config([], [f"index.{name}={value}" for name, value in index.items()])
    encoder: Any = ByText()
    return write_text_search(texts, titles, encoder, folder, config), folder


def test_titles_that_are_the_texts_are_all_found_first(tmp_path: Path, logged: pytest.LogCaptureFixture) -> None:
    titles = [f"منتج {number}" for number in range(300)]
    found, folder = written(tmp_path, titles, ByText().encode(titles))
    assert (found.titles, found.found_first, found.found_in_ten) == (300, 1.0, 1.0)
    assert found.index.kind == "flat"
    np.testing.assert_allclose(np.linalg.norm(np.load(folder.text_embeddings), axis=1), 1, atol=1e-6)
    index = VectorIndex.load(folder.text_index, folder.text_embeddings, found.index)
    hits = index.search(unit_rows(ByText().encode(["منتج 7"])), [1], [np.empty(0, np.int64)])[0]
    assert (hits.rows.tolist(), round(float(hits.scores[0]), 5)) == ([7], 1.0)
    # 300 directions in 32 dimensions: chance alone comes nowhere near 1
    assert 0.3 < found.noise < 0.8
    assert "300 titles 100.0% find their product first, 100.0% among ten" in logged.messages[-1]


def test_texts_unlike_their_titles_are_rarely_found(tmp_path: Path) -> None:
    titles = [f"منتج {number}" for number in range(300)]
    found, _ = written(tmp_path, titles, ByText().encode([f"شيء آخر {number}" for number in range(300)]))
    # by chance 1 in 300 and 10 in 300
    assert found.found_first < 0.03
    assert found.found_in_ten < 0.1


def test_a_product_of_the_same_title_is_as_good(tmp_path: Path) -> None:
    titles = ["خاتم ذهب"] * 40
    found, _ = written(tmp_path, titles, ByText().encode([f"خاتم ذهب {number}" for number in range(40)]))
    assert found.found_first == 1.0


def test_a_kind_that_misses_its_target_for_texts_is_replaced_by_a_flat_index_with_a_warning(
    tmp_path: Path, logged: pytest.LogCaptureFixture
) -> None:
    titles = [f"منتج {number}" for number in range(3000)]
    # equal in all but the last digits, which codes of four bits cannot separate
    texts = 1 + 1e-5 * np.random.default_rng(7).normal(size=(3000, 32))
    found, _ = written(tmp_path, titles, texts.astype(np.float32), kind="pq", target_recall=0.999)
    assert found.index.kind == "flat"
    assert any("the text index is flat: index.kind=pq finds" in line for line in logged.messages)


def test_rows_of_length_one_and_a_row_of_zeros() -> None:
    made = unit_rows(np.array([[3, 4], [0, 0], [0, -2]], np.float32))
    np.testing.assert_allclose(made, [[0.6, 0.8], [0, 0], [0, -1]], atol=1e-7)
    assert made.dtype == np.float32


def test_rows_scaled_into_a_file_are_those_scaled_in_memory_whatever_the_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = np.random.default_rng(5).normal(size=(23, 7)).astype(np.float32)
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    monkeypatch.setattr("twotower.search.vector_index._ROWS", 5)
    save_unit_rows(vectors, tmp_path / "rows.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "rows.npy"), (vectors / lengths).astype(np.float32))
    np.testing.assert_array_equal(unit_rows(vectors), np.load(tmp_path / "rows.npy"))
