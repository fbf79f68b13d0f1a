"""What the training's buyers were like, in the version's own files: services count what they see in the same bins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from twotower.arrays import Float64
from twotower.artifact.catalogue import read_product_rows
from twotower.artifact.manifest import Bins
from twotower.artifact.version import Version
from twotower.events import EventSchema
from twotower.graphs.towers import BuyerTower
from twotower.history import BuyerSequence, read_recent, to_inputs
from twotower.search.fused import FusedSearch
from twotower.search.fused_score import FusedScore
from twotower.search.milvus_address import MilvusAddress
from twotower.search.version_index import open_index

# buyers at most; half of them are enough for tenths: a share of 0.1 then has a standard error of 0.01
_BUYERS = 2000
_BINS = 10

Item = TypeVar("Item")


class _History(NamedTuple):
    sequence: BuyerSequence
    seen: list[int]


def training_bins(version: Version, threads: int) -> dict[str, Bins]:
    """How `history_length` and `best_score` are distributed over the version's recent histories, as services see them.

    `best_score` is that of the first product of an unfiltered list. Empty if the version has no histories.
    """
    histories = _histories(version)
    if not histories:
        return {}
    files, manifest = version.layout, version.manifest
    index = open_index(version, MilvusAddress.from_environment())
    fused, tower = FusedSearch(index, FusedScore.load(version)), BuyerTower(files.buyer_tower, threads)
    batch = to_inputs([one.sequence for one in histories], EventSchema(manifest.event_weights))
    vectors = tower.encode(np.asarray(index.vectors[batch.rows]), batch)
    newest = [list(one.sequence.rows)[::-1] for one in histories]
    without = [np.unique(one.seen) if manifest.exclude_seen else np.empty(0, np.int64) for one in histories]
    found = fused.search(vectors, newest, [1] * len(histories), without)
    scores = [float(hits.scores[0]) for hits in found if len(hits.scores)]
    lengths = [float(len(one.sequence.rows)) for one in histories]
    return {"history_length": in_bins(lengths), **({"best_score": in_bins(scores)} if scores else {})}


def in_bins(values: Sequence[float]) -> Bins:
    """The values in ten bins of equal shares, or in fewer if many are equal. An edge belongs to the bin below it."""
    tenths = np.quantile(values, np.arange(1, _BINS) / _BINS, method="lower")
    # nothing may lie above the last edge: that bin would have no share, and any row in it would be infinitely far
    edges: Float64 = np.unique(tenths[tenths < max(values)])
    counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)
    return Bins(edges=edges.tolist(), shares=(counts / counts.sum()).tolist())


def _histories(version: Version) -> list[_History]:
    """Every n-th history, oldest interaction first, such that there are at most 2,000."""
    manifest, rows = version.manifest, read_product_rows(version.layout.ids)
    codes = EventSchema(manifest.event_weights).codes
    histories = []
    for interactions in every_nth((one for _, one in read_recent(version.layout.recent) if one), _BUYERS):
        known = [one for one in interactions if one.product_id in rows]
        if known:
            places, last = [rows[one.product_id] for one in known], known[-manifest.max_history :]
            columns = zip(
                *((rows[one.product_id], codes[one.event_type], one.timestamp_ms) for one in last), strict=True
            )
            histories.append(_History(BuyerSequence(*(np.array(column, np.int64) for column in columns)), places))
    return histories


def every_nth(items: Iterable[Item], most: int) -> list[Item]:
    """Every n-th item, from the first on: n is the smallest power of two that gives at most `most` of them."""
    kept: list[Item] = []
    step = 1
    for number, one in enumerate(items):
        if number % step == 0:
            kept.append(one)
        if len(kept) > most:
            kept, step = kept[::2], step * 2
    return kept
