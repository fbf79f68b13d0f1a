"""Team draft interleaving: two lists as one, and who chose each product.

Radlinski, Kurup and Joachims, "How does clickthrough data reflect retrieval quality?" (2008), section 4.2.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from twotower.experiments import FIRST, SECOND


class Pick(NamedTuple):
    """One place of the drafted list: the team, and the product's place in that team's own list, from 0."""

    team: str
    place: int


def draft(first: Sequence[str], second: Sequence[str], k: int, seed: str) -> list[Pick]:
    """Drafts at most k products: in each round, by lot, one team chooses first, each its best product not yet chosen.

    A team that has none left leaves the rest to the other. The same seed gives the same draft.
    """
    lots = random.Random(seed)
    lists = {FIRST: first, SECOND: second}
    nexts = {FIRST: 0, SECOND: 0}
    picks: list[Pick] = []
    chosen: set[str] = set()
    while len(picks) < k:
        before = len(picks)
        for team in lots.sample((FIRST, SECOND), 2):
            own = lists[team]
            while nexts[team] < len(own) and own[nexts[team]] in chosen:
                nexts[team] += 1
            if nexts[team] < len(own) and len(picks) < k:
                picks.append(Pick(team, nexts[team]))
                chosen.add(own[nexts[team]])
        if len(picks) == before:
            break
    return picks
