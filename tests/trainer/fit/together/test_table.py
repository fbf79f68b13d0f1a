"""Substitutes, weights of carts, complements by category, the whole table and the choice of its strength."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from tests.helpers.baskets import MINUTE, PURCHASE, VIEW, baskets, events, settings
from tests.helpers.vectors import unit
from trainer.fit.together.carts import cart_weights, upper_gram
from trainer.fit.together.choice import choose_strength, found, hold_out
from trainer.fit.together.groups import read_shopping
from trainer.fit.together.substitutes import Substitutes, otsu
from trainer.fit.together.table import Strength, TableFitter
from twotower.arrays import Float32

DAY = 24 * 60


def texts(*angles: float) -> Float32:
    """Unit vectors at angles of the circle, in degrees."""
    radians = np.radians(angles)
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def none(products: int) -> Substitutes:
    return Substitutes.learn(np.zeros((products, 2), np.float32), [""] * products, "auto", 7)


def test_otsu_cuts_where_two_classes_are_furthest_apart() -> None:
    # after 0.2 the variance between is 0.5 x 0.5 x 0.6^2; after 0.1, 0.25 x 0.75 x (0.567 - 0.1)^2 is less
    assert otsu(np.array([0.8, 0.1, 0.7, 0.2])) == pytest.approx(0.7)
    # an isolated value is a class of its own
    assert otsu(np.array([0.0, 0.1, 0.1, 0.1, 0.1, 0.9])) == pytest.approx(0.9)
    assert otsu(np.array([0.3, 0.3])) == np.inf
    assert otsu(np.empty(0)) == np.inf


def test_the_nearest_of_a_large_category_are_those_of_all_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    # 300 kinds of ten products: the nearest ten of a product are its kind
    kinds = unit(300, 32, 3)
    vectors = np.repeat(kinds, 10, axis=0) + 0.02 * unit(3000, 32, 4)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    exact = Substitutes.learn(vectors, ["rings"] * 3000, 0.9, 7)
    monkeypatch.setattr("trainer.fit.together.substitutes._EXACT_BELOW", 3000)
    listed = Substitutes.learn(vectors, ["rings"] * 3000, 0.9, 7)
    assert (np.einsum("pe,pe->p", exact.vectors, listed.vectors) > 0.9999).mean() > 0.99
    means = np.repeat(vectors.reshape(300, 10, 32).mean(axis=1), 10, axis=0)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(exact.vectors, means, atol=1e-5)


def test_substitutes_are_near_and_of_one_category() -> None:
    found = Substitutes.learn(texts(0, 5, 90, 0), ["rings", "rings", "rings", "oil"], 0.9, 7)
    # three rings are all neighbours of one another, so their mean texts are one
    assert found.are_substitutes(np.array([0, 0, 0]), np.array([1, 2, 3])).tolist() == [True, True, False]
    nameless = Substitutes.learn(texts(0, 0), ["", ""], 0.9, 7)
    assert not nameless.are_substitutes(np.array([0]), np.array([1])).any()


def test_the_cut_is_learned_from_cosines_within_categories() -> None:
    # eleven rings near 0 degrees, eleven chains near 90: cosines are near 1 or near 0
    angles = [float(one) for one in range(11)] + [90.0 + one for one in range(11)]
    learned = Substitutes.learn(texts(*angles), ["jewels"] * 22, "auto", 7)
    assert 0.2 < learned.cut < 1
    rows = np.arange(22)
    assert learned.are_substitutes(np.zeros(22, np.int64), rows).tolist() == [True] * 11 + [False] * 11
    assert learned.are_substitutes(np.full(22, 21), rows).tolist() == [False] * 11 + [True] * 11


def test_the_weights_of_a_cart_are_a_ridge_regression() -> None:
    wanted = settings()
    shop = baskets([0, 1, 2], [0, 1, 2], [0, 2], [1], [3], wanted=wanted)
    gram = upper_gram(shop, wanted)
    assert gram.toarray().tolist() == [[3, 2, 3, 0], [0, 3, 2, 0], [0, 0, 3, 0], [0, 0, 0, 1]]
    # 2 is a complement of 0 and of 1; 1 is one of 0
    lists = sparse.csr_matrix(np.array([[0, 2, 2, 0], [0, 0, 2, 0], [0, 0, 0, 0], [0, 0, 0, 0]], float))
    (weights,) = cart_weights(lists, gram, [1.0])
    # (4 2; 2 4) x = (3; 2): x = (8; 2) / 12; and 4 x = 2
    assert weights.toarray()[0, 2] == pytest.approx(8 / 12)
    assert weights.toarray()[1, 2] == pytest.approx(2 / 12)
    assert weights.toarray()[0, 1] == pytest.approx(0.5)


def test_sessions_weigh_less_in_the_regression() -> None:
    log = events((0, 0, PURCHASE, 0), (0, 1, PURCHASE, 0), (1, 0, VIEW, 0), (1, 1, VIEW, 1))
    wanted = settings(session_weight=0.25)
    assert upper_gram(read_shopping(log, 2, PURCHASE, wanted), wanted).toarray().tolist() == [[1.25, 1.25], [0, 1.25]]


def test_the_table_has_known_pairs_first_then_those_of_the_category() -> None:
    # rings 0, 1, 2 and chains 3, 4, 5: 0 goes with 3, 1 with 3, and 2, which nobody bought, is cold
    names = ["ring"] * 3 + ["chain"] * 3
    substitutes = Substitutes.learn(np.zeros((6, 2), np.float32), names, "auto", 7)
    wanted = settings(min_groups=2, category_keep=2)
    shop = baskets(*[[0, 3]] * 4, *[[1, 3]] * 2, [1, 4], products=6, wanted=wanted)
    fitter = TableFitter(shop, substitutes, wanted)
    table = fitter.fit(Strength(1.0, 1.0))
    table.check(6)
    # margins: 0: 4, 1: 3, 3: 6, 4: 1 of 14; lift of 0 and 3: (4 + 1) / (4 x 6 / 14 + 1)
    first = table.complete([0])
    assert first.rows.tolist() == [3, 4]
    assert first.scores[0] == pytest.approx(5 / (24 / 14 + 1))
    assert first.is_known.tolist() == [True, False]
    # the cold ring has the chains by popularity, as rings go with chains: 6 baskets and 1
    cold = table.complete([2])
    assert cold.rows.tolist() == [3, 4]
    assert cold.scores.tolist() == pytest.approx([1.0, 1 / 6])
    assert not cold.is_known.any()
    assert table.known.tolist() == [1, 1, 0, 2, 0, 0]


def test_substitutes_are_no_complements() -> None:
    wanted = settings(category_keep=0)
    shop = baskets([0, 1], [0, 2], [0, 1], [3], wanted=wanted)
    substitutes = Substitutes.learn(texts(0, 0, 0, 0), ["rings", "rings", "boxes", "oil"], 0.9, 7)
    fitter = TableFitter(shop, substitutes, wanted)
    table = fitter.fit(Strength(1.0, 1.0))
    assert (fitter.pairs, fitter.removed) == (4, 2)
    assert table.complete([0]).rows.tolist() == [2]
    assert table.complete([1]).rows.tolist() == []


def test_a_product_of_the_basket_is_held_out() -> None:
    shop = baskets([0, 1, 2], [3], [1, 3], wanted=settings())
    held = hold_out(shop.baskets, 10, 7)
    whole = held.rest.toarray()
    assert sorted(whole.sum(axis=1).tolist()) == [1, 2]
    assert (whole[np.arange(2), held.target] == 0).all()
    whole[np.arange(2), held.target] = 1
    assert sorted(whole.tolist()) == [[0, 1, 0, 1], [1, 1, 1, 0]]
    one = held.one.toarray()
    assert (one.sum(axis=1) == 1).all()
    assert (one <= held.rest.toarray()).all()
    assert len(hold_out(shop.baskets, 1, 7).target) == 1
    assert len(hold_out(shop.baskets.take(shop.baskets.sizes < 2), 10, 7).target) == 0


def test_what_is_found_among_the_first() -> None:
    table = sparse.csr_matrix(np.array([[0, 9, 3, 3], [0, 0, 5, 0], [0, 0, 0, 0], [0, 0, 0, 0]], float))
    cart = sparse.csr_matrix(np.array([[1, 0, 0, 0]] * 3 + [[1, 1, 0, 0]] * 2, float))
    target = np.array([1, 2, 0, 2, 3])
    # alone: 1 is first; 2 and 3 share the second place; 0 is in the cart, with 1: 2 has 8, 3 has 3
    assert found(cart, table, target, 1).tolist() == [1, 0, 0, 1, 0]
    assert found(cart, table, target, 2).tolist() == [1, 0.5, 0, 1, 1]


def test_validation_needs_enough_baskets() -> None:
    wanted = settings(shrinkages=[5.0, 1.0], ridges=[2.0, 1.0], min_validation=10)
    choice = choose_strength(baskets([0, 1], wanted=wanted), none(4), wanted, 7)
    assert choice.strength == Strength(5.0, 2.0)
    assert choice.facts == {"validation_baskets": 1}


def test_the_newest_baskets_choose_the_shrinkage() -> None:
    # With 0 came 2 ten times, which all buy, and 1 twice, which nobody else does. Lift puts 1 first, a lift that is
    # drawn towards 1 by 1,000 pairs puts 2 first; the newest baskets hold 2.
    old = [[0, 2]] * 10 + [[0, 1]] * 2 + [[3, 2]] * 10 + [[3, 4]] * 8 + [[5, 6]] * 30
    rows = [(buyer, product, PURCHASE, 0.0) for buyer, content in enumerate(old) for product in content]
    new = [(len(old) + buyer, product, PURCHASE, 40 * DAY) for buyer in range(20) for product in (0, 2)]
    wanted = settings(shrinkages=[0.001, 1000.0], ridges=[1.0], min_validation=20, keep=1)
    shop = read_shopping(events(*rows, *new), 7, PURCHASE, wanted)
    choice = choose_strength(shop, none(7), wanted, 7)
    assert choice.facts["validation_baskets"] == 20
    assert choice.strength == Strength(1000.0, 1.0)
    before = TableFitter(shop.until(DAY * MINUTE), none(7), wanted)
    firsts = {one: before.fit(Strength(one, 1.0)).complete([0]).rows.tolist() for one in wanted.shrinkages}
    assert firsts == {0.001: [1], 1000.0: [2]}
