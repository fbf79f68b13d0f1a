"""Ranking metrics against a slow implementation, and by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.config.loading import load_config
from trainer.data.events import Events, tie_hash
from trainer.data.split import Cases
from trainer.evaluate.baselines import Scorer
from trainer.evaluate.ranking import (
    buyer_vectors,
    case_metrics,
    describe,
    history_inputs,
    item_vectors,
    list_metrics,
    metrics,
    rank_targets,
)
from trainer.model.inputs import ItemFeatures, Sizes
from trainer.model.towers import TwoTower
from twotower.arrays import Float32, UInt64
from twotower.events import DAY_MS, EventSchema

SCHEMA = EventSchema({"View": 1.0, "AddToCart": 5.0, "Purchase": 10.0})


def events_of(buyers: list[list[int]]) -> Events:
    """One list of products per buyer, a day apart, kinds 1, 2, 3 in turn."""
    product = [one for row in buyers for one in row]
    start = np.cumsum([0, *map(len, buyers)])
    place = np.concatenate([np.arange(len(row)) for row in buyers])
    return Events(
        np.repeat(np.arange(len(buyers)), np.diff(start)).astype(np.int32),
        np.array(product, np.int32),
        (place % 3 + 1).astype(np.int8),
        place * DAY_MS,
        start.astype(np.int64),
    )


def cases_of(events: Events, cuts: list[int]) -> Cases:
    """Each buyer's history ends before its event number `cut`."""
    start, stop = events.start[:-1], events.start[1:]
    return Cases(np.arange(len(cuts)), start, start + np.array(cuts), stop)


def fixed(scores: Float32) -> Scorer:
    return lambda cases: scores[cases.buyer]


def slow(scores: Float32, buyers: list[list[int]], cuts: list[int], ties: UInt64, exclude: bool) -> dict[str, float]:
    """Every metric again, from sorted lists."""
    kept: dict[str, list[float]] = {}
    shown: set[int] = set()
    count = scores.shape[1]
    for buyer, (products, cut) in enumerate(zip(buyers, cuts, strict=True)):
        seen = set(products[:cut]) if exclude else set()
        ranked = sorted(
            range(count),
            key=lambda one, b=buyer, s=seen: (one in s, -scores[b, one], ties[one]),  # type: ignore[misc]
        )
        # products of the history come last: in the order of their ties, for their scores are gone
        ranked = [one for one in ranked if one not in seen] + sorted(seen, key=lambda one: ties[one])
        shown |= set(ranked[:10])
        targets = set(products[cut:]) - seen
        if not targets:
            continue
        for k in (10, 20, 100):
            hits = [place for place, one in enumerate(ranked[:k]) if one in targets]
            kept.setdefault(f"recall@{k}", []).append(len(hits) / min(k, len(targets)))
            gain = sum(1 / math.log2(place + 2) for place in hits)
            ideal = sum(1 / math.log2(place + 2) for place in range(min(k, len(targets))))
            kept.setdefault(f"ndcg@{k}", []).append(gain / ideal)
            kept.setdefault(f"mrr@{k}", []).append(1 / (hits[0] + 1) if hits else 0.0)
    found = {name: sum(values) / len(values) for name, values in kept.items()}
    cases = float(len(next(iter(kept.values()), [])))
    return found | {"coverage@10": len(shown) / count, "cases": cases}


@given(st.data(), st.integers(1, 30), st.integers(1, 6), st.booleans(), st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_metrics_equal_a_slow_implementation(
    data: st.DataObject, products: int, buyers: int, exclude: bool, levels: int
) -> None:
    history = st.lists(st.integers(0, products - 1), min_size=2, max_size=12)
    logs = [data.draw(history) for _ in range(buyers)]
    cuts = [data.draw(st.integers(1, len(one) - 1)) for one in logs]
    # few levels of score: ties everywhere
    draw = np.random.default_rng(data.draw(st.integers(0, 1000)))
    scores = draw.integers(levels, size=(buyers, products)).astype(np.float32) - 1
    ties = tie_hash([f"p{one}" for one in range(products)], 7)
    events = events_of(logs)
    found = metrics(rank_targets(fixed(scores), events, cases_of(events, cuts), ties, exclude), products)
    wanted = slow(scores, logs, cuts, ties, exclude)
    assert {name: value for name, value in found.items() if value} == pytest.approx(
        {name: value for name, value in wanted.items() if value}
    )


def test_metrics_by_hand() -> None:
    # one buyer has seen 0; 1 and 3 are asked for; ranked 2, 1, 4, 3
    events = events_of([[0, 1, 3]])
    scores = np.array([[9.0, 3.0, 4.0, 1.0, 2.0]], np.float32)
    ranks = rank_targets(fixed(scores), events, cases_of(events, [1]), np.arange(5).astype(np.uint64), True)
    assert (ranks.case.tolist(), ranks.rank.tolist()) == ([0, 0], [1, 3])
    assert ranks.top.tolist() == [[2, 1, 4, 3, 0]]
    found = metrics(ranks, 5)
    assert found["recall@10"] == 1.0
    ideal = 1 + 1 / math.log2(3)
    assert found["ndcg@10"] == pytest.approx((1 / math.log2(3) + 1 / math.log2(5)) / ideal)
    assert found["mrr@10"] == 0.5
    assert found["cases"] == 1.0
    assert describe(found) == f"recall@10 1.0000, ndcg@10 {found['ndcg@10']:.4f}, coverage@10 100.0%"


def test_recall_counts_no_more_targets_than_places() -> None:
    # thirty targets, all of the first ten are hits: recall@10 is 1, recall@20 a half
    events = events_of([[0, *range(1, 31)]])
    scores = np.zeros((1, 60), np.float32)
    scores[0, 1:11] = 2
    scores[0, 40:60] = 1
    found = metrics(
        rank_targets(fixed(scores), events, cases_of(events, [1]), np.arange(60).astype(np.uint64), True), 60
    )
    assert found["recall@10"] == 1.0 and found["ndcg@10"] == pytest.approx(1.0)
    assert found["recall@20"] == 0.5
    assert found["recall@100"] == 1.0
    assert found["coverage@10"] == pytest.approx(10 / 60)


def test_a_target_that_was_bought_before_counts_only_if_seen_products_do() -> None:
    events = events_of([[0, 1, 0]])
    scores = np.array([[3.0, 2.0, 1.0]], np.float32)
    cases, ties = cases_of(events, [2]), np.arange(3).astype(np.uint64)
    kept = rank_targets(fixed(scores), events, cases, ties, False)
    assert (kept.case.tolist(), kept.rank.tolist()) == ([0], [0])
    left_out = rank_targets(fixed(scores), events, cases, ties, True)
    assert len(left_out.case) == 0
    assert metrics(left_out, 3)["cases"] == 0.0
    assert metrics(left_out, 3)["recall@10"] == 0.0


def test_ties_go_by_the_hash_of_the_product_and_not_by_its_row() -> None:
    draw = np.random.default_rng(2)
    names = [f"p{one}" for one in range(40)]
    logs = [draw.integers(40, size=6).tolist() for _ in range(30)]
    scores = draw.integers(3, size=(30, 40)).astype(np.float32)
    found = []
    for shuffle in (np.arange(40), draw.permutation(40), np.arange(40)[::-1]):
        # row r of the shuffled catalogue is product shuffle[r]
        row_of = np.argsort(shuffle)
        events = events_of([[int(row_of[one]) for one in log] for log in logs])
        ties = tie_hash([names[one] for one in shuffle], 7)
        ranks = rank_targets(fixed(scores[:, shuffle]), events, cases_of(events, [3] * 30), ties, True)
        found.append(metrics(ranks, 40))
    assert found[0] == pytest.approx(found[1])
    assert found[0] == pytest.approx(found[2])
    # and the hash does break them: a constant score is not ranked in the order of the rows
    events = events_of([[0, 1]])
    ranks = rank_targets(fixed(np.zeros((1, 40), np.float32)), events, cases_of(events, [1]), tie_hash(names, 7), False)
    assert ranks.top[0].tolist() == np.argsort(tie_hash(names, 7))[:10].tolist() != list(range(10))


def test_a_scorers_own_array_is_left_as_it_was() -> None:
    share = np.array([[0.5, 0.3, 0.2]], np.float32)
    events = events_of([[0, 1]])
    rank_targets(lambda cases: share, events, cases_of(events, [1]), np.arange(3).astype(np.uint64), True)
    assert share.tolist() == [[0.5, np.float32(0.3), np.float32(0.2)]]


def test_many_cases_are_ranked_in_chunks_with_their_own_numbers() -> None:
    logs = [[one % 7, (one + 1) % 7] for one in range(600)]
    events = events_of(logs)
    scores = np.random.default_rng(0).normal(size=(600, 7)).astype(np.float32)
    ranks = rank_targets(fixed(scores), events, cases_of(events, [1] * 600), np.arange(7).astype(np.uint64), False)
    assert ranks.case.tolist() == list(range(600))
    assert ranks.top.shape == (600, 7)
    wanted = [int((scores[row] > scores[row, log[1]]).sum()) for row, log in enumerate(logs)]
    assert ranks.rank.tolist() == wanted


def test_without_cases_metrics_are_zero() -> None:
    events = events_of([[0, 1]])
    none = Cases(*(np.empty(0, np.int64) for _ in range(4)))
    ranks = rank_targets(fixed(np.zeros((1, 3), np.float32)), events, none, np.arange(3).astype(np.uint64), True)
    assert metrics(ranks, 3)["ndcg@10"] == 0.0
    assert all(len(values) == 0 for values in case_metrics(ranks).values())


def test_per_case_metrics_average_to_the_metrics() -> None:
    events = events_of([[0, 1], [1, 2, 0], [2, 2]])
    scores = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    ranks = rank_targets(fixed(scores), events, cases_of(events, [1, 1, 1]), np.arange(4).astype(np.uint64), True)
    each, mean = case_metrics(ranks), metrics(ranks, 4)
    assert len(each["ndcg@10"]) == 2  # the third buyer's target was seen
    assert float(each["ndcg@10"].mean()) == pytest.approx(mean["ndcg@10"])


def tiny_model() -> tuple[TwoTower, ItemFeatures]:
    torch.manual_seed(0)
    config = load_config([], ["model.dimension=8"])
    model = TwoTower(Sizes(5, 2, 2, 6, 0, 3), config.model, 0.07)
    with torch.no_grad():
        for value in model.buyer.parameters():
            value.normal_()
    zero = torch.zeros(6, dtype=torch.int64)
    return model, ItemFeatures(torch.randn(6, 5), zero, zero, torch.arange(1, 7), zero[:, None][:, :0])


def test_item_vectors_do_not_depend_on_the_chunk() -> None:
    model, features = tiny_model()
    np.testing.assert_allclose(item_vectors(model, features, chunk=2), item_vectors(model, features), atol=1e-6)


def test_a_buyers_vector_depends_only_on_the_latest_interactions() -> None:
    model, features = tiny_model()
    items = item_vectors(model, features)
    events = events_of([[0, 1, 2, 3, 4], [3, 4, 5]])
    cases = Cases(np.array([0, 1]), np.array([0, 5]), np.array([4, 6]), np.array([5, 8]))
    batch = history_inputs(events, cases, SCHEMA, 2)
    # buyer 0: products 2 and 3 of events 0..3, kinds 3 and 1; buyer 1: product 3 alone
    assert batch.rows.tolist() == [[2, 3], [3, 0]]
    assert batch.types.tolist() == [[3, 1], [1, 0]]
    assert batch.weights.tolist() == [[10.0, 1.0], [1.0, 0.0]]
    assert batch.ages.tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert batch.mask.tolist() == [[True, True], [True, False]]
    found = buyer_vectors(model, items, events, cases, SCHEMA, 2)
    with torch.no_grad():
        wanted = model.buyer(
            torch.from_numpy(items[batch.rows]), *(torch.from_numpy(column) for column in batch[1:])
        ).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_list_metrics_by_hand() -> None:
    events = events_of([[0, 1], [1, 2, 0], [2, 2]])
    scores = np.array([[0, 3, 2, 1], [0, 3, 2, 1], [0, 3, 2, 1]], np.float32)
    ties = np.arange(4).astype(np.uint64)
    ranks = rank_targets(fixed(scores), events, cases_of(events, [1, 1, 1]), ties, True)
    found = list_metrics(ranks, np.array([6, 2, 0, 0]))
    # the third buyer has no target; the ten are all four products
    assert found["popularity@10"].tolist() == [2.0, 2.0]
    assert found["new@10"].tolist() == [0.5, 0.5]


def test_ranks_without_lists_are_the_same_ranks() -> None:
    draw = np.random.default_rng(5)
    events = events_of([draw.integers(30, size=8).tolist() for _ in range(20)])
    scores = draw.integers(4, size=(20, 30)).astype(np.float32)
    asked = fixed(scores), events, cases_of(events, [4] * 20), tie_hash([f"p{one}" for one in range(30)], 7), True
    whole, bare = rank_targets(*asked), rank_targets(*asked, lists=False)
    assert bare.top.shape == (20, 0)
    for one, two in ((whole.case, bare.case), (whole.rank, bare.rank), (whole.product, bare.product)):
        assert one.tolist() == two.tolist()


def test_a_target_that_a_scorer_does_not_know_counts_as_missed() -> None:
    events = events_of([[0, 1, 2]])
    scores = np.array([[5, -np.inf, 3, 2]], np.float32)
    ranks = rank_targets(fixed(scores), events, cases_of(events, [1]), np.array([0, 9, 2, 3], np.uint64), True)
    # product 0 was seen; product 1 is known to nobody: both are last, in the order of their ties
    assert (ranks.product.tolist(), ranks.rank.tolist()) == ([1, 2], [3, 0])
