"""Batches against a slow reference: every pair once, nothing of a pair's future in its history, no false negative."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.events import Events
from trainer.fit.softmax.sampler import Batch, Sampler, SamplerSettings
from trainer.fit.training_set import TrainingSet
from twotower.events import DAY_MS


def log(buyers: int = 30, length: int = 6) -> list[Row]:
    draw = np.random.default_rng(1)
    return [
        (buyer, int(draw.integers(PRODUCTS)), int(draw.integers(1, 4)), day)
        for buyer in range(buyers)
        for day in range(length)
    ]


PRODUCTS = 8


WEIGHTS = np.array([0.0, 1.0, 5.0, 10.0], np.float32)


Row = tuple[int, int, int, int]  # (buyer, product, kind, day)


def events_of(rows: list[Row]) -> Events:
    columns = list(zip(*rows, strict=True))
    buyer = np.array(columns[0], np.int32)
    start = np.searchsorted(buyer, np.arange(int(buyer.max()) + 2)).astype(np.int64)
    return Events(
        buyer,
        np.array(columns[1], np.int32),
        np.array(columns[2], np.int8),
        np.array(columns[3], np.int64) * DAY_MS,
        start,
    )


SETTINGS = SamplerSettings(
    max_history=3,
    batch_pairs=4,
    random_negatives=2,
    full_softmax=0,
    weight_power=0.5,
    repeat_targets=False,
    seed=5,
)


def sampler(rows: list[Row], stop: list[int] | None = None, settings: SamplerSettings = SETTINGS) -> Sampler:
    events = events_of(rows)
    data = TrainingSet(events, events.start[1:] if stop is None else np.array(stop, np.int64))
    return Sampler(data, PRODUCTS, WEIGHTS, settings)


def history(batch: Batch, pair: int) -> list[tuple[int, int]]:
    """(product, kind) of the interactions before a pair's target."""
    window, step = batch.pair_window[pair], batch.pair_step[pair]
    places = batch.items[window, : step + 1]
    return list(zip(batch.products[places].tolist(), batch.types[window, : step + 1].tolist(), strict=True))


def product_of(batch: Batch, pair: int) -> int:
    return int(batch.candidates[batch.target[pair]])


@st.composite
def logs(draw: st.DrawFn) -> list[Row]:
    rows: list[Row] = []
    for buyer in range(draw(st.integers(1, 5))):
        day = 0
        for _ in range(draw(st.integers(1, 9))):
            day += draw(st.integers(0, 3))
            rows.append((buyer, draw(st.integers(0, PRODUCTS - 1)), draw(st.integers(1, 3)), day))
    return rows


def reference_pairs(rows: list[Row], stop: list[int], longest: int, repeat: bool) -> list[tuple[object, ...]]:
    """(buyer, history of products and kinds, target, weight) of every pair, event by event."""
    pairs = []
    events = events_of(rows)
    for buyer, (first, last) in enumerate(pairwise(events.start.tolist())):
        own = rows[first:last]
        for place in range(1, stop[buyer] - first):
            target = own[place]
            if not repeat and target[1] in {row[1] for row in own[:place]}:
                continue
            # windows of `longest` targets laid end to end; behind the first, half a window of history comes before
            begin = max((place - 1) // longest * longest - longest // 2, 0)
            # events of the target's own moment are not in its history
            earlier = [row[1:3] for row in own[begin:place] if row[3] < target[3]]
            if earlier:
                pairs.append((buyer, earlier, target[1], float(WEIGHTS[target[2]]) ** 0.5))
    return pairs


@given(logs(), st.data(), st.integers(1, 5), st.integers(2, 9), st.booleans())
@settings(max_examples=150, deadline=None)
def test_every_event_but_a_buyers_first_is_a_target_once_an_epoch(
    rows: list[Row], data: st.DataObject, longest: int, batch_pairs: int, repeat: bool
) -> None:
    start = events_of(rows).start
    stop = [data.draw(st.integers(int(a), int(b))) for a, b in pairwise(start)]
    made = sampler(
        rows, stop, settings=replace(SETTINGS, max_history=longest, batch_pairs=batch_pairs, repeat_targets=repeat)
    )
    wanted = reference_pairs(rows, stop, longest, repeat)
    batches = list(made.epoch(0))
    found = []
    for batch in batches:
        assert batch.mask.shape[1] <= longest + longest // 2
        for pair in range(len(batch.target)):
            weight = pytest.approx(float(batch.pair_weight[pair]), rel=1e-6)
            found.append((history(batch, pair), product_of(batch, pair), weight))
    key = repr
    assert sorted(((h, t) for h, t, _ in found), key=key) == sorted(((h, t) for _, h, t, _ in wanted), key=key)
    for h, t, weight in found:
        assert any(h == one[1] and t == one[2] and weight == one[3] for one in wanted)
    assert made.pairs == len(wanted)
    assert made.steps(0) == len(batches)


@given(logs(), st.data())
@settings(max_examples=100, deadline=None)
def test_false_negatives_are_all_that_the_buyer_took_in_training(rows: list[Row], data: st.DataObject) -> None:
    start = events_of(rows).start
    stop = [data.draw(st.integers(int(a), int(b))) for a, b in pairwise(start)]
    made = sampler(rows, stop, settings=replace(SETTINGS, random_negatives=PRODUCTS))
    for batch in made.epoch(0):
        names = batch.candidates
        assert names.tolist() == list(range(PRODUCTS))  # all drawn: every product is a candidate, each once
        for pair in range(len(batch.target)):
            window = int(batch.pair_window[pair])
            # which buyer this is: the one who has this history before this target in training
            owners = [
                {row[1] for row in rows[first:end]}
                for buyer, (first, end) in enumerate(zip(start[:-1].tolist(), stop, strict=True))
                if any(
                    history(batch, pair) == one[1] and product_of(batch, pair) == one[2] and buyer == one[0]
                    for one in reference_pairs(rows, stop, 3, False)
                )
            ]
            assert set(names[batch.masked[window]].tolist()) in owners


def test_a_batch_by_hand() -> None:
    # buyer 0 views 3 on day 0, buys 5 on day 1, views 3 again on day 4, buys 6 on day 10
    rows = [(0, 3, 1, 0), (0, 5, 3, 1), (0, 3, 1, 4), (0, 6, 3, 10)]
    made = sampler(rows, settings=replace(SETTINGS, max_history=10, random_negatives=0))
    (batch,) = made.epoch(0)
    assert batch.products.tolist() == [3, 5, 6]
    assert batch.products[batch.items].tolist() == [[3, 5, 3]]
    assert batch.types.tolist() == [[1, 3, 1]]
    assert batch.weights.tolist() == [[1.0, 10.0, 1.0]]
    assert batch.ages.tolist() == [[4.0, 3.0, 0.0]]
    assert batch.mask.tolist() == [[True, True, True]]
    # the second view of 3 is no target: the history holds it already
    assert (batch.pair_window.tolist(), batch.pair_step.tolist()) == ([0, 0], [0, 2])
    assert batch.candidates.tolist() == [5, 6]
    assert [product_of(batch, pair) for pair in range(2)] == [5, 6]
    np.testing.assert_allclose(batch.pair_weight, [10**0.5, 10**0.5], rtol=1e-6)
    assert sorted(batch.masked.tolist()[0]) == [0, 1]
    assert made.target_share.tolist() == [0, 0, 0, 0, 0, 0.5, 0.5, 0]


def test_a_window_behind_the_first_begins_half_a_window_earlier() -> None:
    (batch,) = sampler(
        [(0, product, 1, product) for product in range(6)], settings=replace(SETTINGS, max_history=4, batch_pairs=9)
    ).epoch(0)
    found = {product_of(batch, pair): [one[0] for one in history(batch, pair)] for pair in range(len(batch.target))}
    assert found == {1: [0], 2: [0, 1], 3: [0, 1, 2], 4: [0, 1, 2, 3], 5: [2, 3, 4]}


def test_events_of_one_moment_are_not_in_each_others_history() -> None:
    # a basket of 1 and 2 after 0; then 3
    (batch,) = sampler(
        [(0, 0, 1, 0), (0, 1, 3, 1), (0, 2, 3, 1), (0, 3, 3, 2)], settings=replace(SETTINGS, max_history=9)
    ).epoch(0)
    found = {product_of(batch, pair): [one[0] for one in history(batch, pair)] for pair in range(len(batch.target))}
    assert found == {1: [0], 2: [0], 3: [0, 1, 2]}
    assert sampler([(0, 0, 1, 0), (0, 1, 1, 0)]).pairs == 0


def test_every_product_is_a_candidate_if_the_catalogue_is_small_enough() -> None:
    made = sampler(log(), settings=replace(SETTINGS, full_softmax=PRODUCTS))
    assert made.uses_full_softmax
    for batch in made.epoch(0):
        assert batch.products.tolist() == batch.candidates.tolist() == list(range(PRODUCTS))
    assert not sampler(log(), settings=replace(SETTINGS, full_softmax=PRODUCTS - 1)).uses_full_softmax


def test_masked_rows_are_filled_by_repetition() -> None:
    rows = [(0, 1, 1, 0), (0, 2, 1, 1), (0, 3, 1, 2), (1, 5, 1, 0), (1, 6, 1, 1)]
    (batch,) = sampler(rows, settings=replace(SETTINGS, full_softmax=PRODUCTS, batch_pairs=9)).epoch(0)
    assert sorted(sorted(row) for row in batch.masked.tolist()) == [[1, 2, 3], [5, 5, 6]]


def test_repeats_are_targets_if_configured() -> None:
    rows = [(0, 3, 1, 0), (0, 5, 3, 1), (0, 3, 1, 4)]
    (batch,) = sampler(rows, settings=replace(SETTINGS, repeat_targets=True)).epoch(0)
    assert [product_of(batch, pair) for pair in range(len(batch.target))] == [5, 3]
    assert sampler(rows).pairs == 1


def test_events_after_the_cut_are_neither_targets_nor_histories_nor_masks() -> None:
    rows = [(0, 0, 1, 0), (0, 1, 1, 1), (0, 2, 1, 2), (1, 3, 1, 0), (1, 4, 1, 1)]
    made = sampler(rows, [2, 5], settings=replace(SETTINGS, random_negatives=PRODUCTS))
    batches = list(made.epoch(0))
    assert sorted(product_of(b, p) for b in batches for p in range(len(b.target))) == [1, 4]
    assert made.target_share[2] == 0
    for batch in batches:
        taken = [set(batch.candidates[row].tolist()) for row in batch.masked]
        assert all(one in ({0, 1}, {3, 4}) for one in taken)
        assert 2 not in batch.products[batch.items[batch.mask]]


def test_padding_is_masked_and_weighs_nothing() -> None:
    rows = [(0, 0, 3, 0), (0, 1, 3, 1), (0, 2, 3, 2), (0, 3, 3, 3), (1, 4, 2, 0), (1, 5, 2, 7)]
    made = sampler(rows, settings=replace(SETTINGS, batch_pairs=100))
    (batch,) = made.epoch(0)
    short = int(np.flatnonzero(batch.mask.sum(axis=1) == 1)[0])
    assert batch.mask[short].tolist() == [True, False, False]
    assert batch.types[short].tolist() == [2, 0, 0]
    assert batch.weights[short].tolist() == [5.0, 0.0, 0.0]
    assert batch.ages[short].tolist() == [0.0, 0.0, 0.0]


def same(one: Batch, two: Batch) -> bool:
    return all(np.array_equal(left, right) for left, right in zip(one, two, strict=True))


def test_the_same_seed_and_epoch_give_the_same_batches_and_others_do_not() -> None:
    made, again, other = sampler(log()), sampler(log()), sampler(log(), settings=replace(SETTINGS, seed=6))
    first = list(made.epoch(3))
    assert len(first) > 3
    assert all(same(*pair) for pair in zip(first, again.epoch(3), strict=True))
    assert not all(same(*pair) for pair in zip(first, made.epoch(4), strict=False))
    assert not all(same(*pair) for pair in zip(first, other.epoch(3), strict=False))


def test_an_epoch_can_be_resumed_at_any_step() -> None:
    made = sampler(log())
    whole = list(made.epoch(2))
    rest = list(made.epoch(2, 3))
    assert len(rest) == len(whole) - 3
    assert all(same(*pair) for pair in zip(whole[3:], rest, strict=True))


def test_batches_hold_about_as_many_pairs_as_asked() -> None:
    made = sampler(log(), settings=replace(SETTINGS, batch_pairs=10))
    sizes = [len(batch.target) for batch in made.epoch(0)]
    assert sum(sizes) == made.pairs
    # a window (of at most three pairs here) is never cut in two
    assert all(7 <= size <= 13 for size in sizes[:-1])


def test_random_negatives_are_distinct_and_no_more_than_there_are_products() -> None:
    for asked in (0, 3, 10_000):
        made = sampler(log(), settings=replace(SETTINGS, random_negatives=asked))
        for batch in made.epoch(0):
            candidates = batch.candidates
            assert len(np.unique(candidates)) == len(candidates) <= PRODUCTS
            positives = {product_of(batch, pair) for pair in range(len(batch.target))}
            assert positives <= set(candidates.tolist())
            assert len(candidates) >= min(asked, PRODUCTS)
            assert asked or set(candidates.tolist()) == positives


def test_every_product_is_drawn_as_a_negative_equally_often() -> None:
    made = sampler(log(buyers=200), settings=replace(SETTINGS, random_negatives=2, batch_pairs=2))
    counts = np.zeros(PRODUCTS)
    steps = 0
    for epoch in range(4):
        for batch in made.epoch(epoch):
            positives = {product_of(batch, pair) for pair in range(len(batch.target))}
            fresh = np.setdiff1d(batch.candidates, list(positives))
            counts[fresh] += 1
            steps += 1
    assert steps > 1000
    # each is drawn in a quarter of the steps, less those in which it is a positive
    assert counts.min() > 0.7 * counts.max()


def test_no_pair_at_all_is_no_batch() -> None:
    made = sampler([(0, 1, 1, 0), (1, 2, 1, 0), (1, 2, 1, 3)])
    assert made.pairs == 0 and made.steps(0) == 0 and list(made.epoch(0)) == []
    assert made.target_share.sum() == 0
