"""Ten test buyers for a reader: their history, what the model recommends, and what they chose next."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.data.dataset import Dataset
from trainer.data.events import Events
from trainer.data.split import Cases
from trainer.evaluate.ranking import Ranks
from twotower.forgotten import ForgottenBuyers, buyer_hash

BUYERS = 10
# the report shows this many latest events of a history
_SHOWN = 10


def sample_buyers(
    ranks: Ranks,
    cases: Cases,
    events: Events,
    data: Dataset,
    seed: int,
    forgotten: ForgottenBuyers,
    buyers: int = BUYERS,
) -> list[dict[str, Any]]:
    """Draws `buyers` cases at random from those that have a target; `forgotten` buyers are left out of the draw.

    A buyer's id stays out of the figures: `buyer` is its hash, by which a refresh knows those forgotten later.
    Histories are newest first, recommended products and targets best first. Targets are distinct products with their
    ranks (1 = best). `ranks` and `cases` refer to `events`.
    """
    tested = np.array(
        [case for case in np.unique(ranks.case) if data.buyers[cases.buyer[case]] not in forgotten], np.int64
    )
    drawn = np.random.default_rng((seed, len(tested))).choice(tested, min(buyers, len(tested)), replace=False)
    return [_describe_case(ranks, cases, events, data, int(case)) for case in np.sort(drawn)]


def _describe_case(ranks: Ranks, cases: Cases, events: Events, data: Dataset, case: int) -> dict[str, Any]:
    ids, start, cut = data.products.ids, int(cases.start[case]), int(cases.cut[case])
    own = np.flatnonzero(ranks.case == case)
    own = own[np.argsort(ranks.rank[own], kind="stable")]
    wanted = set(ranks.product[own].tolist())
    return {
        "buyer": buyer_hash(data.buyers[cases.buyer[case]]),
        "history_events": cut - start,
        "history": [
            {
                "product": ids[events.product[place]],
                "event": data.event_names[events.kind[place] - 1],
                "time_ms": int(events.time[place]),
            }
            for place in range(cut - 1, max(start, cut - _SHOWN) - 1, -1)
        ],
        "recommended": [{"product": ids[row], "hit": row in wanted} for row in ranks.top[case].tolist()],
        "targets": [{"product": ids[ranks.product[place]], "rank": int(ranks.rank[place]) + 1} for place in own],
    }
