"""The questions and the baseline of benchmarks/again.py."""

from __future__ import annotations

import numpy as np

from benchmarks.again import Question, before, most_bought, recalls
from trainer.data.events import Events
from twotower.events import DAY_MS, Interaction


def bought(*rows: tuple[str, float]) -> list[Interaction]:
    return [Interaction(product, "Purchase", round(day * DAY_MS)) for product, day in rows]


def test_most_bought_counts_days_and_then_the_last_purchase() -> None:
    history = bought(("a", 1), ("b", 2), ("c", 3), ("c", 3.2), ("a", 4), ("b", 5))
    assert most_bought(history) == ["b", "a", "c"]


def test_recall_counts_ten_targets_at_most_and_an_empty_list_as_none() -> None:
    twelve = {f"p{place}" for place in range(12)}
    questions = [Question([], twelve), Question([], {"p0", "x"})]
    assert recalls(questions, lambda _: [f"p{place}" for place in range(20)]).tolist() == [1.0, 0.5]
    assert recalls(questions, lambda _: []).tolist() == [0.0, 0.0]


def test_events_before_a_moment_keep_their_buyers() -> None:
    events = Events(
        np.array([0, 0, 1, 2], np.int32),
        np.array([3, 4, 5, 6], np.int32),
        np.ones(4, np.int8),
        np.array([1, 9, 9, 2]),
        np.array([0, 2, 3, 4]),
    )
    kept = before(events, 5)
    assert kept.product.tolist() == [3, 6]
    assert kept.start.tolist() == [0, 1, 1, 2]
