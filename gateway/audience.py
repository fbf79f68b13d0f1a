"""Who a product is recommended to, among the buyers who were active last."""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from gateway.clients.deadline import Deadline
from gateway.history.codec import WRITTEN_KEYS
from gateway.history.connection import Batch
from gateway.history.redis_client import RedisClient
from gateway.pipeline import buyer_lists
from gateway.pipeline.parts import Pipeline
from gateway.schemas.requests import RetrieveQuery
from twotower.event_log import GUEST
from twotower.serving import wire

# buyers who are looked at, the length of their lists, and how many lists are computed at a time
SAMPLE, LENGTH = 120, 100
_TOGETHER = 16


class Listed(NamedTuple):
    """A buyer, and the product's place in the buyer's list, from 1."""

    buyer_id: str
    place: int


async def recent_buyers(redis: RedisClient, count: int) -> list[str]:
    """Buyers by the time of their last event, newest first, without guests; the newest of each shard alone.

    Raises Unavailable if Redis is down.
    """
    found = await redis.ask_each([Batch(key, [("ZREVRANGE", key, 0, 0, "WITHSCORES")]) for key in WRITTEN_KEYS])
    newest = [(float(pair[1]), pair[0].decode()) for (pair,) in found if pair]
    named = sorted(((-time, buyer) for time, buyer in newest if not buyer.startswith(GUEST)))
    return [buyer for _, buyer in named[:count]]


async def audience(pipeline: Pipeline, product_id: str, buyers: list[str], deadline: Deadline) -> list[Listed]:
    """Those of `buyers` whose list of `LENGTH` products has the product, the best place first.

    A buyer without a list of their own has no part in it.
    """
    places, room = dict[str, int](), asyncio.Semaphore(_TOGETHER)

    async def look(buyer: str) -> None:
        query = RetrieveQuery.model_construct(buyer_id=buyer, k=LENGTH)
        async with room:
            answer = await buyer_lists.retrieve(pipeline, query, deadline)
        ids = wire.unpack_ids(answer.hits.packed_ids)
        if answer.source == "model" and product_id in ids:
            places[buyer] = ids.index(product_id) + 1

    await asyncio.gather(*map(look, buyers))
    return sorted((Listed(*one) for one in places.items()), key=lambda one: (one.place, one.buyer_id))
