"""One list with the rules in force and with others, side by side. Nothing of it is logged or counted as shown."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import NamedTuple

from gateway.clients.deadline import Deadline
from gateway.pipeline import buyer_lists, habit_lists, product_lists, searches
from gateway.pipeline.answers import ProductList
from gateway.pipeline.parts import Pipeline
from gateway.rules.plans import RulePlans
from gateway.schemas.requests import (
    AgainQuery,
    PopularQuery,
    RetrieveQuery,
    SearchQuery,
    SimilarQuery,
    TogetherQuery,
    TrendingQuery,
)
from gateway.schemas.rule import Rules
from gateway.schemas.rules import PreviewBody
from twotower.pb import retrieval_pb2
from twotower.serving import wire


class Previewed(NamedTuple):
    """A product of a list, its score, and the rule that moved it there."""

    product: retrieval_pb2.Product
    score: float
    placed_by: str | None


class Preview:
    """Asks a pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        # an exploration would show other products each time
        self._pipeline = replace(pipeline, log=None, exploration=None)

    async def lists(self, body: PreviewBody, rules: Rules, deadline: Deadline) -> list[list[Previewed]]:
        """The list as it is, and as it would be. Raises what the pipeline raises."""
        assert self._pipeline.rules is not None
        draft = replace(self._pipeline, rules=self._pipeline.rules.with_plans(RulePlans(rules)))
        return await asyncio.gather(*(_list(one, body, deadline) for one in (self._pipeline, draft)))


async def _list(pipeline: Pipeline, body: PreviewBody, deadline: Deadline) -> list[Previewed]:
    found = await _asked(pipeline, body)(deadline)
    ids = wire.unpack_ids(found.hits.packed_ids)
    assert found.products is not None
    return [
        Previewed(product, float(score), found.placed_by.get(one))
        for one, product, score in zip(ids, found.products, found.hits.scores, strict=True)
    ]


def _asked(pipeline: Pipeline, body: PreviewBody) -> Callable[[Deadline], Awaitable[ProductList]]:
    k, slot, include = body.k, body.slot, ("products",)
    if body.route is not None:
        return _habit_or_cart(pipeline, body)
    if body.buyer_id is not None:
        retrieve = RetrieveQuery.model_construct(k=k, slot=slot, include=include, buyer_id=body.buyer_id)
        return lambda deadline: buyer_lists.retrieve(pipeline, retrieve, deadline)
    if body.query is not None:
        search = SearchQuery.model_construct(k=k, slot=slot, include=include, q=body.query)
        return lambda deadline: searches.search(pipeline, search, deadline)
    if body.product_id is not None:
        similar = SimilarQuery.model_construct(k=k, slot=slot, include=include, product_id=body.product_id)
        return lambda deadline: product_lists.similar(pipeline, similar, deadline)
    popular = PopularQuery.model_construct(k=k, slot=slot, include=include)
    return lambda deadline: buyer_lists.popular(pipeline, popular, deadline)


def _habit_or_cart(pipeline: Pipeline, body: PreviewBody) -> Callable[[Deadline], Awaitable[ProductList]]:
    k, slot, include = body.k, body.slot, ("products",)
    if body.route == "again":
        again = AgainQuery.model_construct(k=k, slot=slot, include=include, buyer_id=body.buyer_id)
        now_ms = round(time.time() * 1000)
        return lambda deadline: habit_lists.again(pipeline, again, now_ms, deadline)
    if body.route == "together":
        together = TogetherQuery.model_construct(k=k, slot=slot, include=include, product_id=body.product_id)
        return lambda deadline: product_lists.together(pipeline, together, deadline)
    trending = TrendingQuery.model_construct(k=k, slot=slot, include=include)
    return lambda deadline: habit_lists.trending(pipeline, trending, deadline)
