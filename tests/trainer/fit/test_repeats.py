"""The fit of repeat purchases: counts by hand, and parameters of purchases drawn from the model."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trainer.config.schema import Again
from trainer.data.events import Events
from trainer.fit.repeats import FittedRepeats, fit_repeats, moved_table
from twotower.events import DAY_MS, EventSchema
from twotower.repeats import RepeatTable

SCHEMA = EventSchema({"View": 1.0, "Purchase": 10.0})
SETTINGS = Again(horizon_days=30.0, min_returns=0.1)


def events(rows: list[tuple[int, int, float]], kind: str = "Purchase") -> Events:
    """Rows of (buyer, product, day)."""
    buyer, product, day = np.array(sorted(rows, key=lambda row: (row[0], row[2]))).T
    start = np.searchsorted(buyer, np.arange(buyer.max() + 2))
    code = np.full(len(buyer), SCHEMA.codes[kind], np.int8)
    times = np.round(day * DAY_MS).astype(np.int64)
    return Events(buyer.astype(np.int32), product.astype(np.int32), code, times, start)


def fitted(given: Events, categories: list[str]) -> FittedRepeats:
    found = fit_repeats(given, categories, SCHEMA, SETTINGS)
    assert found is not None
    return found


def test_the_figures_are_counts_shrunk_to_the_category_and_to_all() -> None:
    # product 0: 50 buyers at days 0, 10 (twice on that day) and 20; product 1: 50 buyers once, on day 0; the last event
    # is on day 20
    rows = [(buyer, 0, day) for buyer in range(50) for day in (0.0, 10.0, 10.5, 20.0)]
    rows += [(buyer, 1, 0.0) for buyer in range(50)]
    table = fitted(events(rows), ["عطور", "تمور", "تمور"]).table
    everything = table.categories[-1]
    assert everything.tolist() == pytest.approx([100, 0.5, 1.0, math.log(10), 0.01], rel=1e-5)
    # dates, the first category: product 1 alone has purchases, each watched for 20 days, as are all
    dates, perfume = table.categories[:2]
    assert dates[0] == 0
    assert dates[1] == pytest.approx((0 + 10 * 0.5) / (50 + 10))
    # 100 repeats in 2000 days of watching: of 1000 days 50 are expected
    assert dates[2] == pytest.approx((0 + 2) / (50 + 2))
    assert perfume[2] == pytest.approx((100 + 2) / (50 + 2))
    own = table.products[0]
    assert own[0] == 100
    assert own[1] == pytest.approx((50 + 10 * perfume[1]) / 60)
    assert own[2] == pytest.approx((100 + 2) / (50 + 2 / perfume[2]))
    # a product without purchases has the figures of its category
    assert table.products[2, 1:].tolist() == pytest.approx(dates[1:].tolist())
    assert table.products[2, 0] == 0


def drawn(k: int, seed: int = 3) -> Events:
    """Purchases at intervals of Erlang-k with a mean of 12 days, for 120 days; one in ten buyers gives up each time."""
    draw = np.random.default_rng(seed)
    rows = []
    for buyer in range(400):
        rate, day = draw.gamma(4.0, 1 / 48.0), draw.uniform(0, 10)
        while day < 120:
            rows.append((buyer, 0, float(day)))
            if draw.random() < 0.1:
                break
            day += draw.gamma(k, 1 / (k * rate)) + 0.5
    return events(rows)


@pytest.mark.parametrize("k", [1, 3])
def test_the_regularity_of_drawn_purchases_is_found(k: int) -> None:
    model = fitted(drawn(k), [""]).model
    assert model.regularity >= 2 if k == 3 else model.regularity == 1
    assert 0.05 < model.leave / (model.leave + model.stay) < 0.2
    assert (model.event, model.horizon_days) == ("Purchase", 30.0)
    # the mean interval of a buyer: k intervals of scale / shape each
    assert 8 < model.regularity * model.scale_days / model.shape < 20


def test_few_repeats_or_none_make_no_model() -> None:
    few = [(buyer, 0, day) for buyer in range(49) for day in (0.0, 10.0)]
    assert fit_repeats(events(few), [""], SCHEMA, SETTINGS) is None
    views = events([(buyer, 0, day) for buyer in range(90) for day in (0.0, 10.0)], "View")
    assert fit_repeats(views, [""], SCHEMA, SETTINGS) is None


def test_a_table_moves_to_another_catalogue() -> None:
    figures = np.arange(10, dtype=np.float32).reshape(2, 5) + 1
    names = np.array([[10] * 5, [20] * 5, [30] * 5], np.float32)
    # yesterday: عطور, تمور; today تمور, its product first, a new one beside it, and a new category
    moved = moved_table(RepeatTable(figures, names), ["تمور", "عطور"], np.array([1, -1, -1]), ["تمور", "تمور", "قهوة"])
    assert moved.products.tolist() == [[6, 7, 8, 9, 10], [0, 10, 10, 10, 10], [0, 30, 30, 30, 30]]
    assert moved.categories.tolist() == [[10] * 5, [30] * 5, [30] * 5]
