"""What is bought again: the list of /again beside "most bought before", on the repeat purchases of the next days.

Usage:  make bench-again

Two shops: Online Retail 2009-10 (UCI), in `--data` or ../shared/data, if it is there; and the SYNTHETIC grocery of
benchmarks/grocery.py. For each, the model of repeat purchases is fitted to the events before the last `horizon` days,
and the retrieval service's own code ranks the products of each buyer's history at that moment. A buyer's targets are
the products bought in the days that follow and before; every buyer with a target is asked, and an empty list has a
recall of 0. The baseline ranks the products of the same history by the number of purchases, then by the last one.

Histories are given whole, and as the gateway keeps them: the newest 50 interactions. Recall@10 is the share of the
targets, of ten at most, among the first ten. Intervals are 95 % bootstrap intervals over buyers, paired for the
difference. The last line is one JSON object.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.options import ROOT, data_parser
from benchmarks.repeats import Shop, shops
from retrieval_service.lists.again import Again
from trainer.config.loading import load_config
from trainer.data.dataset import Dataset, load_dataset
from trainer.data.events import Events
from trainer.evaluate.bootstrap import interval, paired_difference, resampled_means
from trainer.fit.repeats import fit_repeats
from twotower.arrays import Float64
from twotower.events import DAY_MS, EventSchema, Interaction
from twotower.serving.wire import pack_history

CUT, DRAWS, SEED = 10, 2000, 7
HISTORIES = {"whole history": 0, "newest 50": 50}


class Question(NamedTuple):
    """A buyer's interactions before the moment, oldest first, and what is bought again after it."""

    history: list[Interaction]
    targets: set[str]


def main() -> int:
    options = data_parser(__doc__, "online_retail_2009_2010").parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for shop in shops(options.data, Path(scratch)):
            found[shop.name] = _measure(shop, options.set, Path(scratch))
    print(json.dumps({"benchmark": "again", "set": options.set, "shops": found}))
    return 0


def _measure(shop: Shop, settings: Sequence[str], scratch: Path) -> dict[str, Any]:
    wanted = [f"again.horizon_days={shop.test_days}", *settings]
    config = load_config([ROOT / "trainer/config/offline.yaml"], wanted)
    data = load_dataset([str(shop.events)], [str(shop.products)], config.data, config.seed, scratch)
    now_ms = int(data.events.time.max()) - shop.test_days * DAY_MS
    fitted = fit_repeats(
        before(data.events, now_ms), data.products.categories, EventSchema(config.data.event_weights), config.again
    )
    if fitted is None:
        raise SystemExit(f"{shop.name}: too few repeat purchases")
    rows = {one: row for row, one in enumerate(data.products.ids)}
    again = Again(fitted.model, fitted.table, rows, sorted(set(data.products.categories)))
    questions = questions_of(data, now_ms)
    print(f"\n{shop.name}: {len(questions):,} buyers who buy again within {shop.test_days} days; {fitted.model}")
    figures: dict[str, Any] = {"buyers": len(questions), "model": fitted.model.model_dump()}
    for name, size in HISTORIES.items():
        asked = [one._replace(history=one.history[-size:]) for one in questions]
        ours = recalls(asked, lambda history: ranked(again, history, now_ms))
        figures[name] = _compare(name, ours, recalls(asked, most_bought))
    return figures


def _compare(name: str, ours: Float64, baseline: Float64) -> dict[str, Any]:
    difference = paired_difference(ours, baseline, DRAWS, SEED)
    low, high = interval(resampled_means(ours[:, None], DRAWS, SEED)[:, 0])
    ratio = float(ours.mean() / baseline.mean())
    print(
        f"{name}: /again {ours.mean():.4f} [{low:.4f}, {high:.4f}], most bought before {baseline.mean():.4f}, "
        f"difference {difference.difference:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}], ratio {ratio:.3f}",
        flush=True,
    )
    return {
        "again": float(ours.mean()),
        "interval": [low, high],
        "most_bought": float(baseline.mean()),
        "difference": difference._asdict(),
        "ratio": ratio,
    }


def before(events: Events, now_ms: int) -> Events:
    """The events before a moment."""
    kept = events.time < now_ms
    start = np.concatenate([[0], np.cumsum(np.bincount(events.buyer[kept], minlength=len(events.start) - 1))])
    return Events(events.buyer[kept], events.product[kept], events.kind[kept], events.time[kept], start)


def questions_of(data: Dataset, now_ms: int) -> list[Question]:
    """One for each buyer who buys something again from the moment on."""
    events, ids, names = data.events, data.products.ids, data.event_names
    found = list[Question]()
    for code in range(len(data.buyers)):
        places = range(int(events.start[code]), int(events.start[code + 1]))
        rows = [
            Interaction(ids[events.product[one]], names[events.kind[one] - 1], int(events.time[one])) for one in places
        ]
        history = [one for one in rows if one.timestamp_ms < now_ms]
        targets = {one.product_id for one in rows[len(history) :]} & {one.product_id for one in history}
        if targets:
            found.append(Question(history, targets))
    return found


def recalls(questions: Sequence[Question], rank: Callable[[list[Interaction]], list[str]]) -> Float64:
    """Recall@10 of each question."""
    return np.array([len(set(rank(one.history)[:CUT]) & one.targets) / min(CUT, len(one.targets)) for one in questions])


def ranked(again: Again, history: list[Interaction], now_ms: int) -> list[str]:
    """The products of /again, best first."""
    found = again.rank(pack_history(history), now_ms, lambda ids: [""] * len(ids))
    order = np.argsort(-found.chances, kind="stable")
    return [found.product_ids[place] for place in order.tolist()]


def most_bought(history: list[Interaction]) -> list[str]:
    """The products of a history, those bought on most days first, of equal ones the one bought last."""
    days = Counter(product for product, _ in {(one.product_id, one.timestamp_ms // DAY_MS) for one in history})
    last = {one.product_id: one.timestamp_ms for one in history}
    return sorted(days, key=lambda product: (-days[product], -last[product], product))


if __name__ == "__main__":
    sys.exit(main())
