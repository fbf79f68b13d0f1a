"""The arithmetic of benchmarks/sessions.py."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from benchmarks.sessions import best_products, ranks, read_task, recall_and_mrr

EVENTS = """distinct_id,product_id,event_name,created_at
s1,1,View,2016-01-01T00:00:00Z
s1,2,View,2016-01-01T00:00:20Z
s2,2,View,2016-01-01T00:01:00Z
s2,3,View,2016-01-01T00:01:20Z
s10,3,View,2016-01-01T00:02:00Z
s10,1,View,2016-01-01T00:02:20Z
s10,1,View,2016-01-01T00:02:40Z
"""
PRODUCTS = "product_id,title,description,metadata\n" + "".join(f"{one},item {one},,{{}}\n" for one in (1, 2, 3))
SPLIT = "train sessions: s1..s2\ntest sessions (published split): s3..s10\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("events.csv", EVENTS), ("products.csv", PRODUCTS), ("split.txt", SPLIT)):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
    return tmp_path


def test_every_view_but_the_first_of_a_test_session_is_asked_for(folder: Path) -> None:
    task = read_task(folder, newest=0, asked=0, scratch=folder)
    # buyers are sorted by name: s1, s10, s2
    assert (task.stop - task.events.start[:-1]).tolist() == [2, 0, 2]
    assert task.questions.buyer.tolist() == [1, 1]
    histories = [
        task.events.product[a:b].tolist() for a, b in zip(task.questions.start, task.questions.cut, strict=True)
    ]
    assert histories == [[2], [2, 0]]
    assert task.targets.tolist() == [0, 0]


def test_sessions_and_questions_may_be_fewer(folder: Path) -> None:
    task = read_task(folder, newest=1, asked=1, scratch=folder)
    assert (task.stop - task.events.start[:-1]).tolist() == [0, 0, 2]
    assert len(task.questions) == 1


def test_only_products_with_a_score_are_recommended_and_ties_go_to_the_first() -> None:
    scores = np.zeros((1, 30), np.float32)
    scores[0, [4, 9, 20]] = [1, 3, 1]
    assert best_products(scores)[0].tolist() == [9, 4, 20, *[-1] * 17]


def test_recall_and_mrr_are_means_over_the_questions() -> None:
    rank = ranks(np.array([[5, 6], [6, 5], [7, -1], [7, 8]]), np.array([5, 5, 7, 9]))
    assert rank.tolist() == [1, 2, 1, 0]
    assert recall_and_mrr(rank) == (0.75, (1 + 0.5 + 1) / 4)
