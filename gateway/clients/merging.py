"""Merges what the shards of the retrieval service answer to one query into what the whole would have answered.

Pure functions. `parts` are the answers of the shards, at least one, asked with `for_merge`; protos/retrieval.proto says
what they hold, docs/scaling.md why the merged answer is that of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.clients.answers import Hits, RegularHits, RisingHits, Together
from gateway.clients.hits import join, take
from twotower.arrays import Float32, Int64
from twotower.merging import best_of, by_price, choose_diverse, named_score
from twotower.pb import retrieval_pb2
from twotower.search.diversity import candidates
from twotower.serving import wire


class _Merged(NamedTuple):
    """The merged hits; `places` of its products among those of all parts, one after another."""

    hits: Hits
    places: Int64


def merge_hits(query: retrieval_pb2.Query, parts: Sequence[Hits], diversity: float = 0.0) -> Hits:
    """The list of all products for one query. `diversity` is the query's, for a call in which it has an effect."""
    return _merge(query, parts, diversity).hits


def merge_regular(query: retrieval_pb2.Query, parts: Sequence[RegularHits]) -> RegularHits:
    """What a buyer buys again. Why there is nothing, each shard knows."""
    hits, places = _merge(query, [one.hits for one in parts])
    due = [one for part in parts for one in part.due]
    return RegularHits(hits, [due[place] for place in places.tolist()], parts[0].missing)


def merge_rising(query: retrieval_pb2.Query, parts: Sequence[RisingHits]) -> RisingHits:
    """Rising products; each shard knows the window."""
    hits, places = _merge(query, [one.hits for one in parts])
    buyers = np.concatenate([one.buyers for one in parts])
    expected = np.concatenate([one.expected for one in parts])
    return RisingHits(hits, buyers[places], expected[places], parts[0].counted)


def merge_together(query: retrieval_pb2.Query, parts: Sequence[Together]) -> Together:
    """What completes a cart. Each shard knows which products of the cart are unknown."""
    hits, places = _merge(query, [one.hits for one in parts])
    because = [one for part in parts for one in part.because]
    is_known = [one for part in parts for one in part.is_known]
    listed = places.tolist()
    return Together(hits, [because[one] for one in listed], [is_known[one] for one in listed], parts[0].unknown)


def merge_found(parts: Sequence[Sequence[retrieval_pb2.Product]]) -> list[retrieval_pb2.Product]:
    """The details of each product, from the shard that holds it."""
    return [next((one for one in row if one.found), row[0]) for row in zip(*parts, strict=True)]


def _merge(query: retrieval_pb2.Query, parts: Sequence[Hits], diversity: float = 0.0) -> _Merged:
    joined, starts = join(parts), np.cumsum([0, *(len(one.scores) for one in parts)])
    proper, also, named = _lists(parts, starts)
    scores, orders = joined.scores, _column(parts, "orders", "<i8")
    best = proper[best_of(scores[proper], orders[proper], candidates(query.k, diversity))]
    # the shard with the best product of all knows whether it is an answer
    is_below = bool(len(best)) and parts[int(np.searchsorted(starts, best[0], "right")) - 1].is_below_noise
    chosen = best[: query.k]
    if diversity and len(best):
        vectors = _vectors(parts)[np.searchsorted(proper, best)]
        chosen = best[choose_diverse(scores[best], vectors, query.k, diversity)]
    if query.sort and len(chosen):
        prices = _column(parts, "prices", "<f8")[chosen]
        chosen = chosen[by_price(prices, descending=query.sort == retrieval_pb2.PRICE_DESC)]
    flags = _column(parts, "follower_flags", "u1")
    followers = int(flags[chosen].sum()) if len(flags) else 0
    if len(named):
        chosen, scores, is_below = _named_first(joined, int(named[0]), chosen, query.k), scores.copy(), False
        scores[chosen[0]] = named_score(scores[chosen[1:]])
    places = np.concatenate([chosen, also[np.argsort(orders[also])]])
    hits = take(joined._replace(scores=scores), places)
    return _Merged(
        hits._replace(also=len(also), is_below_noise=is_below, followers=followers, merge=None),
        places,
    )


def _lists(parts: Sequence[Hits], starts: Int64) -> tuple[Int64, Int64, Int64]:
    """The places of the list proper, of the products of `also`, and of the named product."""
    kinds = [
        np.repeat(np.arange(3), [len(one.scores) - one.also - _named(one), one.also, _named(one)]) for one in parts
    ]
    kind = np.concatenate(kinds)
    proper, also, named = (np.flatnonzero(kind == one) for one in range(3))
    return proper, also, named


def _named(part: Hits) -> int:
    return part.merge.named if part.merge is not None else 0


def _named_first(joined: Hits, named: int, chosen: Int64, k: int) -> Int64:
    """The named product, and the others without it."""
    ids = wire.unpack_ids(joined.packed_ids)
    others = [place for place in chosen.tolist() if ids[place] != ids[named]]
    return np.array([named, *others[: k - 1]], np.int64)


def _column(parts: Sequence[Hits], field: str, dtype: str) -> NDArray[Any]:
    """A packed field of all parts, one number per product; empty if no part has it."""
    return np.frombuffer(b"".join(getattr(one.merge, field) for one in parts if one.merge is not None), dtype)


def _vectors(parts: Sequence[Hits]) -> Float32:
    """The vectors [M, D] of the list proper of all parts."""
    rows = [
        np.frombuffer(one.merge.vectors, "<f4").reshape(len(one.scores) - one.also - one.merge.named, -1)
        for one in parts
        if one.merge is not None and one.merge.vectors
    ]
    return np.concatenate(rows)
