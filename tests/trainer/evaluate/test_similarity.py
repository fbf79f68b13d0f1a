"""Pairs inside and across categories: how they are drawn, and their separation against a slow count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.config.loading import load_config
from trainer.config.schema import TextPair
from trainer.evaluate.similarity import describe_unmet, draw_pairs, example_pairs, nearest, separation, text_pairs
from twotower.errors import SettingsError

DEMO = Path(__file__).resolve().parents[3] / "trainer/config/demo.yaml"


@given(st.lists(st.integers(0, 4), min_size=1, max_size=20), st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_pairs_are_of_one_category_or_of_two_and_never_unknown(codes: list[int], seed: int) -> None:
    category = np.array(codes)
    same, cross = draw_pairs(category, 50, seed)
    known = [code for code in codes if code]
    if len(set(known)) < 2 or len(set(known)) == len(known):
        assert len(same) == len(cross) == 0
        return
    assert same.shape == cross.shape == (50, 2)
    assert (category[same[:, 0]] == category[same[:, 1]]).all() and (same[:, 0] != same[:, 1]).all()
    assert (category[cross[:, 0]] != category[cross[:, 1]]).all()
    assert (category[same] > 0).all() and (category[cross] > 0).all()


def test_every_pair_of_a_category_can_be_drawn() -> None:
    same, cross = draw_pairs(np.array([1, 2, 1, 2, 1]), 2000, 7)
    assert {tuple(sorted(pair)) for pair in same.tolist()} == {(0, 2), (0, 4), (2, 4), (1, 3)}
    assert {tuple(sorted(pair)) for pair in cross.tolist()} == {(0, 1), (0, 3), (1, 2), (2, 3), (1, 4), (3, 4)}


def test_separation_equals_a_slow_count() -> None:
    draw = np.random.default_rng(0)
    category = draw.integers(1, 4, size=40)
    vectors = draw.normal(size=(40, 6)) + 2 * np.eye(6)[category]
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    found = separation(vectors, category, 7, pairs=200)
    same, cross = draw_pairs(category, 200, 7)
    inside = [float(vectors[a] @ vectors[b]) for a, b in same]
    across = [float(vectors[a] @ vectors[b]) for a, b in cross]
    wins = np.mean([(one > two) + 0.5 * (one == two) for one in inside for two in across])
    assert found["same_category_mean"] == pytest.approx(np.mean(inside), abs=1e-6)
    assert found["cross_category_mean"] == pytest.approx(np.mean(across), abs=1e-6)
    assert found["auc"] == pytest.approx(wins, abs=1e-3)
    assert found["pairs"] == 200


def test_one_category_has_no_separation() -> None:
    found = separation(np.eye(3, dtype=np.float32), np.array([1, 1, 0]), 7)
    assert found == {"same_category_mean": None, "cross_category_mean": None, "auc": None, "pairs": 0}


def test_pairs_of_titles_hold_or_are_named_with_both_numbers() -> None:
    asked: list[str] = []

    def encode(titles: list[str]) -> Any:
        asked.extend(titles)
        return np.array([{"a": (1, 0), "b": (0.8, 0.6), "c": (0, 1)}[title] for title in titles], np.float32)

    pairs = [
        TextPair(one="a", two="b", above=0.7),
        TextPair(one="a", two="c", below=0.3),
        TextPair(one="b", two="c", above=0.7),
        TextPair(one="b", two="c", above=0.2, below=0.5),
        TextPair(one="a", two="b"),
    ]
    found = text_pairs(pairs, encode)
    assert asked == ["a", "b", "c"]
    assert [pair["cosine"] for pair in found] == pytest.approx([0.8, 0, 0.6, 0.6, 0.8])
    assert [pair["holds"] for pair in found] == [True, True, False, False, True]
    assert describe_unmet(found) == [
        "'b' and 'c' have a cosine of 0.60, wanted above 0.7",
        "'b' and 'c' have a cosine of 0.60, wanted above 0.2 and below 0.5",
    ]
    assert text_pairs([], encode) == []


def test_pairs_of_titles_are_read_from_the_configuration() -> None:
    setting = "evaluation.text_pairs=[{one: خاتم ذهب, two: سلسال ذهب, above: 0.7}]"
    assert load_config([], [setting]).evaluation.text_pairs == [TextPair(one="خاتم ذهب", two="سلسال ذهب", above=0.7)]
    assert load_config([DEMO]).evaluation.text_pairs
    with pytest.raises(SettingsError, match=r"text_pairs.*over"):
        load_config([], ["evaluation.text_pairs=[{one: a, two: b, over: 0.7}]"])


def test_nearest_products_and_example_pairs() -> None:
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1], [-1, 0]], np.float32)
    first, second = nearest(vectors, np.array([0, 2]), 2)
    assert [(one.one, one.two, round(one.cosine, 6)) for one in first] == [(0, 1, 0.8), (0, 2, 0.0)]
    assert [(one.two, round(one.cosine, 6)) for one in second] == [(1, 0.6), (0, 0.0)]
    same, cross = example_pairs(vectors, np.array([1, 1, 2, 0]), 5, 7)
    assert {(frozenset((one.one, one.two)), round(one.cosine, 6)) for one in same} == {(frozenset((0, 1)), 0.8)}
    assert all(2 in (one.one, one.two) and 3 not in (one.one, one.two) for one in cross)
    assert len(same) == len(cross) == 5
    assert example_pairs(vectors, np.zeros(4, np.int64), 5, 7) == ([], [])
