"""Verdicts on simulated experiments that are looked at every day, a small copy of `make bench-online`."""

from __future__ import annotations

from benchmarks.online import KNN_NDCG, MODEL_NDCG, Shop, first_calls

SHOP = Shop(buyers=800)


def test_an_experiment_of_two_equal_arms_raises_few_false_alarms() -> None:
    calls, naive = first_calls(SHOP, 1.0, 200, 20_000, seed=11)
    assert 1 - calls.share(0) <= 0.05
    # the same runs tempt whoever looks at an ordinary interval every day
    assert 1 - naive.share(0) > 0.1


def test_the_lift_of_item_knn_is_called_correctly() -> None:
    calls, _ = first_calls(SHOP, KNN_NDCG / MODEL_NDCG, 60, 20_000, seed=12)
    assert calls.share(-1) >= 0.9
    assert calls.share(1) == 0
