"""The cache of text vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from trainer.text.vectors import encode_cached, restored_on_failure
from twotower.arrays import Float32


class Counting:
    """A text encoder that counts what it is asked; its vectors are the lengths of the texts."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, lists: Sequence[Sequence[str]]) -> Iterator[Float32]:
        return map(self.encode, lists)

    def encode(self, texts: Sequence[str]) -> Float32:
        self.asked += texts
        return np.array([[len(text), 1] for text in texts], np.float32)


def test_only_new_and_changed_texts_are_encoded(tmp_path: Path) -> None:
    encoder = Counting()

    def encode(digest: str, *texts: str) -> tuple[list[float], int]:
        vectors, fresh = encode_cached(encoder, 2, digest, texts, tmp_path / "cache")
        assert vectors.shape == (len(texts), 2)
        return vectors[:, 0].tolist(), fresh

    assert encode("e1", "a", "bb", "a") == ([1, 2, 1], 2)
    assert encode("e1", "bb", "a") == ([2, 1], 0)
    assert encode("e1", "a", "ccc", "bb") == ([1, 3, 2], 1)
    assert encoder.asked == ["a", "bb", "ccc"]
    # another encoder has vectors of its own
    assert encode("e2", "a") == ([1], 1)
    assert encode("e1", "ccc") == ([3], 0)


def test_old_and_new_texts_are_distinguished_across_chunks(tmp_path: Path) -> None:
    encoder = Counting()

    def encode(*texts: str) -> tuple[list[float], int]:
        vectors, fresh = encode_cached(encoder, 2, "e", texts, tmp_path, chunk=2)
        return vectors[:, 0].tolist(), fresh

    assert encode("a", "bb", "ccc", "dddd", "eeeee") == ([1, 2, 3, 4, 5], 5)
    assert encode("eeeee", "ffffff", "bb", "bb", "g", "a", "ccc") == ([5, 6, 2, 2, 1, 1, 3], 2)
    assert encoder.asked == ["a", "bb", "ccc", "dddd", "eeeee", "ffffff", "g"]


def test_a_write_that_is_cut_off_leaves_the_cache_as_it_was(tmp_path: Path) -> None:
    class Failing(Counting):
        def encode(self, texts: Sequence[str]) -> Float32:
            if "ccc" in texts:
                raise KeyboardInterrupt
            return super().encode(texts)

    encode_cached(Counting(), 2, "e", ["a", "bb"], tmp_path)
    with pytest.raises(KeyboardInterrupt):
        encode_cached(Failing(), 2, "e", ["dddd", "ccc", "bb"], tmp_path, chunk=1)
    vectors, fresh = encode_cached(Failing(), 2, "e", ["bb", "a"], tmp_path)
    assert (vectors[:, 0].tolist(), fresh) == ([2, 1], 0)


@pytest.mark.parametrize("left", [0, 100])
def test_a_damaged_cache_is_rebuilt(tmp_path: Path, left: int) -> None:
    encoder = Counting()
    encode_cached(encoder, 2, "e", ["a", "bb"], tmp_path)
    (path,) = tmp_path.glob("*.npy")
    path.write_bytes(path.read_bytes()[:left])
    vectors, fresh = encode_cached(encoder, 2, "e", ["a", "bb"], tmp_path)
    assert (vectors[:, 0].tolist(), fresh) == ([1, 2], 2)


def test_a_block_that_fails_gives_the_vectors_from_before_back(tmp_path: Path) -> None:
    folder, encoder = tmp_path / "vectors", Counting()

    def encode(digest: str, *texts: str) -> int:
        return encode_cached(encoder, 2, digest, texts, folder)[1]

    def contents() -> dict[str, bytes]:
        return {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    assert encode("e1", "a", "bb") == 2
    before = contents()
    with pytest.raises(OSError, match="full"), restored_on_failure(folder):
        assert encode("e1", "ccc") == 1
        assert encode("e2", "a") == 1
        raise OSError("full")
    assert contents() == before
    with restored_on_failure(folder):
        assert encode("e1", "a", "dddd") == 1
    assert encode("e1", "dddd", "a") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vectors"]


def test_a_block_that_fails_without_vectors_from_before_leaves_none(tmp_path: Path) -> None:
    folder = tmp_path / "vectors"
    with pytest.raises(KeyboardInterrupt), restored_on_failure(folder):
        encode_cached(Counting(), 2, "e", ["a"], folder)
        raise KeyboardInterrupt
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
