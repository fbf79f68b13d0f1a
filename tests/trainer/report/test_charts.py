"""The report's charts: accessible, in the page's colours, and a map that keeps similar products together."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.helpers.html_page import Page
from tests.helpers.small_shop import current, small_run
from trainer.report import charts


@pytest.fixture(scope="module")
def text() -> str:
    return current(small_run()[1]).layout.report.read_text(encoding="utf-8")


def test_charts_have_a_name_a_description_and_only_colours_of_the_page(text: str) -> None:
    page = Page(text)
    drawings = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert len(drawings) == 4 and all(one["role"] == "img" for one in drawings)
    for name in ("curves", "intervals", "coverage", "map"):
        assert {f"{name}-title", f"{name}-description"} <= {attributes.get("id") for _, attributes in page.elements}
    styles = [attributes.get("style") or "" for _, attributes in page.elements]
    assert not any("#0000" in style for style in styles)
    used = set(re.findall(r"var\(--([\w-]+)\)", " ".join(styles)))
    assert {"model", "item-knn", "group-0", "muted"} <= used
    for name in used:  # in the light scheme and in the dark one
        assert len(re.findall(rf"--{name}:", text)) == 2, name


def test_the_map_keeps_similar_products_together_and_is_the_same_each_time() -> None:
    draw = np.random.default_rng(0)
    centres = np.eye(3, 16, dtype=np.float32)
    vectors = np.repeat(centres, 20, axis=0) + draw.normal(0, 0.05, (60, 16)).astype(np.float32)
    points = charts.project(vectors, 7)
    np.testing.assert_array_equal(points, charts.project(vectors, 7))
    groups = points.reshape(3, 20, 2)
    spread = np.linalg.norm(groups - groups.mean(axis=1, keepdims=True), axis=2).max()
    middles = groups.mean(axis=1)
    assert min(np.linalg.norm(middles[i] - middles[j]) for i, j in ((0, 1), (0, 2), (1, 2))) > spread
    assert charts.item_map(vectors[:9], np.zeros(9, np.int64), ["x"] * 9, 7) == ""
    assert charts.item_map(np.ones_like(vectors), np.zeros(60, np.int64), ["x"] * 60, 7) == ""


def test_each_point_of_the_map_has_its_own_title() -> None:
    vectors = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
    group = np.array([0, -1, 1] * 4)
    drawn = Page(str(charts.item_map(vectors, group, [f"ت{row}" for row in range(12)], 7)))
    tooltips = [text for tag, text in drawn.texts if tag == "title"][1:]  # the first is the figure's own
    assert tooltips == [f"ت{row}" for row in [*range(1, 12, 3), *range(0, 12, 3), *range(2, 12, 3)]]
