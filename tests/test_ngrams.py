"""Hashed n-grams against a slow reference and against ids worked out by hand."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twotower.ngrams import NgramSpec, pad


def code(gram: str, buckets: int) -> int:
    return zlib.crc32(gram.encode()) % (buckets - 1) + 1


def test_the_ids_of_a_word_by_hand() -> None:
    spec = NgramSpec(minimum=2, maximum=3, buckets=1000, length=100)
    grams = ["<ذ", "ذه", "هب", "ب>", "<ذه", "ذهب", "هب>", "<ذهب>"]
    assert spec.ids("ذهب") == [code(gram, 1000) for gram in grams]


def test_a_word_no_longer_than_the_longest_n_gram_is_not_counted_twice() -> None:
    spec = NgramSpec(minimum=2, maximum=4, buckets=1000, length=100)
    assert spec.ids("ab") == [code(gram, 1000) for gram in ["<a", "ab", "b>", "<ab", "ab>", "<ab>"]]
    assert spec.ids("") == []


def test_numbers_letters_and_signs_are_cut_apart() -> None:
    spec = NgramSpec()
    assert spec.ids("10مل") == spec.ids("10 مل")
    assert spec.ids("5w-30") == spec.ids("5 w - 30")
    assert spec.ids("2.5كغ") == spec.ids("2.5 كغ") != spec.ids("2 . 5 كغ")


def test_a_known_text_keeps_its_ids_for_ever() -> None:
    # saved encoders depend on the hash: these numbers may never change
    assert NgramSpec(2, 3, 65_536, 64).ids("خاتم ذهب") == KNOWN


KNOWN = [code(gram, 65_536) for word in ("خاتم", "ذهب") for gram in (
    [f"<{word}>"[i : i + n] for n in (2, 3) for i in range(len(word) + 3 - n)] + [f"<{word}>"]
)]  # fmt: skip


@given(st.text(), st.integers(1, 4), st.integers(0, 3), st.integers(2, 500), st.integers(1, 40))
@settings(max_examples=150, deadline=None)
def test_ids_are_in_range_and_cut_to_the_length(text: str, low: int, more: int, buckets: int, length: int) -> None:
    ids = NgramSpec(low, low + more, buckets, length).ids(text)
    assert len(ids) <= length
    assert all(1 <= one < buckets for one in ids)
    assert ids == NgramSpec(low, low + more, buckets, 10**6).ids(text)[:length]


def test_a_batch_is_padded_with_zeros() -> None:
    ids, mask = pad([[5, 6], [], [7, 8, 9]])
    np.testing.assert_array_equal(ids, [[5, 6, 0], [0, 0, 0], [7, 8, 9]])
    np.testing.assert_array_equal(mask, [[1, 1, 0], [0, 0, 0], [1, 1, 1]])
    assert ids.dtype == mask.dtype == np.int64
    assert pad([[], []])[0].shape == (2, 1)
    assert pad([])[0].shape == (0, 1)


@pytest.mark.parametrize("wrong", [(0, 3), (4, 3)])
def test_impossible_sizes_are_refused(wrong: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"n-grams of {wrong[0]} to {wrong[1]} characters are impossible"):
        NgramSpec(*wrong)
    with pytest.raises(ValueError, match="buckets 1 and length 1"):
        NgramSpec(buckets=1, length=1)
