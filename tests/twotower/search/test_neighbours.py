"""The table of neighbours: sums worked out by hand, files, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twotower.artifact.layout import VersionLayout
from twotower.errors import CorruptArtifact
from twotower.search.neighbours import NeighbourTable, own_entries, step_weights, sum_entries

# 0 is followed by 1 (.5) and 3 (1), 1 by nothing, 2 by 0 (.25), 3 by 1 (2) and 2 (.5)
TABLE = NeighbourTable(
    np.array([0, 2, 2, 3, 5]), np.array([1, 3, 0, 1, 2], np.int32), np.array([0.5, 1, 0.25, 2, 0.5], np.float32)
)

PRIOR = np.array([1, 2, 3, 4], np.float32)


@pytest.mark.parametrize(
    ("history", "steps", "wanted"),
    [
        ([0], 10, {1: 0.5, 3: 1.0}),
        ([1], 10, {}),
        ([], 10, {}),
        # .5 of 0's, .25 of 3's one further back
        ([2, 0, 3], 10, {0: 0.25, 1: 0.5 * 0.5 + 0.25 * 2, 2: 0.25 * 0.5, 3: 0.5}),
        ([2, 0, 3], 2, {0: 0.25, 1: 0.25, 3: 0.5}),
        # a repeated product counts at each of its places
        ([0, 0, 1, 0], 10, {1: 0.5 * 1.625, 3: 1.625}),
    ],
)
def test_the_neighbours_of_the_last_products_are_summed(
    history: list[int], steps: int, wanted: dict[int, float]
) -> None:
    for given in (history, np.array(history, np.int64)):
        found = TABLE.score_history(given, steps, 0.5)
        assert dict(zip(found.rows.tolist(), found.scores.tolist(), strict=True)) == wanted
        assert found.rows.tolist() == sorted(wanted)
        assert (found.rows.dtype, found.scores.dtype) == (np.int64, np.float32)


def test_entries_of_a_batch_lie_in_the_rows_of_their_histories() -> None:
    places, scores = TABLE.entries([[0, 2], [], [1], [3]], step_weights(2, 0.5, 4.0))
    assert places.tolist() == [1, 3, 0, 12 + 1, 12 + 2]
    assert scores.tolist() == [2.0, 4.0, 0.5, 8.0, 2.0]


def test_entries_of_the_products_themselves() -> None:
    places, scores = own_entries([[0, 2, 2], [], [3]], step_weights(2, 0.5, 4.0), 4)
    assert places.tolist() == [0, 2, 8 + 3]
    assert scores.tolist() == [4.0, 2.0, 4.0]


def test_sums_may_begin_with_another_number() -> None:
    parts, base = [TABLE.entries([[0, 2]], step_weights(2, 0.5)), own_entries([[0, 2]], step_weights(2, 0.5), 4)], PRIOR
    found = sum_entries(parts, base)
    # .125 of 2's neighbour and 1 as itself; .5 and 1 of 0's; .5 as itself
    assert (found.rows.tolist(), found.scores.tolist()) == ([0, 1, 2, 3], [1 + 1.125, 2.5, 3.5, 5.0])


def test_files_hold_the_table(tmp_path: Path) -> None:
    files = VersionLayout(tmp_path)
    TABLE.save(files)
    read = NeighbourTable.load(files)
    read.check(4)
    for name in ("offsets", "rows", "scores"):
        np.testing.assert_array_equal(getattr(read, name), getattr(TABLE, name))
        assert getattr(read, name).dtype == getattr(TABLE, name).dtype
    files.neighbour_rows.write_bytes(b"no array")
    with pytest.raises(CorruptArtifact, match=r"neighbours in .* cannot be read"):
        NeighbourTable.load(files)
    files.neighbour_rows.unlink()
    with pytest.raises(CorruptArtifact, match="cannot be read"):
        NeighbourTable.load(files)


def test_a_table_of_nothing_is_a_table() -> None:
    NeighbourTable(np.zeros(4, np.int64), np.empty(0, np.int32), np.empty(0, np.float32)).check(3)
    TABLE.check(4)


@pytest.mark.parametrize(
    ("column", "values", "problem"),
    [
        ("offsets", np.array([0, 2, 2, 3], np.int64), "neighbour_offsets holds 4 numbers for 4 products"),
        ("offsets", np.array([0, 2, 2, 3, 5], np.int32), "neighbour_offsets is int32"),
        ("offsets", np.array([1, 2, 2, 3, 5]), "neighbour_offsets does not rise from 0"),
        ("offsets", np.array([0, 3, 2, 3, 5]), "neighbour_offsets does not rise from 0"),
        ("offsets", np.array([0, 2, 2, 3, 4]), "ends with 4, there are 5 rows and 5 scores"),
        ("rows", np.array([1, 3, 0, 1], np.int32), "there are 4 rows and 5 scores"),
        ("rows", np.array([1, 3, 0, 1, 2], np.int64), r"neighbour_rows is int64 \[5\], wanted int32"),
        ("rows", np.array([1, 4, 0, 1, 2], np.int32), "neighbour_rows holds 4, which is no row of 4 products"),
        ("rows", np.array([-1, 3, 0, 1, 2], np.int32), "neighbour_rows holds -1, which is no row"),
        ("rows", np.array([3, 1, 0, 1, 2], np.int32), "neighbour_rows holds 1, which is not above"),
        ("rows", np.array([1, 3, 0, 2, 2], np.int32), "neighbour_rows holds 2, which is not above"),
        ("scores", np.array([[0.5, 1, 0.25, 2, 0.5]], np.float32), "neighbour_scores is float32"),
        ("scores", np.array([0.5, 1, 0, 2, 0.5], np.float32), r"holds 0\.0, which is no finite number above 0"),
        ("scores", np.array([0.5, 1, np.nan, 2, np.inf], np.float32), r"holds nan, .* \(2 such entries\)"),
    ],
)
def test_what_is_no_table_is_refused(column: str, values: Any, problem: str) -> None:
    table = NeighbourTable(**{**TABLE.__dict__, column: values})
    with pytest.raises(CorruptArtifact, match=problem):
        table.check(4)
