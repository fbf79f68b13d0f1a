"""The handlers of the lists: for a buyer, beside a product, for a cart, popular, regular and rising."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from gateway.admission import cost_of_store
from gateway.api.list_finder import Ask, ListFinder, route_of
from gateway.api.request_reader import RequestReader
from gateway.api.responses import list_response, trending_response
from gateway.api.state import live_of
from gateway.auth.guard import check_buyer
from gateway.clients.deadline import Deadline
from gateway.history.clock import SharedClock
from gateway.pipeline import buyer_lists, habit_lists, product_lists
from gateway.pipeline.answers import ProductList
from gateway.pipeline.parts import ListedQuery, Pipeline
from gateway.schemas.requests import (
    AgainQuery,
    CompleteBody,
    PopularQuery,
    RetrieveQuery,
    SimilarQuery,
    TogetherQuery,
    TrendingQuery,
)


class ListRoutes:
    """One handler a list: decode, call, encode."""

    def __init__(self, reader: RequestReader, finder: ListFinder, clock: SharedClock) -> None:
        self._reader, self._finder, self._clock = reader, finder, clock

    async def retrieve(self, request: Request) -> Response:
        query = self._reader.query(RetrieveQuery, request)
        check_buyer(request, query.owner)
        live, deadline = live_of(request), self._reader.deadline()
        plan = live.experiments.plan(query)

        def log_shadow(asked: RetrieveQuery, answer: ProductList) -> None:
            self._finder.log(live.pipeline, asked, answer, "shadows")

        async def ask() -> ProductList:
            return await live.experiments.retrieve(plan, live.pipeline, deadline, log_shadow)

        answer = await self._finder.find(live.pipeline, plan.query, deadline, ask, plan.lists)
        return list_response("/retrieve", answer)

    async def retrieve_of(self, request: Request) -> Response:
        """As `retrieve`, of the version in the path."""
        query, deadline = self._reader.query(RetrieveQuery, request), self._reader.deadline()
        pipeline, version = live_of(request).pipeline, request.path_params["version"]
        answer = await self._finder.find_unlogged(
            query, deadline, lambda: buyer_lists.retrieve(pipeline, query, deadline, version)
        )
        return list_response("/retrieve", answer)

    async def similar(self, request: Request) -> Response:
        query, deadline = self._reader.query(SimilarQuery, request), self._reader.deadline()
        pipeline = live_of(request).pipeline
        return await self._list(pipeline, query, deadline, lambda: product_lists.similar(pipeline, query, deadline))

    async def together(self, request: Request) -> Response:
        query, deadline = self._reader.query(TogetherQuery, request), self._reader.deadline()
        pipeline = live_of(request).pipeline
        return await self._list(pipeline, query, deadline, lambda: product_lists.together(pipeline, query, deadline))

    async def complete(self, request: Request) -> Response:
        async with self._reader.body(request, cost_of_store) as given:
            body, deadline = self._reader.parse(CompleteBody, given.body), given.deadline
            if body.buyer_id is not None:
                check_buyer(request, body.buyer_id)
            pipeline = live_of(request).pipeline
            return await self._list(pipeline, body, deadline, lambda: product_lists.together(pipeline, body, deadline))

    async def popular(self, request: Request) -> Response:
        query, deadline = self._reader.query(PopularQuery, request), self._reader.deadline()
        pipeline = live_of(request).pipeline
        return await self._list(pipeline, query, deadline, lambda: buyer_lists.popular(pipeline, query, deadline))

    async def again(self, request: Request) -> Response:
        query = self._reader.query(AgainQuery, request)
        check_buyer(request, query.owner)
        pipeline, deadline, now_ms = live_of(request).pipeline, self._reader.deadline(), self._clock.good_ms()
        return await self._list(pipeline, query, deadline, lambda: habit_lists.again(pipeline, query, now_ms, deadline))

    async def trending(self, request: Request) -> Response:
        query, deadline = self._reader.query(TrendingQuery, request), self._reader.deadline()
        pipeline = live_of(request).pipeline
        answer = await self._finder.find(
            pipeline, query, deadline, lambda: habit_lists.trending(pipeline, query, deadline)
        )
        return trending_response(answer)

    async def _list(self, pipeline: Pipeline, query: ListedQuery, deadline: Deadline, ask: Ask) -> Response:
        return list_response(route_of(query), await self._finder.find(pipeline, query, deadline, ask))
