"""The terms of a score: tables and priors by hand, and a search that adds only what gains."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.trainer.fit.test_selection import DATA, EVENTS, PRODUCTS, SPLIT, fitter
from trainer.data.split import Cases
from trainer.evaluate.ranking import fused_scorer
from trainer.fit.terms import TermFitter, TermSearch
from trainer.fit.validation import CaseValues, gains
from trainer.model.terms import NO_TERMS, TermChoice, Terms, expect_of_new
from twotower.artifact.manifest import Fusion

CONFIG = fitter("neighbours.weights=[0.1, 1.0]", "neighbours.history_decays=[0.5, 0.2]", "prior.weights=[0.1]").config


def terms_fitter() -> TermFitter:
    return TermFitter(CONFIG, DATA, PRODUCTS)


def test_a_table_is_scaled_so_that_the_median_history_has_a_best_neighbour_of_one() -> None:
    choice = TermChoice(table="transitions", table_weight=1.0, decay=0.5)
    terms = terms_fitter().fit(choice)
    start, stop = EVENTS.start[:-1], SPLIT.train_stop
    ends = Cases(np.arange(len(stop)), start, stop, stop)
    scores = fused_scorer(lambda cases: np.zeros((len(cases), PRODUCTS), np.float32), terms, EVENTS, PRODUCTS)(ends)
    assert np.median(scores.max(axis=1)) == pytest.approx(1.0, rel=1e-5)


def test_a_prior_is_the_root_of_the_popularity_as_a_share_of_the_highest() -> None:
    prior = terms_fitter().fit(TermChoice(prior="popularity", prior_weight=0.1)).prior
    taken = np.zeros((len(SPLIT.train_stop), PRODUCTS))
    for buyer, stop in enumerate(SPLIT.train_stop):
        taken[buyer, EVENTS.product[EVENTS.start[buyer] : stop]] = 1
    counts = taken.sum(axis=0)
    assert prior is not None
    np.testing.assert_allclose(prior, np.sqrt(counts / counts.max()), rtol=1e-6)


def test_a_product_without_events_has_the_mean_prior_beside_vectors_and_none_without() -> None:
    prior = np.array([0.0, 1.0, 0.2, 0.0], np.float32)
    np.testing.assert_allclose(expect_of_new(prior), [0.6, 1.0, 0.2, 0.6], rtol=1e-6)
    assert expect_of_new(np.zeros(2, np.float32)).tolist() == [0, 0]
    beside, alone = (Terms(Fusion(vector_weight=weight, prior_weight=0.1), None, prior) for weight in (1.0, 0.0))
    # of today's products the second is new, and the third was there before
    known = np.array([1, -1, 2])
    moved = beside.moved(known).prior, alone.moved(known).prior
    np.testing.assert_allclose(moved, [[1.0, 0.6, 0.2], [1.0, 0.0, 0.2]], rtol=1e-6)


def test_a_score_is_the_weighted_sum_of_vectors_neighbours_and_prior() -> None:
    terms = terms_fitter().fit(
        TermChoice(
            vector_weight=0.5, table="item_knn", table_weight=0.3, decay=0.5, prior="popularity", prior_weight=0.2
        )
    )
    cases, draw = SPLIT.test, np.random.default_rng(1)
    cosines = draw.normal(size=(len(cases), PRODUCTS)).astype(np.float32)
    scores = fused_scorer(lambda _: cosines, terms, EVENTS, PRODUCTS)(cases)
    assert terms.neighbours is not None and terms.prior is not None
    table = terms.neighbours.toarray()
    for row in (0, 17):
        history = EVENTS.product[cases.start[row] : cases.cut[row]][::-1][: terms.fusion.steps]
        neighbours = sum(0.5**back * table[product] for back, product in enumerate(history))
        wanted = 0.5 * cosines[row] + 0.3 * neighbours + 0.2 * terms.prior
        np.testing.assert_allclose(scores[row], wanted, rtol=1e-5, atol=1e-6)


def test_no_terms_leave_the_cosines_as_they_are() -> None:
    cosines = np.ones((len(SPLIT.test), PRODUCTS), np.float32)
    np.testing.assert_array_equal(fused_scorer(lambda _: cosines, NO_TERMS, EVENTS, PRODUCTS)(SPLIT.test), cosines)
    assert Terms(Fusion()) == NO_TERMS


def measure(
    gain: Callable[[TermChoice], float], recall: Callable[[TermChoice], float] = lambda _: 0.0
) -> Callable[[TermChoice], CaseValues]:
    """Values of a hundred cases: those without terms, plus the gain of the choice, .01 more or less by turns."""
    base = np.random.default_rng(2).random(100)
    by_turns = 0.01 * (-1.0) ** np.arange(100)

    def values(choice: TermChoice) -> CaseValues:
        return CaseValues(*(base + gained(choice) + (by_turns if gained(choice) else 0.0) for gained in (gain, recall)))

    return values


def search(gain: Callable[[TermChoice], float]) -> TermChoice:
    return TermSearch(terms_fitter(), CONFIG, measure(gain)).beside_vectors().choice


def test_a_term_is_added_only_if_it_gains_more_than_a_standard_error() -> None:
    # the error of the mean of a hundred differences of .01 is .001
    assert search(lambda choice: 0.0001 * bool(choice.table or choice.prior)) == TermChoice()
    found = search(lambda choice: 0.01 * (choice.table == "item_knn") + 0.005 * (choice.table_weight == 1.0))
    assert (found.table, found.table_weight, found.prior) == ("item_knn", 1.0, "")
    found = search(lambda choice: 0.01 * (choice.prior == "recent_popularity"))
    assert (found.table, found.prior, found.prior_weight) == ("", "recent_popularity", 0.1)


def test_vectors_that_hold_a_trend_get_no_prior() -> None:
    gain = measure(lambda choice: 0.01 * bool(choice.prior) + 0.01 * (choice.table == "item_knn"))
    chosen = TermSearch(terms_fitter(), CONFIG, gain).beside_vectors(has_trend=True).choice
    assert (chosen.table, chosen.prior) == ("item_knn", "")


def test_a_term_that_costs_recall_at_100_is_not_added() -> None:
    costly = measure(lambda choice: 0.01 * bool(choice.table), lambda choice: -0.005 * bool(choice.table))
    assert TermSearch(terms_fitter(), CONFIG, costly).beside_vectors().choice == TermChoice()


def test_the_best_decay_of_a_history_is_found() -> None:
    assert search(lambda choice: 0.01 * (choice.table == "transitions") * (1 + (choice.decay == 0.2))).decay == 0.2


def test_a_table_is_found_beside_other_terms() -> None:
    others = TermChoice(prior="popularity", prior_weight=0.1, own_weight=0.5, own_decay=1.0)
    values = measure(lambda choice: 0.01 * (choice.decay == 0.2) + 0.01 * (choice.table_weight == 0.1))
    searched = TermSearch(terms_fitter(), CONFIG, values)
    beside = searched.table_beside("transitions", others).choice
    assert beside == others._replace(table="transitions", table_weight=0.1, decay=0.2)
    alone = searched.table_alone("transitions", others).choice
    assert alone == others._replace(vector_weight=0.02, table="transitions", table_weight=1.0, decay=0.2)


def test_newer_pairs_weigh_more_if_that_gains_and_never_in_item_knn() -> None:
    found = search(lambda choice: 0.01 * (choice.table == "transitions") + 0.01 * bool(choice.half_life_days))
    assert (found.table, found.half_life_days) == ("transitions", 60.0)
    found = search(lambda choice: 0.01 * (choice.table == "transitions") - 0.001 * bool(choice.half_life_days))
    assert (found.table, found.half_life_days) == ("transitions", 0.0)
    found = search(lambda choice: 0.01 * (choice.table == "item_knn") + 0.01 * bool(choice.half_life_days))
    assert (found.table, found.half_life_days) == ("item_knn", 0.0)


def test_the_weight_of_a_table_is_chosen_beside_the_own_products() -> None:
    config = CONFIG.model_copy(update={"evaluation": CONFIG.evaluation.model_copy(update={"exclude_seen": False})})

    def gain(choice: TermChoice) -> float:
        # a heavy table is good only beside heavy own products
        heavy = choice.table == "transitions" and choice.table_weight == 1.0
        return 0.01 * bool(choice.own_weight) + 0.01 * (0.1 if not heavy else 1.0 if choice.own_weight else -1.0)

    chosen = TermSearch(terms_fitter(), config, measure(gain)).beside_vectors().choice
    assert (chosen.table, chosen.table_weight) == ("transitions", 1.0)
    assert chosen.own_weight


def test_the_corners_are_the_baselines_and_a_table_keeps_the_vectors_as_a_tie_break() -> None:
    corners = dict(TermSearch(terms_fitter(), CONFIG, measure(lambda _: 0.0)).alone())
    assert list(corners) == ["popularity", "recent_popularity", "transitions", "proximity", "item_knn"]
    assert corners["popularity"].choice == TermChoice(vector_weight=0.0, prior="popularity", prior_weight=1.0)
    assert 0 < corners["transitions"].choice.vector_weight < 0.05


def test_where_seen_products_are_recommended_to_buy_them_again_is_a_corner() -> None:
    config = CONFIG.model_copy(update={"evaluation": CONFIG.evaluation.model_copy(update={"exclude_seen": False})})
    gain = measure(lambda choice: 0.01 * (choice.prior == "recent_popularity") + 0.01 * (choice.own_decay == 1.0))
    corners = dict(TermSearch(terms_fitter(), config, gain).alone())
    chosen = corners["bought_before"].choice
    assert (chosen.vector_weight, chosen.table, chosen.prior, chosen.own_decay) == (0.0, "", "recent_popularity", 1.0)
    # one purchase weighs more than any prior
    assert chosen.own_weight > chosen.prior_weight


@pytest.mark.parametrize(("differences", "expected"), [([0.1, 0.2], True), ([0.0, 0.2], False), ([0.1], True)])
def test_a_gain_counts_above_one_standard_error(differences: list[float], expected: bool) -> None:
    assert gains(np.array(differences), np.zeros(len(differences))) is expected
