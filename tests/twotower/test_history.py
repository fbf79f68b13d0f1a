"""Histories as inputs of the buyer tower."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from twotower.errors import CorruptArtifact
from twotower.events import DAY_MS, EventSchema, Interaction
from twotower.history import BuyerSequence, latest, read_recent, to_inputs, write_recent

SCHEMA = EventSchema({"View": 1.0, "AddToCart": 5.0, "Purchase": 10.0})


def sequence(rows: list[int], types: list[int], times: list[int]) -> BuyerSequence:
    return BuyerSequence(np.array(rows, np.int64), np.array(types, np.int64), np.array(times, np.int64))


def test_latest_keeps_the_newest_oldest_first() -> None:
    events = [Interaction("c", "View", 30), Interaction("a", "View", 10), Interaction("b", "View", 20)]
    assert [one.product_id for one in latest(events, 2)] == ["b", "c"]
    assert [one.product_id for one in latest(events, 9)] == ["a", "b", "c"]
    assert latest(events, 0) == []
    assert latest([], 5) == []


def test_events_of_one_moment_are_ordered_by_product_then_event() -> None:
    events = [Interaction("b", "View", 5), Interaction("a", "View", 5), Interaction("a", "AddToCart", 5)]
    wanted = [("a", "AddToCart"), ("a", "View"), ("b", "View")]
    assert [(one.product_id, one.event_type) for one in latest(events, 3)] == wanted
    assert latest(events[::-1], 2) == latest(events, 2)


def test_inputs_are_padded_at_the_end_and_ages_count_from_the_newest_event() -> None:
    day = DAY_MS
    batch = to_inputs([sequence([7, 8], [1, 3], [10 * day, 12 * day + day // 2]), sequence([9], [2], [99])], SCHEMA)
    np.testing.assert_array_equal(batch.rows, [[7, 8], [9, 0]])
    np.testing.assert_array_equal(batch.types, [[1, 3], [2, 0]])
    np.testing.assert_array_equal(batch.weights, np.array([[1, 10], [5, 0]], np.float32))
    np.testing.assert_array_equal(batch.ages, np.array([[2.5, 0], [0, 0]], np.float32))
    np.testing.assert_array_equal(batch.mask, [[True, True], [True, False]])
    assert [array.dtype for array in batch] == [np.int64, np.float32, np.int64, np.float32, np.bool_]


def test_padding_is_not_the_newest_if_times_are_before_1970() -> None:
    batch = to_inputs([sequence([1, 2], [1, 1], [-3 * DAY_MS, -DAY_MS]), sequence([3], [1], [-7 * DAY_MS])], SCHEMA)
    np.testing.assert_array_equal(batch.ages, np.array([[2, 0], [0, 0]], np.float32))


def test_an_empty_history_among_others_is_padding() -> None:
    batch = to_inputs([sequence([1], [2], [5]), sequence([], [], []), sequence([3, 4], [1, 3], [6, 7])], SCHEMA)
    np.testing.assert_array_equal(batch.rows, [[1, 0], [0, 0], [3, 4]])
    np.testing.assert_array_equal(batch.mask, [[True, False], [False, False], [True, True]])
    assert not batch.ages[1].any()


def test_an_empty_history_is_all_padding() -> None:
    batch = to_inputs([sequence([], [], [])], SCHEMA)
    assert batch.rows.shape == (1, 1)
    assert not batch.mask.any()
    assert to_inputs([], SCHEMA).rows.shape == (0, 1)


def test_recent_interactions_come_back_as_they_were_written(tmp_path: Path) -> None:
    histories = [("ب1", [Interaction("p1", "View", 1), Interaction("خاتم", "Purchase", 2)]), ("b2", [])]
    assert write_recent(tmp_path / "one", histories) == 2
    assert list(read_recent(tmp_path / "one")) == histories
    write_recent(tmp_path / "two", histories)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b'{"buyer_id": "a"}', b'{"buyer_id": "a", "interactions": [[1]]}', b"\xff"]
)
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "recent"
    path.write_bytes(gzip.compress(b'{"buyer_id": "a", "interactions": []}\n' + line + b"\n"))
    with pytest.raises(CorruptArtifact, match="line"):
        list(read_recent(path))


def test_a_truncated_file_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "recent"
    write_recent(path, [(f"b{number}", [Interaction("p", "View", number)]) for number in range(50)])
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CorruptArtifact, match="cannot be read"):
        list(read_recent(path))
