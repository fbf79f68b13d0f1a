"""Markets made hard on purpose: the published model is never clearly worse than the best simple baseline."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.small_shop import (
    DAY,
    EVENT_COLUMNS,
    NOON,
    PRODUCT_COLUMNS,
    Shop,
    current,
    product_rows,
    run_arguments,
    write_csv,
)
from trainer.__main__ import main

PRODUCTS, BUYERS, LENGTH = 60, 150, 8
Rows = list[list[str]]


def event(buyer: str, product: int, number: int) -> list[str]:
    return [buyer, f"p{product}", "Purchase", str(NOON - 60 * DAY + number * 5000)]


def walk(draw: random.Random, length: int = LENGTH) -> Iterator[int]:
    """Products in a row: most often the next one of the catalogue follows."""
    product = draw.randrange(PRODUCTS)
    for _ in range(length):
        yield product
        product = (product + 1) % PRODUCTS if draw.random() < 0.7 else draw.randrange(PRODUCTS)


def walks(draw: random.Random, buyers: int = BUYERS, length: int = LENGTH) -> Rows:
    histories = [(f"b{buyer}", list(walk(draw, length))) for buyer in range(buyers)]
    return [event(buyer, one, number) for buyer, history in histories for number, one in enumerate(history)]


def uniform(draw: random.Random) -> tuple[Rows, Rows]:
    """Every buyer takes any product: there is nothing to learn."""
    events = [event(f"b{one}", draw.randrange(PRODUCTS), step) for one in range(BUYERS) for step in range(LENGTH)]
    return product_rows(PRODUCTS), events


def ten_buyers(draw: random.Random) -> tuple[Rows, Rows]:
    return product_rows(PRODUCTS), walks(draw, buyers=10, length=30)


def cold_targets(draw: random.Random) -> tuple[Rows, Rows]:
    """The last two events of every buyer are of products that nobody took before."""
    half, events = PRODUCTS // 2, []
    for buyer in range(BUYERS):
        warm = [draw.randrange(half) for _ in range(LENGTH - 2)]
        cold = draw.sample(range(half, PRODUCTS), 2)
        events += [event(f"b{buyer}", one, number) for number, one in enumerate([*warm, *cold])]
    return product_rows(PRODUCTS), events


def one_title(draw: random.Random) -> tuple[Rows, Rows]:
    """All products have the same words, brand and category."""
    rows = [[f"p{number}", "خاتم ذهب", "", "{}"] for number in range(PRODUCTS)]
    return rows, walks(draw)


def a_bot(draw: random.Random) -> tuple[Rows, Rows]:
    """One buyer has half of all events, and always takes the same two products in turn."""
    events = walks(draw)
    return product_rows(PRODUCTS), events + [event("bot", number % 2 * 7, number) for number in range(len(events))]


def only_popular(draw: random.Random) -> tuple[Rows, Rows]:
    """Buyers differ in nothing: each draws from the same skewed popularity."""
    shares = [1 / (1 + rank) for rank in range(PRODUCTS)]
    taken = [draw.choices(range(PRODUCTS), shares, k=LENGTH) for _ in range(BUYERS)]
    return product_rows(PRODUCTS), [
        event(f"b{buyer}", one, number) for buyer, history in enumerate(taken) for number, one in enumerate(history)
    ]


@pytest.mark.parametrize("market", [uniform, ten_buyers, cold_targets, one_title, a_bot, only_popular])
def test_the_model_is_not_clearly_worse_than_any_baseline(
    market: Callable[[random.Random], tuple[Rows, Rows]], tmp_path: Path
) -> None:
    products, events = market(random.Random(5))
    shop = Shop(
        write_csv(tmp_path / "events.csv", EVENT_COLUMNS, events),
        write_csv(tmp_path / "products.csv", PRODUCT_COLUMNS, products),
    )
    settings = ["evaluation.split=leave_last_out", "evaluation.resamples=200", "training.refit=false"]
    assert main(run_arguments(shop, tmp_path / "artifacts", settings=settings)) == 0
    measured: dict[str, Any] = json.loads(current(tmp_path / "artifacts").layout.metrics.read_text(encoding="utf-8"))
    assert measured["test"]["model"]["cases"] >= 5
    for name, differences in measured["differences"].items():
        assert differences["ndcg@10"]["high"] >= 0, (name, measured["test"])


def test_nothing_but_popularity_is_published_as_popularity(tmp_path: Path) -> None:
    products, events = only_popular(random.Random(6))
    shop = Shop(
        write_csv(tmp_path / "events.csv", EVENT_COLUMNS, events),
        write_csv(tmp_path / "products.csv", PRODUCT_COLUMNS, products),
    )
    assert main(run_arguments(shop, tmp_path / "artifacts", settings=["training.refit=false"])) == 0
    version = current(tmp_path / "artifacts")
    training = json.loads(version.layout.metrics.read_text(encoding="utf-8"))["training"]
    assert training["kind"] in ("popularity", "recent_popularity")
    assert version.manifest.fusion.vector_weight == 0 < version.manifest.fusion.prior_weight
    assert any("popularity" in note for note in version.manifest.notes)
