"""Bought together: what completes a basket, beside item-kNN and popularity, on real baskets.

Usage:  make bench-together

Online Retail 2009-10 (UCI), in `--data` or ../shared/data. The complements know the baskets up to 30 days before the
newest one; their strength is chosen on the 30 days before that. Of each later basket of two products and more, one
random product is held out, and the others ask for ten products: all of them as a cart (POST /complete), and one random
one of them (GET /together). Recall@10: how often the product that was held out is among the ten. No list holds a
product of its cart.

- item-kNN: cosines of the same baskets, all neighbours, summed over the cart. The one over buyers' histories, as the
  trainer's baseline has it, is shown too.
- popularity: baskets that hold the product.
- the same complements by the sums of their lifts, instead of the weights that are fitted for carts.

Intervals: 95 %, of the ratio, from resampled buyers (bootstrap), because the baskets of one buyer resemble each other.
The last line is one JSON object.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from benchmarks.options import data_parser
from trainer.config.loading import load_config
from trainer.data.dataset import Dataset, load_dataset
from trainer.data.matrix import item_similarities
from trainer.fit.together.choice import Carts, choose_strength, found, hold_out
from trainer.fit.together.groups import Groups, read_shopping
from trainer.fit.together.substitutes import Substitutes
from trainer.fit.together.table import TableFitter
from twotower.arrays import Float64, Int64
from twotower.events import DAY_MS, EventSchema
from twotower.search.complements import ComplementTable

TEST_DAYS = 30
LISTED = 10
GOALS = {"item-kNN, baskets": 1.15, "popularity": 1.5}
SEED = 7


def main() -> int:
    options = data_parser(__doc__, "online_retail_2009_2010").parse_args()
    if not options.data.is_dir():
        raise SystemExit(f"{options.data} is not there: this benchmark needs real baskets")
    config = load_config([], options.set)
    with tempfile.TemporaryDirectory() as scratch:
        events, products = ([str(options.data / f"{table}.csv.gz")] for table in ("events", "products"))
        data = load_dataset(events, products, config.data, SEED, Path(scratch))
    schema = EventSchema(config.data.event_weights)
    shopping = read_shopping(data.events, len(data.products), schema.codes["Purchase"], config.together)
    cut = int(shopping.baskets.end.max()) - TEST_DAYS * DAY_MS
    past = shopping.until(cut)
    # the products have no category, so none is a substitute of another
    nothing = np.zeros((len(data.products), 1), np.float32)
    substitutes = Substitutes.learn(nothing, data.products.categories, config.together.substitute_cut, SEED)
    begun = time.monotonic()
    choice = choose_strength(past, substitutes, config.together, SEED)
    fitter = TableFitter(past, substitutes, config.together)
    table = fitter.fit(choice.strength)
    seconds = time.monotonic() - begun
    later = shopping.baskets.take(shopping.baskets.end > cut)
    held = hold_out(later, len(later.end), SEED)
    buyers = _buyers_of(data, later)
    print(
        f"{len(past.baskets.end):,} baskets known, {len(held.target):,} asked, of {len(set(buyers.tolist())):,} buyers"
    )
    print(f"chosen: {choice.strength}, {choice.facts}; {seconds:.0f} s in all", flush=True)
    answers = {
        "complements": _completed(table, held),
        "their lifts, summed": _by_table(fitter.lists(choice.strength.shrinkage), held),
        "item-kNN, baskets": _by_table(_cosines(past.baskets), held),
        "item-kNN, buyers": _by_table(_buyer_cosines(data, cut), held),
        "popularity": _popular(past.baskets, held),
    }
    report = {
        asked: _compare({name: hits[asked] for name, hits in answers.items()}, buyers) for asked in ("cart", "one")
    }
    facts = {"baskets": len(held.target), "strength": choice.strength._asdict(), "seconds": seconds, **choice.facts}
    print(json.dumps({"benchmark": "together", "data": options.data.name, "facts": facts, "recall@10": report}))
    return 0


def _completed(table: ComplementTable, held: Carts) -> dict[str, Float64]:
    """What the services list: whether the product held out [B] is among the ten for the cart, and for one product."""
    hits = {}
    for asked, carts in (("cart", held.rest), ("one", held.one)):
        lists = [table.complete(carts.indices[a:b].tolist()).rows[:LISTED] for a, b in _bounds(carts)]
        hits[asked] = np.array([target in rows for target, rows in zip(held.target, lists, strict=True)], np.float64)
    return hits


def _bounds(carts: sparse.csr_matrix) -> list[tuple[int, int]]:
    return list(zip(carts.indptr[:-1].tolist(), carts.indptr[1:].tolist(), strict=True))


def _by_table(table: sparse.csr_matrix, held: Carts) -> dict[str, Float64]:
    return {
        asked: found(carts, table, held.target, LISTED) for asked, carts in (("cart", held.rest), ("one", held.one))
    }


def _cosines(baskets: Groups) -> sparse.csr_matrix:
    """Cosines [N, N] of products over the baskets, without those of a product with itself."""
    counts = np.asarray(baskets.members.sum(axis=0)).ravel()
    scaled = baskets.members @ sparse.diags(1 / np.sqrt(np.maximum(counts, 1)))
    similar = (scaled.T @ scaled).tocsr()
    similar.setdiag(0)
    similar.eliminate_zeros()
    return similar


def _buyer_cosines(data: Dataset, cut: int) -> sparse.csr_matrix:
    """The trainer's baseline: cosines over the buyers' histories before `cut`."""
    events = data.events
    before = np.concatenate([[0], np.cumsum(events.time <= cut)])
    stop = events.start[:-1] + before[events.start[1:]] - before[events.start[:-1]]
    return item_similarities(events, stop, len(data.products))


def _popular(baskets: Groups, held: Carts) -> dict[str, Float64]:
    """The most popular products that are not in the cart."""
    counts = np.asarray(baskets.members.sum(axis=0)).ravel()
    order = np.argsort(-counts, kind="stable")
    hits = {}
    for asked, carts in (("cart", held.rest), ("one", held.one)):
        listed = []
        for (a, b), target in zip(_bounds(carts), held.target.tolist(), strict=True):
            few = order[: LISTED + b - a]
            listed.append(target in few[~np.isin(few, carts.indices[a:b])][:LISTED])
        hits[asked] = np.array(listed, np.float64)
    return hits


def _buyers_of(data: Dataset, baskets: Groups) -> Int64:
    """The buyer of each basket [B] of two products and more, found by its time and its products."""
    owner = {}
    for buyer, product, time_ms in zip(data.events.buyer, data.events.product, data.events.time, strict=True):
        owner[int(time_ms), int(product)] = int(buyer)
    rows = np.flatnonzero(baskets.sizes > 1)
    first = baskets.members.indices[baskets.members.indptr[rows]]
    return np.array([owner[int(end), int(one)] for end, one in zip(baskets.end[rows], first, strict=True)], np.int64)


def _compare(hits: dict[str, Float64], buyers: Int64) -> dict[str, Any]:
    """Recall of each way, and ours over the others with the interval of the ratio."""
    _, group = np.unique(buyers, return_inverse=True)
    draw = np.random.default_rng(SEED)
    weights = [
        np.bincount(draw.integers(0, group.max() + 1, group.max() + 1), minlength=group.max() + 1) for _ in range(1000)
    ]
    sums = {name: np.bincount(group, one) for name, one in hits.items()}
    report: dict[str, Any] = {}
    ours = np.array([sums["complements"] @ one for one in weights])
    for name, one in hits.items():
        report[name] = {"recall": float(one.mean())}
        if name != "complements":
            ratios = ours / np.array([sums[name] @ weight for weight in weights])
            report[name] |= {
                "ours_over_it": float(hits["complements"].mean() / one.mean()),
                "interval": np.percentile(ratios, (2.5, 97.5)).round(3).tolist(),
                "goal": GOALS.get(name),
            }
        print(name, json.dumps(report[name]), flush=True)
    return report


if __name__ == "__main__":
    sys.exit(main())
