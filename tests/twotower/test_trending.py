"""What is rising: by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.lists import COUNTED
from twotower.artifact.layout import VersionLayout
from twotower.errors import CorruptArtifact
from twotower.trending import Rising, find_rising, load_rising, pack_table, save_rising, unpack_table


def test_the_score_is_the_lower_bound_of_the_shrunken_rate_ratio() -> None:
    # the window has a tenth of the past's buyers: 10 of the past let expect 1, 480 let expect 48, 510 let expect 51
    found = find_rising(np.array([20, 30, 50]), np.array([10, 480, 510]))
    ratio = (20 + 5) / (1 + 5)
    error = math.sqrt(1 / 25 + 0.1 * 1 / 36)
    assert found.places.tolist() == [0]
    assert found.scores[0] == pytest.approx(ratio / math.exp(1.96 * error))
    assert (found.buyers[0], found.expected[0]) == (20, 1)


def test_two_buyers_of_a_quiet_product_are_no_trend_and_ten_are_one() -> None:
    past = np.array([0, 0, 1000])
    assert find_rising(np.array([2, 0, 100]), past).places.tolist() == []
    assert find_rising(np.array([10, 2, 100]), past).places.tolist() == [0]


def test_nothing_rises_on_a_day_on_which_everything_is_bought_more() -> None:
    past = np.array([280, 140, 28])
    # ten times as many as on other days
    assert find_rising(past * 10 // 28, past).places.tolist() == []


def test_the_strongest_come_first_and_equal_ones_in_their_order() -> None:
    found = find_rising(np.array([40, 60, 40, 0]), np.array([10, 10, 10, 4000]))
    assert found.places.tolist() == [1, 0, 2]
    assert found.scores[1] == found.scores[2]


def test_without_a_past_nothing_rises() -> None:
    assert find_rising(np.array([50]), np.array([0])).places.tolist() == []


def test_the_table_comes_back_from_redis_and_from_a_version(tmp_path: Path) -> None:
    found = find_rising(np.array([20, 60, 50]), np.array([10, 20, 510]))
    ids, figures, counted = unpack_table(pack_table(["b", "a"], found, COUNTED))
    assert (ids, counted) == (["b", "a"], COUNTED)
    np.testing.assert_array_equal(figures, np.stack(found[1:]))
    files = VersionLayout(tmp_path)
    save_rising(found, files)
    for wanted, column in zip(found, load_rising(files, 3), strict=True):
        np.testing.assert_array_equal(column, wanted)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    files = VersionLayout(tmp_path)
    two = np.ones(2, np.float32)
    save_rising(Rising(np.array([0, 7]), two, two, two), files)
    with pytest.raises(CorruptArtifact, match="rows of 7 products"):
        load_rising(files, 7)
    np.save(files.trending_figures, np.ones((3, 3), np.float32))
    with pytest.raises(CorruptArtifact, match=r"wanted finite float32 \[3, 2\]"):
        load_rising(files, 8)
    for value in (b"{", b"[]", b'{"ids": ["a"], "figures": [[1], [1]], "counted": {}}'):
        with pytest.raises(CorruptArtifact, match="cannot be read"):
            unpack_table(value)
    short = pack_table(["a"], Rising(np.array([0, 7]), two, two, two), COUNTED)
    with pytest.raises(CorruptArtifact, match=r"\[3, 2\] figures for 1 products"):
        unpack_table(short)
