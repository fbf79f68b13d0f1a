"""Groups, pairs and their lift, on shops small enough to count by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.baskets import MINUTE, PURCHASE, VIEW, baskets, events, settings
from trainer.fit.together.carts import upper_gram
from trainer.fit.together.groups import read_shopping
from trainer.fit.together.pairs import log_likelihood_ratio, significant_pairs


def test_a_basket_is_what_one_buyer_bought_at_one_time() -> None:
    log = events(
        (0, 0, PURCHASE, 0), (0, 1, PURCHASE, 0), (0, 2, PURCHASE, 1), (1, 0, PURCHASE, 0), (1, 0, PURCHASE, 0.5)
    )
    found = read_shopping(log, 3, PURCHASE, settings()).baskets
    assert sorted(found.members.toarray().tolist()) == [[0, 0, 1], [1, 0, 0], [1, 0, 0], [1, 1, 0]]
    together = read_shopping(log, 3, PURCHASE, settings(basket_minutes=1)).baskets
    # a product counts once
    assert sorted(together.members.toarray().tolist()) == [[1, 0, 0], [1, 1, 1]]
    assert together.end.tolist() == [0.5 * MINUTE, MINUTE]


def test_a_session_ends_after_half_an_hour_and_holds_no_purchase() -> None:
    log = events((0, 0, VIEW, 0), (0, 1, VIEW, 30), (0, 2, VIEW, 60.1), (0, 3, PURCHASE, 61))
    found = read_shopping(log, 4, PURCHASE, settings())
    assert found.sessions.members.toarray().tolist() == [[1, 1, 0, 0], [0, 0, 1, 0]]
    assert found.sessions.end.tolist() == [30 * MINUTE, 60.1 * MINUTE]
    assert found.baskets.members.toarray().tolist() == [[0, 0, 0, 1]]
    assert found.until(40 * MINUTE).sessions.members.shape == (1, 4)


def test_large_baskets_are_left_out() -> None:
    found = baskets([0, 1, 2], [0, 1], wanted=settings(largest=2))
    assert found.baskets.sizes.tolist() == [2]


def test_lift_is_observed_over_expected() -> None:
    # pairs, both orders: 01 four times, 23 twice, 02 twice; margins 0: 3, 1: 2, 2: 2, 3: 1 of 8
    shop = baskets([0, 1], [0, 1], [2, 3], [0, 2], wanted=settings())
    pairs = significant_pairs(shop, settings())
    found = dict(zip(zip(pairs.row.tolist(), pairs.column.tolist(), strict=True), pairs.lift(0.0), strict=True))
    assert found == pytest.approx(
        {
            (0, 1): 2 / (3 * 2 / 8),
            (1, 0): 2 / (2 * 3 / 8),
            (0, 2): 1 / (3 * 2 / 8),
            (2, 0): 1 / (2 * 3 / 8),
            (2, 3): 1 / (2 * 1 / 8),
            (3, 2): 1 / (1 * 2 / 8),
        }
    )
    # one average pair weighs 1
    assert pairs.lift(1.0)[0] == pytest.approx((2 + 1) / (0.75 + 1))


def test_a_pair_of_a_large_basket_weighs_less() -> None:
    wanted = settings(size_power=1.0)
    pairs = significant_pairs(baskets([0, 1], [0, 1, 2], [3], wanted=wanted), wanted)
    weight = dict(zip(zip(pairs.row.tolist(), pairs.column.tolist(), strict=True), pairs.observed, strict=True))
    # (1, 2) and (0, 2): 0.5 each; margins 2, 2, 1 of 5: 0.4 is expected
    assert weight == pytest.approx({(0, 1): 1.5, (1, 0): 1.5, (0, 2): 0.5, (2, 0): 0.5, (1, 2): 0.5, (2, 1): 0.5})


def test_sessions_count_less_than_baskets() -> None:
    rows = [
        (0, 0, PURCHASE, 0),
        (0, 1, PURCHASE, 0),
        (1, 0, VIEW, 0),
        (1, 1, VIEW, 1),
        (2, 2, VIEW, 0),
        (2, 3, VIEW, 1),
    ]
    pairs = significant_pairs(read_shopping(events(*rows), 4, PURCHASE, settings()), settings())
    assert pairs.row.tolist() == [0, 1, 2, 3]
    assert pairs.observed.tolist() == [1.5, 1.5, 0.5, 0.5]
    # baskets: 1 x 1 of 2; sessions: 1 x 1 of 4, at half the weight
    assert pairs.expected.tolist() == pytest.approx([0.625, 0.625, 0.125, 0.125])


def test_pairs_counted_one_product_at_a_time_are_those_of_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(3)
    rows = [
        (int(draw.integers(40)), int(draw.integers(12)), int(draw.choice([VIEW, PURCHASE])), 0.0) for _ in range(400)
    ]
    wanted = settings(size_power=0.5, min_groups=2, min_ratio=0.1)
    shop = read_shopping(events(*rows), 12, PURCHASE, wanted)
    whole, gram = significant_pairs(shop, wanted), upper_gram(shop, wanted)
    monkeypatch.setattr("trainer.fit.together.pairs._BLOCK_PAIRS", 1)
    monkeypatch.setattr("trainer.fit.together.carts._ROWS", 5)
    parts = significant_pairs(shop, wanted)
    assert 20 < len(whole.row) < 132
    for one, other in zip(whole, parts, strict=True):
        np.testing.assert_array_equal(one, other)
    assert (upper_gram(shop, wanted) != gram).nnz == 0
    # by hand: the groups that hold both products, each weighing 1 / the root of its other products
    weight = 0.0
    for groups, share in ((shop.baskets, 1.0), (shop.sessions, 0.5)):
        dense = groups.members.toarray()
        both = dense[:, 0] * dense[:, 1] > 0
        weight += share * float((np.maximum(dense.sum(axis=1) - 1, 1) ** -0.5)[both].sum())
    assert gram[0, 1] == pytest.approx(weight)


def test_log_likelihood_ratio_is_dunnings() -> None:
    # of 100 groups, 10 hold a, 20 hold b, 8 both: 2 x sum of n ln(n / expected), expected 2, 8, 18, 72
    wanted = 2 * (8 * np.log(8 / 2) + 2 * np.log(2 / 8) + 12 * np.log(12 / 18) + 78 * np.log(78 / 72))
    assert log_likelihood_ratio(8, 10, 20, 100) == pytest.approx(wanted)
    assert log_likelihood_ratio(2, 10, 20, 100) == pytest.approx(0.0, abs=1e-9)
    assert log_likelihood_ratio(0, 10, 0, 100) == pytest.approx(0.0, abs=1e-9)


def test_a_pair_by_chance_is_left_out() -> None:
    # 0 and 1 are together in 3 of 12 baskets, and never apart; 2 and 3 once
    shop = [[0, 1]] * 3 + [[2, 3]] + [[2]] * 4 + [[3]] * 4
    ratio = log_likelihood_ratio(3, 3, 3, 12)
    assert ratio == pytest.approx(2 * (3 * np.log(4) + 9 * np.log(12 / 9)))
    for wanted, expected in (
        (settings(min_groups=2), [0, 1]),
        (settings(min_groups=4), []),
        (settings(), [0, 1, 2, 3]),
    ):
        pairs = significant_pairs(baskets(*shop, wanted=wanted), wanted)
        assert pairs.row.tolist() == expected
    for bound, count in ((13.4, 2), (13.6, 0)):
        wanted = settings(min_ratio=bound)
        assert len(significant_pairs(baskets(*shop, wanted=wanted), wanted).row) == count
