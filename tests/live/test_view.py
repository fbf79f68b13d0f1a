"""Hits of the version and of live products in one list, worked out by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from retrieval_service.live.slots import Slots
from retrieval_service.live.view import LiveView
from retrieval_service.query import NO_FILTER
from twotower.search.ranking import Hits

# ten rows in the version, so slot s is row 10 + s
VIEW = LiveView(cast(Slots, SimpleNamespace(order=np.arange(4))), 4, np.zeros(10, np.bool_), 0, NO_FILTER)
FOUND = Hits(np.array([7, 2, 4]), np.array([0.9, 0.5, 0.5], np.float32))
SCORES = np.array([0.5, 0.95, 0.6, 0.99], np.float32)


@pytest.mark.parametrize(
    ("allowed", "excluded", "k", "rows"),
    [
        # the last slot is not allowed; the first one has the score of the third hit, whose row comes before it
        ([1, 1, 1, 0], [], 3, [11, 7, 12]),
        ([1, 0, 0, 0], [], 3, [7, 2, 4]),
        ([1, 1, 1, 0], [1], 3, [7, 12, 2]),
        ([1, 1, 1, 1], [], 1, [13]),
        ([0, 0, 0, 0], [], 3, [7, 2, 4]),
        # fewer hits than asked for: every allowed slot counts
        ([1, 1, 1, 0], [], 5, [11, 7, 12, 2, 4]),
        ([1, 1, 1, 0], [2], 9, [11, 7, 2, 4, 10]),
    ],
)
def test_slots_join_the_hits_by_score(allowed: list[int], excluded: list[int], k: int, rows: list[int]) -> None:
    hits = Hits(FOUND.rows[:k], FOUND.scores[:k])
    united = VIEW.unite(hits, SCORES, np.array(allowed, np.bool_), np.array(excluded, np.int64), k)
    assert united.rows.tolist() == rows
    assert united.scores.tolist() == sorted(united.scores.tolist(), reverse=True)
