"""Exploration puts products of lower rank into a list, and says which."""

from __future__ import annotations

import random

import numpy as np

from gateway.clients.answers import Hits
from gateway.exploration import DEPTH, Exploration
from twotower.serving import wire


def hits(count: int) -> Hits:
    return Hits(wire.pack_ids([f"p{one}" for one in range(count)]), np.arange(count, 0, -1, dtype=np.float32), "v", [])


def test_without_a_share_the_list_is_cut_and_nothing_else() -> None:
    found, explored = Exploration(0.0).mix(hits(30), 3)
    assert (wire.unpack_ids(found.packed_ids), found.scores.tolist(), explored) == (
        ["p0", "p1", "p2"],
        [30, 29, 28],
        "",
    )


def test_explored_slots_hold_a_product_of_lower_rank_with_its_score() -> None:
    found, explored = Exploration(0.4, random.Random(3)).mix(hits(10 + DEPTH + 5), 10)
    ids = wire.unpack_ids(found.packed_ids)
    changed = [slot for slot, one in enumerate(ids) if one != f"p{slot}"]
    # more than none, fewer than all: each slot is drawn for itself
    assert 0 < len(changed) < 10
    assert [ids[slot] for slot in changed] == explored.split("\n")
    assert len(set(ids)) == 10
    for slot in changed:
        rank = int(ids[slot][1:])
        assert 10 <= rank < 10 + DEPTH
        assert found.scores[slot] == 115 - rank


def test_the_share_of_explored_slots_is_the_one_asked_for() -> None:
    exploration, slots = Exploration(0.1, random.Random(5)), 0
    for _ in range(500):
        slots += len(exploration.mix(hits(60), 10).ids.split()) / 5000
    assert 0.085 < slots < 0.115  # 3.5 standard errors


def test_a_list_that_is_too_short_stays_as_it_is() -> None:
    found, explored = Exploration(0.5).mix(hits(4), 10)
    assert (wire.unpack_ids(found.packed_ids), explored) == (["p0", "p1", "p2", "p3"], "")
