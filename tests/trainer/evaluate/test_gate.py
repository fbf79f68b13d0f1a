"""The verdict of the publish gate, on metrics made by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.tiny_version import build_version
from trainer.config.loading import load_config
from trainer.data.events import Events
from trainer.data.split import Cases
from trainer.evaluate.gate import judge
from trainer.evaluate.ranking import case_metrics, rank_targets
from trainer.evaluate.served import (
    EvaluationData,
    ModelResults,
    Served,
    compare_with_served,
    find_served,
    known_stop,
    newer_cases,
    readable_histories,
    served_codes,
)
from twotower.artifact.layout import Layout
from twotower.artifact.version import Version
from twotower.events import DAY_MS

Capture = pytest.CaptureFixture[str]


CASES = 400


def spread(mean: float) -> Any:
    """A metric of 400 cases around `mean`, the same ups and downs each time."""
    return mean + np.random.default_rng(0).normal(0, 0.01, CASES)


def noisy(mean: float) -> Any:
    return mean + np.random.default_rng(1).normal(0, 1, CASES)


def beside(difference: float, low: float, high: float, served: float = 0.2) -> dict[str, Any]:
    own = {"version": "old", "compared_cases": CASES, "model": served + difference, "served": served}
    own |= {"head_start": 0.0}
    return own | {"difference": difference, "low": low, "high": high}


@pytest.mark.parametrize(
    ("rivals", "served", "verdict", "said"),
    [
        ({"popularity": spread(0.1), "item_knn": spread(0.2)}, None, "passed", []),
        # clearly worse than a baseline
        ({"popularity": spread(0.1), "item_knn": spread(0.4)}, None, "warned", ["of item_knn, difference -0.1000"]),
        ({"popularity": spread(0.5)}, {"version": "old", "compared_cases": 0}, "refused", ["of popularity"]),
        (
            {"recent_popularity": spread(0.5), "transitions": spread(0.4)},
            None,
            "warned",
            ["of recent_popularity, difference -0.2000", "of transitions, difference -0.1000"],
        ),
        # worse, but within what chance does
        ({"item_knn": noisy(0.31)}, None, "passed", []),
        # EASE keeps nothing back
        ({"ease": spread(0.9)}, None, "passed", []),
        # the served version: a clear drop above and below the allowed share, and an unclear one
        ({}, beside(-0.02, -0.03, -0.01), "refused", ["of the served version old: a drop of 10.0%"]),
        ({}, beside(-0.009, -0.01, -0.008), "passed", []),
        ({}, beside(-0.05, -0.11, 0.01), "passed", []),
        ({}, beside(0.05, 0.01, 0.09), "passed", []),
        ({"item_knn": spread(0.4)}, beside(-0.02, -0.03, -0.01), "refused", ["of item_knn", "of the served version"]),
    ],
)
def test_verdicts(rivals: dict[str, Any], served: dict[str, Any] | None, verdict: str, said: list[str]) -> None:
    found = judge({"model": spread(0.3), **rivals}, "ndcg@10", served, 0.05, 300, 7)
    assert found.verdict == verdict and len(found.reasons) == len(said)
    for reason, part in zip(found.reasons, said, strict=True):
        assert part in reason and reason.startswith("ndcg@10 ")
    assert found.served == served


def test_no_test_case_refuses_nothing() -> None:
    assert judge({"model": np.empty(0), "popularity": np.empty(0)}, "ndcg@10", None, 0.05, 100, 7).verdict == "passed"


EVENTS = Events(
    np.array([0, 0, 0, 1, 1, 2, 2], np.int32),
    np.array([0, 1, 2, 3, 4, 5, 0], np.int32),
    np.array([1, 3, 1, 1, 1, 1, 1], np.int8),
    np.array([1, 2, 9, 1, 4, 8, 9]) * DAY_MS,
    np.array([0, 3, 5, 7]),
)


LAST = Cases(np.arange(3), np.array([0, 3, 5]), np.array([2, 4, 6]), np.array([3, 5, 7]))


IDS = ["p3", "p1", "new", "p0", "p2", "unheard"]


NAMES = ["View", "AddToCart", "Purchase"]


@pytest.fixture
def old(tmp_path: Path) -> Version:
    """A version whose newest event is of day 5."""
    version = build_version(tmp_path, "old")
    return Version(version.manifest.model_copy(update={"newest_event_ms": 5 * DAY_MS}), version.layout, version.encoder)


def test_only_cases_that_the_served_version_has_not_seen_are_compared(old: Version) -> None:
    # the targets are of days 9, 4 and 9; buyer 2's history is one product that the version does not have
    assert newer_cases(EVENTS, LAST, 5 * DAY_MS).tolist() == [True, False, True]
    codes = served_codes(old, IDS, NAMES)
    assert codes.rows.tolist() == [3, 1, -1, 0, 2, -1]
    assert codes.kinds.tolist() == [0, 1, 2, 3]
    assert readable_histories(EVENTS, LAST, codes).tolist() == [True, True, False]


def test_a_version_knew_all_events_up_to_its_newest() -> None:
    # buyer 0 has events of days 1, 2 and 9, buyer 1 of 1 and 4, buyer 2 of 8 and 9; the test asks for the last of each
    tested = np.array([1, 3, 6])
    assert known_stop(EVENTS, tested, 4 * DAY_MS).tolist() == [2, 5, 6]
    assert known_stop(EVENTS, tested, 0).tolist() == tested.tolist()


def test_the_served_version_is_scored_through_its_own_files(old: Version) -> None:
    found: dict[str, Any] = {}

    def measure(scorer: Any, cases: Cases) -> tuple[Any, Any]:
        found["scores"] = scorer(cases)
        ranks = rank_targets(scorer, EVENTS, cases, np.arange(6).astype(np.uint64), True, lists=False)
        return np.unique(ranks.case), case_metrics(ranks)["recall@10"]

    def head_start(newest: int, cases: Cases) -> Any:
        assert newest == 5 * DAY_MS
        return np.full(len(cases), 0.25)

    def compare(minimum: int, served: Served) -> dict[str, Any]:
        settings = [f"evaluation.min_test_buyers={minimum}", "evaluation.resamples=100", "threads=1"]
        model = ModelResults(LAST, np.array([1.0, 0.0, 0.0]), {"ndcg@10": 0.5})
        data = EvaluationData(EVENTS, IDS, NAMES)
        return compare_with_served(served, model, data, measure, head_start, load_config([], settings))

    facts = compare(1, Served("old", old, ""))
    # the first buyer alone; the product that the version lacks is among the six all the same
    assert facts["compared_cases"] == 1 and facts["model"] == 1.0 and facts["served"] == 1.0
    # it was refitted on events that the tested model lacks
    assert (facts["head_start"], facts["difference"]) == (0.25, 0.25)
    unrefitted = {"configuration": {"training": {"refit": False}}}
    plain = compare(1, Served("old", Version(old.manifest.model_copy(update=unrefitted), old.layout, old.encoder), ""))
    assert (plain["head_start"], plain["difference"]) == (0.0, 0.0)
    assert found["scores"].shape == (1, 6)
    assert np.isneginf(found["scores"][0, [2, 5]]).all() and np.isfinite(found["scores"][0, [0, 1, 3, 4]]).all()
    few = compare(2, Served("old", old, ""))
    assert few["compared_cases"] == 0 and "only 1 test cases are newer" in few["summary"]
    assert few["recorded_model"] == 0.5
    assert "no such file" in compare(1, Served("old", None, "no such file"))["summary"]
    unknown = Version(old.manifest.model_copy(update={"newest_event_ms": None}), old.layout, old.encoder)
    assert "does not record the time of its newest event" in compare(1, Served("old", unknown, ""))["summary"]


def test_what_is_served_may_be_nothing_or_damaged(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert find_served(layout) is None
    build_version(tmp_path, "old")
    found = find_served(layout)
    assert found is not None and found.name == "old" and found.version is not None
    layout.version("old").embeddings.write_bytes(b"x")
    found = find_served(layout)
    assert found is not None and found.version is None and "product_embeddings.npy has 1 bytes" in found.problem
    layout.current.write_text("rubbish")
    assert find_served(layout) is None
