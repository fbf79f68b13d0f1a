"""Merges what the shards of the retrieval service answer to one question into what the whole would have answered.

Each shard ranks its own products with the scores of the whole. So the best k of the union of each shard's best k are
the best k of all products, and `ties` (see `MergeKeys`) decides among equal scores as it does in one index.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gateway.clients.hits import join, take
from gateway.clients.services import Hits, MergeKeys, RegularHits, RisingHits, Together
from twotower.arrays import Int64
from twotower.merging import diversify
from twotower.pb import retrieval_pb2
from twotower.serving import wire

# a named product scores at least the cosine of a text with itself
_NAMED_SCORE = 1.0


def merge_hits(query: retrieval_pb2.Query, parts: Sequence[Hits]) -> Hits:
    """The hits of the whole for one query. `parts`: those of each shard, at least one, asked with `for_merge`."""
    return _whole(query, parts, _chosen(query, parts))


def merge_regular(query: retrieval_pb2.Query, parts: Sequence[RegularHits]) -> RegularHits:
    """What a buyer buys again; a shard that holds none of it says REPEATS, which counts only if all say it."""
    hits = [one.hits for one in parts]
    order = _chosen(query, hits)
    due = [one for part in parts for one in part.due]
    missing = [one.missing for one in parts]
    reason = retrieval_pb2.NOTHING if retrieval_pb2.NOTHING in missing else missing[0]
    return RegularHits(_whole(query, hits, order), [due[place] for place in order.tolist()], reason)


def merge_rising(query: retrieval_pb2.Query, parts: Sequence[RisingHits]) -> RisingHits:
    """Rising products; all shards count the same window."""
    hits = [one.hits for one in parts]
    order = _chosen(query, hits)
    buyers, expected = (np.concatenate(column) for column in zip(*((one.buyers, one.expected) for one in parts)))
    return RisingHits(_whole(query, hits, order), buyers[order], expected[order], parts[0].counted)


def merge_together(query: retrieval_pb2.Query, parts: Sequence[Together]) -> Together:
    """What completes a cart. A product of the cart is unknown if no shard knows it."""
    hits = [one.hits for one in parts]
    order = _chosen(query, hits)
    because, is_known = ([value for one in parts for value in one[column]] for column in (1, 2))
    return Together(
        _whole(query, hits, order),
        [because[place] for place in order.tolist()],
        [is_known[place] for place in order.tolist()],
        _of_all([one.unknown for one in parts]),
    )


def merge_found(parts: Sequence[Sequence[retrieval_pb2.Product]]) -> list[retrieval_pb2.Product]:
    """The details of each product, from the shard that holds it."""
    return [next((one for one in row if one.found), row[0]) for row in zip(*parts, strict=True)]
