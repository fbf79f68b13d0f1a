"""Ranking metrics over the full catalogue, for models and baselines alike."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.baselines import Scorer
from trainer.dataset import Dataset, Events
from trainer.model import History, ItemFeatures, TwoTower
from trainer.progress import track
from trainer.split import Cases
from twotower.events import EventSchema
from twotower.history import BuyerInputs, BuyerSequence, to_inputs

Float32 = NDArray[np.float32]
Int64 = NDArray[np.int64]
CUTS = (10, 20, 100)
# scores held at once: cases times products
_SCORES = 32_000_000


class Ranks(NamedTuple):
    """Ranks [P] of targets (0 = best) and the case each belongs to; `top` [B, 10] are the best products."""

    case: Int64
    rank: Int64
    top: Int64


def rank_targets(
    scorer: Scorer, events: Events, cases: Cases, ties: NDArray[np.uint64], exclude_seen: bool, name: str = "evaluating"
) -> Ranks:
    """Ranks every target among all products. Ties in score go by `ties`, a seeded hash of the product.

    With `exclude_seen`, products of the history are ranked last, and targets among them are left out.
    """
    tie_rank = np.argsort(np.argsort(ties))
    case_of, ranks, tops = [], [], []
    chunk = max(1, min(256, _SCORES // max(len(ties), 1)))
    for first in track(range(0, len(cases), chunk), name, unit="chunk"):
        part = Cases(*(column[first : first + chunk] for column in cases))
        scores = np.array(scorer(part), np.float32)  # [b, N], a copy that may be changed
        row, product = _targets(events, part)
        if exclude_seen:
            seen = _seen(events, part, scores.shape[1])
            scores[seen] = -np.inf
            fresh = ~seen[row, product]
            row, product = row[fresh], product[fresh]
        own = scores[row, product][:, None]
        better = scores[row] > own
        level = (scores[row] == own) & (tie_rank[None, :] < tie_rank[product][:, None])
        case_of.append(row + first)
        ranks.append((better | level).sum(axis=1))
        tops.append(_top(scores, tie_rank, CUTS[0]))
    empty = np.empty(0, np.int64)
    return Ranks(
        np.concatenate([empty, *case_of]),
        np.concatenate([empty, *ranks]),
        np.concatenate(tops) if tops else np.empty((0, CUTS[0]), np.int64),
    )


def metrics(ranks: Ranks, products: int) -> dict[str, float]:
    """Recall, NDCG and MRR at 10, 20 and 100, means over cases with a target; coverage of the top 10.

    Recall@k = hits / min(k, targets); NDCG has binary gains and an ideal of min(k, targets) hits.
    """
    found: dict[str, float] = {}
    per_case = case_metrics(ranks)
    for key, values in per_case.items():
        found[key] = float(values.mean()) if len(values) else 0.0
    found["coverage@10"] = float(len(np.unique(ranks.top)) / products) if products else 0.0
    found["cases"] = float(len(np.unique(ranks.case)))
    return found


def case_metrics(ranks: Ranks) -> dict[str, NDArray[np.float64]]:
    """The same for each case that has a target [C], in order of the cases."""
    cases, place = np.unique(ranks.case, return_inverse=True)
    size = len(cases)
    targets = np.bincount(place, minlength=size)
    found: dict[str, NDArray[np.float64]] = {}
    for k in CUTS:
        hit = ranks.rank < k
        ideal = np.concatenate(([0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))))
        possible = np.minimum(targets, k)
        found[f"recall@{k}"] = np.bincount(place[hit], minlength=size) / possible
        gains = np.bincount(place[hit], 1 / np.log2(ranks.rank[hit] + 2), minlength=size)
        found[f"ndcg@{k}"] = gains / ideal[possible]
        first = np.full(size, np.inf)
        np.minimum.at(first, place, ranks.rank)
        found[f"mrr@{k}"] = np.where(first < k, 1 / (first + 1), 0.0)
    return found


def model_scorer(model: TwoTower, features: ItemFeatures, data: Dataset, schema: EventSchema, longest: int) -> Scorer:
    """Scores [B, N] of a trained model: buyer vectors of the histories times all item vectors."""
    items = item_vectors(model, features)

    def score(cases: Cases) -> Float32:
        return buyer_vectors(model, items, data.events, cases, schema, longest) @ items.T

    return score


@torch.no_grad()
def item_vectors(model: TwoTower, features: ItemFeatures, chunk: int = 16_384) -> Float32:
    """Vectors [N, D] of every product."""
    model.eval()
    count = len(features.text)
    parts = [
        model.items(ItemFeatures(*(column[start : start + chunk] for column in features))).cpu().numpy()
        for start in range(0, count, chunk)
    ]
    return np.concatenate(parts)


@torch.no_grad()
def buyer_vectors(
    model: TwoTower, items: Float32, events: Events, cases: Cases, schema: EventSchema, longest: int
) -> Float32:
    """Vectors [B, D] of the cases' histories, the latest `longest` interactions of each."""
    model.eval()
    batch = history_inputs(events, cases, schema, longest)
    device = model.log_temperature.device
    arrays = (items[batch.rows], batch.weights, batch.types, batch.ages, batch.mask)
    vectors: Float32 = model.buyer(*History(*(torch.from_numpy(array).to(device) for array in arrays))).cpu().numpy()
    return vectors


def history_inputs(events: Events, cases: Cases, schema: EventSchema, longest: int) -> BuyerInputs:
    """The cases' histories as the buyer tower takes them."""
    sequences = []
    for start, cut in zip(cases.start, cases.cut, strict=True):
        last = slice(max(start, cut - longest), cut)
        rows, types = events.product[last].astype(np.int64), events.kind[last].astype(np.int64)
        sequences.append(BuyerSequence(rows, types, events.time[last]))
    return to_inputs(sequences, schema)


def _targets(events: Events, cases: Cases) -> tuple[Int64, Int64]:
    """(row, product) of every distinct target."""
    rows = np.repeat(np.arange(len(cases)), cases.stop - cases.cut)
    places = np.concatenate([np.arange(cut, stop) for cut, stop in zip(cases.cut, cases.stop, strict=True)])
    pairs = np.unique(np.stack((rows, events.product[places])), axis=1)
    return pairs[0], pairs[1]


def _seen(events: Events, cases: Cases, products: int) -> NDArray[np.bool_]:
    seen = np.zeros((len(cases), products), np.bool_)
    for row, (start, cut) in enumerate(zip(cases.start, cases.cut, strict=True)):
        seen[row, events.product[start:cut]] = True
    return seen


def _top(scores: Float32, tie_rank: Int64, k: int) -> Int64:
    """The best `k` products [B, k] of each row, best first; ties by `tie_rank`, at the last place too."""
    size = scores.shape[1]
    k = min(k, size)
    least = np.partition(scores, size - k, axis=1)[:, size - k]  # the k-th best score of each row
    tops = np.empty((len(scores), k), np.int64)
    for row, level in enumerate(least):
        better, level_with = np.flatnonzero(scores[row] > level), np.flatnonzero(scores[row] == level)
        wanted = k - len(better)
        first = level_with[np.argpartition(tie_rank[level_with], wanted - 1)[:wanted]]
        chosen = np.concatenate((better, first))
        tops[row] = chosen[np.lexsort((tie_rank[chosen], -scores[row, chosen]))]
    return tops


def describe(found: dict[str, Any]) -> str:
    """One line for people."""
    return f"recall@10 {found['recall@10']:.4f}, ndcg@10 {found['ndcg@10']:.4f}, coverage@10 {found['coverage@10']:.1%}"
