"""What the simulation says of several seeds, and the products that come on a day."""

from __future__ import annotations

import pytest

from benchmarks.simulate.__main__ import over_seeds
from benchmarks.simulate.world import World


def test_the_interval_over_seeds_is_students() -> None:
    ratios = [1.0, 1.2, 1.4]
    rows = [
        {"seed": seed, "closed_by_frozen": one, "closed_by_popular": 9.0, "new_by_deserved": 0.5}
        for seed, one in enumerate(ratios)
    ]
    found = over_seeds(rows)
    assert found["seeds"] == [0, 1, 2]
    # 4.303 x 0.2 / sqrt(3)
    low, high = found["closed_by_frozen"]["interval"]
    assert found["closed_by_frozen"]["mean"] == pytest.approx(1.2)
    assert (low, high) == pytest.approx((0.703, 1.697))
    assert found["closed_by_popular"] == {"mean": 9.0, "interval": [9.0, 9.0]}


def test_every_late_product_arrives_once() -> None:
    world = World.build(products=60, buyers=5, days=30, seed=7)
    days = [world.arriving(day) for day in range(1, 31)]
    arrived = [ident for day in days for ident in day]
    assert sorted(arrived) == sorted(ident for ident, day in zip(world.ids, world.arrival, strict=True) if day > 0)
    first = next(day for day in days if day)
    assert all(one["title"] and one["in_stock"] is True and one["price"] > 0 for one in first.values())
