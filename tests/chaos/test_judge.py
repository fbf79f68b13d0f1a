"""The judge of answers, and the figures of a row, on answers and events written by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.asks import Ask, store
from tests.chaos.faults import Scene
from tests.chaos.figures import Figures, figures
from tests.chaos.judge import Book, Verdict, judge
from tests.chaos.load import Event
from tests.chaos.rows import Limits
from tests.chaos.system import Node, System

ASK = Ask("retrieve", "/retrieve?buyer_id=b", "b", popular=("/retrieve?buyer_id=nobody",))
ENCODE = Ask("encode", "/encode_buyer", "encode b", "{}")


def found(version: str, ids: str, scores: list[float], **more: Any) -> dict[str, Any]:
    answer = {"product_ids": list(ids), "scores": scores, "model_version": version}
    return {**answer, "source": "model", "warnings": [], **more}


def detail(product: str, price: float) -> dict[str, Any]:
    return {"product_id": product, "price": price}


A, B = found("a", "xyz", [3.0, 2.0, 1.0]), found("b", "zwv", [9.0, 8.0, 7.0])
POPULAR = found("a", "wxy", [0.5, 0.3, 0.2], source="popular", warnings=["the history cannot be read: Redis is down"])
VECTOR = {"buyer_embedding": [0.6, 0.8], "model_version": "a", "stored": 3, "warnings": []}
BOOK = Book(
    {
        "a": {ASK.key: A, ASK.popular[0]: POPULAR, ENCODE.key: VECTOR},
        "b": {ASK.key: B, ASK.popular[0]: POPULAR, ENCODE.key: {**VECTOR, "buyer_embedding": [0.8, 0.6]}},
    }
)


@pytest.mark.parametrize(
    ("status", "answer", "verdict"),
    [
        (200, A, Verdict.RIGHT),
        (200, B, Verdict.RIGHT),
        # a copy of a version, under a name of its own
        (200, {**A, "model_version": "a.7"}, Verdict.RIGHT),
        # within the tolerance
        (200, {**A, "scores": [3.00005, 2.0, 1.0]}, Verdict.RIGHT),
        (200, {**A, "scores": [3.01, 2.0, 1.0]}, Verdict.WRONG),
        (200, {**A, "product_ids": ["x", "z", "y"]}, Verdict.WRONG),
        (200, {**A, "product_ids": ["x", "x", "z"]}, Verdict.WRONG),
        (200, {**A, "product_ids": ["x", "y"], "scores": [3.0, 2.0]}, Verdict.WRONG),
        (200, {**A, "model_version": "c"}, Verdict.WRONG),
        # the products of one version under the name of the other
        (200, {**A, "model_version": "b"}, Verdict.MIXED),
        (200, POPULAR, Verdict.DEGRADED),
        (200, {**POPULAR, "warnings": []}, Verdict.SILENT),
        (200, {**POPULAR, "warnings": ["diversity has no effect on popular products"]}, Verdict.SILENT),
        (200, {**POPULAR, "product_ids": ["w", "y", "x"]}, Verdict.WRONG),
        (503, {"detail": "down"}, Verdict.REFUSED),
        (504, {"detail": "late"}, Verdict.REFUSED),
        (500, {"detail": "bug"}, Verdict.FAILED),
        (404, {"detail": "unknown"}, Verdict.FAILED),
    ],
)
def test_a_list_is_judged_by_the_version_that_it_names(status: int, answer: dict[str, Any], verdict: Verdict) -> None:
    assert judge(BOOK, ASK, status, answer)[0] is verdict


def test_products_of_equal_scores_may_stand_in_either_order() -> None:
    book = Book({"a": {ASK.key: found("a", "xyz", [3.0, 2.0, 2.0]), **_no_popular()}})
    assert judge(book, ASK, 200, found("a", "xzy", [3.0, 2.0, 2.0]))[0] is Verdict.RIGHT
    # one of equal score that was not in the list
    assert judge(book, ASK, 200, found("a", "xyw", [3.0, 2.0, 2.0]))[0] is Verdict.RIGHT
    assert judge(book, ASK, 200, found("a", "wyz", [3.0, 2.0, 2.0]))[0] is Verdict.WRONG


def test_a_list_without_a_shard_is_degraded_if_it_says_so_and_is_that_of_the_others() -> None:
    """The whole list is x, y, z; y is of shard 1, and v and w come after z."""
    book = replace(BOOK, shards={"v": 0, "w": 0, "x": 0, "y": 1, "z": 0})
    warnings = ["a part of the catalogue cannot be reached: shard 1"]
    partial = found("a", "xzw", [3.0, 1.0, 0.5], warnings=warnings)
    assert judge(book, ASK, 200, partial)[0] is Verdict.DEGRADED
    for changes in (
        {"warnings": []},
        {"product_ids": ["x", "z", "y"]},
        {"product_ids": ["z", "x", "w"]},
        {"product_ids": ["v", "z", "w"]},
        {"scores": [3.0, 1.1, 0.5]},
        {"product_ids": ["x", "z"], "scores": [3.0, 1.0]},
        {"warnings": ["a part of the catalogue cannot be reached: shard 0"]},
    ):
        assert judge(book, ASK, 200, {**partial, **changes})[0] is Verdict.WRONG, changes


def test_details_of_another_version_are_a_mixed_answer() -> None:
    one = found("a", "xy", [2.0, 1.0], products=[detail("x", 10), detail("y", 20)])
    other = found("b", "yx", [2.0, 1.0], products=[detail("y", 1020), detail("x", 1010)])
    book = Book({"a": {ASK.key: one, **_no_popular()}, "b": {ASK.key: other, **_no_popular()}})
    assert judge(book, ASK, 200, one)[0] is Verdict.RIGHT
    mixed = {**one, "products": [detail("x", 1010), detail("y", 1020)]}
    assert judge(book, ASK, 200, mixed)[0] is Verdict.MIXED
    swapped = {**one, "products": [detail("y", 20), detail("x", 10)]}
    assert judge(book, ASK, 200, swapped)[0] is not Verdict.RIGHT


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, Verdict.RIGHT),
        ({"stored": 0, "warnings": ["Redis is down"]}, Verdict.DEGRADED),
        ({"stored": 0}, Verdict.WRONG),
        ({"buyer_embedding": [0.6, 0.7]}, Verdict.WRONG),
        ({"buyer_embedding": [0.8, 0.6]}, Verdict.MIXED),
    ],
)
def test_a_vector_is_judged_by_the_version_that_it_names(changes: dict[str, Any], verdict: Verdict) -> None:
    assert judge(BOOK, ENCODE, 200, {**VECTOR, **changes})[0] is verdict


@pytest.mark.parametrize(("stored", "verdict"), [(1, Verdict.RIGHT), (0, Verdict.WRONG)])
def test_a_write_is_right_if_it_was_stored(stored: int, verdict: Verdict) -> None:
    assert judge(BOOK, store("w0", "p1"), 200, {"stored": stored})[0] is verdict


def cost(tmp_path: Path, limits: Limits, *events: Event) -> Figures:
    """Figures of a fault from second 10 to second 12."""
    scene = Scene(System(tmp_path, {"gateway-0": Node("gateway-0", [], {}, 0, tmp_path / "log")}), 10.0, 12.0)
    return figures(scene, events, limits, acknowledged=2, lost=0)


def event(sent: float, verdict: Verdict, ask: Ask = ASK) -> Event:
    return Event(ask, sent, sent + 0.1, verdict, "")


def test_what_needs_the_missing_service_is_excused_while_it_is_away(tmp_path: Path) -> None:
    limits = Limits(without=frozenset({"retrieval"}), back_seconds=0.5)
    refused = [event(sent, Verdict.REFUSED) for sent in (10.5, 12.4)]
    right = event(20, Verdict.RIGHT)
    assert cost(tmp_path, limits, *refused, right).broken(limits) == []
    late = cost(tmp_path, limits, *refused, event(12.6, Verdict.REFUSED), right)
    assert (late.failed, late.excused, late.error_seconds, late.back_seconds) == (1, 2, 2.1, 0.6)
    assert late.broken(limits) == ["1 of 4 failed"]
    # another service was not away, and no answer is no refusal
    assert cost(tmp_path, limits, event(11, Verdict.REFUSED, store("w", "p"))).broken(limits) == ["1 of 1 failed"]
    assert cost(tmp_path, limits, event(11, Verdict.FAILED)).broken(limits) == ["1 of 1 failed"]


def test_popular_products_are_a_failure_where_histories_can_be_read(tmp_path: Path) -> None:
    degraded = event(11, Verdict.DEGRADED)
    assert cost(tmp_path, Limits(), degraded).broken(Limits()) == ["1 of 1 failed"]
    limits = Limits(without=frozenset({"redis"}))
    assert cost(tmp_path, limits, degraded).broken(limits) == []


def test_one_wrong_or_silent_answer_breaks_every_limit(tmp_path: Path) -> None:
    limits = Limits(share=1.0, without=frozenset({"redis"}), back_seconds=60)
    assert cost(tmp_path, limits, event(11, Verdict.WRONG)).broken(limits) == ["1 wrong and 0 mixed answers"]
    assert cost(tmp_path, limits, event(11, Verdict.MIXED)).broken(limits) == ["0 wrong and 1 mixed answers"]
    silent = cost(tmp_path, limits, event(11, Verdict.SILENT))
    assert silent.broken(limits) == ["1 popular lists without a warning"]
    assert silent.broken(replace(limits, silent_seconds=1)) == []


def test_a_row_with_failures_before_its_fault_says_nothing(tmp_path: Path) -> None:
    early = cost(tmp_path, Limits(share=1), event(5, Verdict.REFUSED))
    assert early.broken(Limits(share=1)) == ["1 failed before the fault: this machine is too busy for this rate"]


def test_an_answer_that_stays_degraded_is_never_back(tmp_path: Path) -> None:
    limits = Limits(without=frozenset({"redis"}), back_seconds=5)
    good = [event(sent, Verdict.RIGHT) for sent in (9, 13)]
    assert cost(tmp_path, limits, *good, event(14, Verdict.DEGRADED)).back_seconds is None


def _no_popular() -> dict[str, dict[str, Any]]:
    return {ASK.popular[0]: POPULAR}
