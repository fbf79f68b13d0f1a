"""Ranking metrics over the full catalogue, the same for models and baselines."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from trainer.data.events import Events
from trainer.data.matrix import history_matrix
from trainer.data.split import Cases
from trainer.evaluate.baselines import Scorer
from trainer.mapped import drop_pages
from trainer.model.inputs import History, ItemFeatures
from trainer.model.terms import Terms
from trainer.model.towers import TwoTower
from trainer.progress import track
from twotower.arrays import Float32, Float64, Int64, UInt64
from twotower.events import EventSchema
from twotower.history import BuyerInputs, BuyerSequence, to_inputs

CUTS = (10, 20, 100)
# scores held in memory at once: cases x products
_SCORES = 8_000_000
# cases whose histories or scores are in memory at once
_CASES = 256


class Ranks(NamedTuple):
    """The rank [P] of each target (0 = best), its case [P] and product [P]; and the best products, `top` [B, 10]."""

    case: Int64
    rank: Int64
    top: Int64
    product: Int64


def rank_targets(
    scorer: Scorer,
    events: Events,
    cases: Cases,
    ties: UInt64,
    exclude_seen: bool,
    name: str = "evaluating",
    *,
    lists: bool = True,
) -> Ranks:
    """Ranks every target among all products. `ties` [N], a seeded hash of the product, decides between equal scores.

    With `exclude_seen`, products of the history are ranked last, and targets among them are left out. Without `lists`,
    `top` is empty, which halves the time.
    """
    place = np.empty(len(ties), np.int64)
    place[np.argsort(ties, kind="stable")] = np.arange(len(ties))
    k = min(CUTS[0], len(ties)) if lists else 0
    chunk = max(1, min(_CASES, _SCORES // max(len(ties), 1)))
    parts = [Ranks(np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, k), np.int64), np.empty(0, np.int64))]
    for first in track(range(0, len(cases), chunk), name, unit="chunk"):
        part = Cases(*(column[first : first + chunk] for column in cases))
        scores = np.array(scorer(part), np.float32)  # [b, N], a copy: the scorer may keep its own
        row, product = _targets(events, part)
        if exclude_seen:
            seen_row, seen_product = _seen(events, part)
            scores[seen_row, seen_product] = -np.inf
            # not by score: a scorer gives minus infinity to products that it does not know
            fresh = ~np.isin(row * len(ties) + product, seen_row * len(ties) + seen_product)
            row, product = row[fresh], product[fresh]
        ranks = _ranks(scores, place, row, product)
        parts.append(Ranks(row + first, ranks, _top(scores, place, k), product))
    return Ranks(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def metrics(ranks: Ranks, products: int) -> dict[str, float]:
    """Returns recall, NDCG and MRR at 10, 20 and 100 as means over cases with a target, and coverage of the top 10.

    Recall@k = hits / min(k, targets). NDCG has binary gains; its ideal list has min(k, targets) hits.
    """
    means = {name: float(values.mean()) if len(values) else 0.0 for name, values in case_metrics(ranks).items()}
    means["coverage@10"] = float(len(np.unique(ranks.top)) / products) if products else 0.0
    means["cases"] = float(len(np.unique(ranks.case)))
    return means


def case_metrics(ranks: Ranks) -> dict[str, Float64]:
    """Returns recall, NDCG and MRR [C] of each case that has a target, in the order of the cases."""
    cases, place = np.unique(ranks.case, return_inverse=True)
    size = len(cases)
    targets = np.bincount(place, minlength=size)
    values: dict[str, Float64] = {}
    for k in CUTS:
        hit = ranks.rank < k
        ideal = np.concatenate(([0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))))
        possible = np.minimum(targets, k)
        values[f"recall@{k}"] = np.bincount(place[hit], minlength=size) / possible
        gains = np.bincount(place[hit], 1 / np.log2(ranks.rank[hit] + 2), minlength=size)
        values[f"ndcg@{k}"] = gains / ideal[possible]
        first = np.full(size, np.inf)
        np.minimum.at(first, place, ranks.rank)
        values[f"mrr@{k}"] = np.where(first < k, 1 / (first + 1), 0.0)
    return values


def list_metrics(ranks: Ranks, counts: Int64) -> dict[str, Float64]:
    """Describes the ten recommended products of each case that has a target [C].

    `popularity@10` is their mean number of training events (`counts` [N]), `new@10` the share that has none.
    """
    top = counts[ranks.top[np.unique(ranks.case)]]  # [C, 10]
    return {"popularity@10": top.mean(axis=1), "new@10": (top == 0).mean(axis=1)}


def model_scorer(model: TwoTower, features: ItemFeatures, events: Events, schema: EventSchema, longest: int) -> Scorer:
    """Scores [B, N] of a trained model's vectors: buyer vectors of the histories x all item vectors."""
    items = item_vectors(model, features)

    def score(cases: Cases) -> Float32:
        return buyer_vectors(model, items, events, cases, schema, longest) @ items.T

    return score


def known_scorer(buyers: Float32, cases: Cases, items: Float32) -> Scorer:
    """Scores [B, N] of buyer vectors [C, D] that are known for all `cases` [C] that it will be asked for."""
    return lambda asked: buyers[np.searchsorted(cases.cut, asked.cut)] @ items.T


def fused_scorer(vectors: Scorer, terms: Terms, events: Events, products: int) -> Scorer:
    """Scores [B, N] as they are served: the weighted scores of the vectors, plus neighbours and prior."""
    fusion = terms.fusion
    table = None if terms.neighbours is None else terms.neighbours * np.float32(fusion.neighbour_weight)

    def score(cases: Cases) -> Float32:
        if fusion.vector_weight:
            scores = vectors(cases) * np.float32(fusion.vector_weight)
        else:
            scores = np.zeros((len(cases), products), np.float32)
        if table is not None:
            histories = history_matrix(events, cases, products, fusion.steps, fusion.decay)
            scores += (histories @ table).toarray()
        if fusion.own_weight:
            own = history_matrix(events, cases, products, fusion.own_steps, fusion.own_decay)
            scores += (own * np.float32(fusion.own_weight)).toarray()
        if terms.prior is not None:
            scores += terms.prior * np.float32(fusion.prior_weight)
        return scores

    return score


@torch.no_grad()
def item_vectors(model: TwoTower, features: ItemFeatures, chunk: int = 16_384) -> Float32:
    """Encodes every product: vectors [N, D]."""
    model.eval()
    count = len(features.text)
    vectors = np.empty((count, model.item.projection.out_features), np.float32)
    for start in range(0, count, chunk):
        part = model.items(ItemFeatures(*(column[start : start + chunk] for column in features)))
        vectors[start : start + chunk] = part.cpu().numpy()
        drop_pages()
    return vectors


@torch.no_grad()
def buyer_vectors(
    model: TwoTower, items: Float32, events: Events, cases: Cases, schema: EventSchema, longest: int
) -> Float32:
    """Encodes the latest `longest` interactions of each history: vectors [B, D]."""
    model.eval()
    device = model.log_temperature.device
    vectors = np.empty((len(cases), items.shape[1]), np.float32)
    for first in range(0, len(cases), _CASES):
        part = slice(first, first + _CASES)
        batch = history_inputs(events, Cases(*(column[part] for column in cases)), schema, longest)
        arrays = (items[batch.rows], batch.weights, batch.types, batch.ages, batch.mask)
        history = History(*(torch.from_numpy(array).to(device) for array in arrays))
        vectors[part] = model.buyer(*history).cpu().numpy()
    return vectors


def history_inputs(events: Events, cases: Cases, schema: EventSchema, longest: int) -> BuyerInputs:
    """Returns the latest `longest` interactions of each history as inputs of the buyer tower."""
    sequences = []
    for start, cut in zip(cases.start, cases.cut, strict=True):
        last = slice(max(start, cut - longest), cut)
        rows, types = events.product[last].astype(np.int64), events.kind[last].astype(np.int64)
        sequences.append(BuyerSequence(rows, types, events.time[last]))
    return to_inputs(sequences, schema)


def _targets(events: Events, cases: Cases) -> tuple[Int64, Int64]:
    """Returns the row and the product [P] of every distinct target."""
    rows = np.repeat(np.arange(len(cases)), cases.stop - cases.cut)
    places = np.concatenate([np.arange(cut, stop) for cut, stop in zip(cases.cut, cases.stop, strict=True)])
    pairs = np.unique(np.stack((rows, events.product[places])), axis=1)
    return pairs[0], pairs[1]


def _seen(events: Events, cases: Cases) -> tuple[Int64, Int64]:
    """Returns the row and the product [M] of every event of the histories."""
    rows = np.repeat(np.arange(len(cases)), cases.cut - cases.start)
    products = [events.product[start:cut] for start, cut in zip(cases.start, cases.cut, strict=True)]
    return rows, np.concatenate(products)


def _ranks(scores: Float32, place: Int64, row: Int64, product: Int64) -> Int64:
    """Counts the products that rank above each target [P]; of equal scores the smaller `place` [N] ranks first."""
    ranks = np.empty(len(row), np.int64)
    # one row at a time stays in the processor's cache
    for target, (case, own) in enumerate(zip(row.tolist(), product.tolist(), strict=True)):
        every = scores[case]
        ranks[target] = np.count_nonzero(every > every[own])
        level = np.flatnonzero(every == every[own])
        if len(level) > 1:
            ranks[target] += np.count_nonzero(place[level] < place[own])
    return ranks


def _top(scores: Float32, place: Int64, k: int) -> Int64:
    """Returns the best `k` products [B, k], best first; of equal scores the smaller `place` [N] is first."""
    top = np.empty((len(scores), k), np.int64)
    if not k:
        return top
    lowest = torch.topk(torch.from_numpy(scores), k, dim=1, sorted=False).values.numpy().min(axis=1)
    for case, limit in enumerate(lowest):
        chosen = np.flatnonzero(scores[case] >= limit)  # more than k if scores are equal to the k-th best
        top[case] = chosen[np.lexsort((place[chosen], -scores[case, chosen]))[:k]]
    return top


def describe(means: dict[str, Any]) -> str:
    """Returns the main metrics as one log line."""
    return f"recall@10 {means['recall@10']:.4f}, ndcg@10 {means['ndcg@10']:.4f}, coverage@10 {means['coverage@10']:.1%}"
