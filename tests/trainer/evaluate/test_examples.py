"""Sample buyers: their order, and which recommended products are hits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from trainer.data.catalogue import Products
from trainer.data.dataset import Dataset
from trainer.data.events import Events
from trainer.data.rejects import Summary
from trainer.data.searches import NO_SEARCHES
from trainer.data.split import Cases
from trainer.evaluate.examples import sample_buyers
from trainer.evaluate.ranking import Ranks
from twotower.forgotten import ForgottenBuyers, buyer_hash, forget_buyer


def test_sample_buyers_show_the_newest_events_first_and_what_was_found(tmp_path: Path) -> None:
    nobody = ForgottenBuyers.read(tmp_path / "list")
    names = ["a", "b", "c", "d", "e"]
    empty = [""] * 5
    products = Products(names, names, empty, empty, empty, [None] * 5, empty, [True] * 5, [()] * 5, empty)
    events = Events(
        np.array([0, 0, 0, 1, 1, 1, 1], np.int32),
        np.array([0, 1, 2, 3, 4, 0, 1], np.int32),
        np.array([1, 3, 1, 2, 1, 1, 1], np.int8),
        np.arange(7) * 1000,
        np.array([0, 3, 7]),
    )
    data = Dataset(products, ["left", "right"], events, ["View", "AddToCart", "Purchase"], Summary(), NO_SEARCHES)
    cases = Cases(np.array([0, 1]), np.array([0, 3]), np.array([2, 5]), np.array([3, 7]))
    top = np.array([[3, 2, 4], [2, 1, 0]])
    # the second buyer's two targets: product 1 is second, product 0 third; given the other way round
    ranks = Ranks(np.array([0, 1, 1]), np.array([1, 2, 1]), top, np.array([2, 0, 1]))
    left, right = sample_buyers(ranks, cases, events, data, 7, nobody)
    assert left == {
        "buyer": buyer_hash("left"),
        "history_events": 2,
        "history": [
            {"product": "b", "event": "Purchase", "time_ms": 1000},
            {"product": "a", "event": "View", "time_ms": 0},
        ],
        "recommended": [
            {"product": "d", "hit": False},
            {"product": "c", "hit": True},
            {"product": "e", "hit": False},
        ],
        "targets": [{"product": "c", "rank": 2}],
    }
    assert right["targets"] == [{"product": "b", "rank": 2}, {"product": "a", "rank": 3}]
    assert [one["hit"] for one in right["recommended"]] == [False, True, True]
    assert len(sample_buyers(ranks, cases, events, data, 7, nobody, buyers=1)) == 1
    forget_buyer(tmp_path / "list", "left")
    forgotten = ForgottenBuyers.read(tmp_path / "list")
    assert sample_buyers(ranks, cases, events, data, 7, forgotten) == [right]
