"""Ten buyers of the test as people would see them: what they had taken, what they are shown, what they took next."""

from __future__ import annotations

from typing import Any

import numpy as np

from trainer.data.dataset import Dataset
from trainer.data.events import Events
from trainer.data.split import Cases
from trainer.evaluate.ranking import Ranks

BUYERS = 10


# latest events of a history that are shown
_SHOWN = 10


def sample_buyers(
    ranks: Ranks, cases: Cases, events: Events, data: Dataset, seed: int, buyers: int = BUYERS
) -> list[dict[str, Any]]:
    """`buyers` of the cases that have a target, drawn at random; everything newest or best first.

    `ranks` and `cases` refer to `events`. Targets are distinct products with their ranks (1 = best).
    """
    asked = np.unique(ranks.case)
    drawn = np.random.default_rng((seed, len(asked))).choice(asked, min(buyers, len(asked)), replace=False)
    return [_one(ranks, cases, events, data, int(case)) for case in np.sort(drawn)]


def _one(ranks: Ranks, cases: Cases, events: Events, data: Dataset, case: int) -> dict[str, Any]:
    ids, start, cut = data.products.ids, int(cases.start[case]), int(cases.cut[case])
    own = np.flatnonzero(ranks.case == case)
    own = own[np.argsort(ranks.rank[own], kind="stable")]
    wanted = set(ranks.product[own].tolist())
    return {
        "buyer": data.buyers[cases.buyer[case]],
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
