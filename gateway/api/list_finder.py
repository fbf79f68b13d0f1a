"""Finds lists of products when there is room for what they cost, and logs them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

from gateway.admission import Admission, cost_of_list
from gateway.clients.deadline import Deadline
from gateway.history.clock import SharedClock
from gateway.pipeline.answers import ProductList
from gateway.pipeline.parts import ListedQuery, Pipeline
from gateway.schemas import requests
from twotower.event_log import ListRecord
from twotower.experiments import recommendation_id
from twotower.serving import telemetry

Ask = Callable[[], Awaitable[ProductList]]
_ROUTES: dict[type[ListedQuery], str] = {
    requests.RetrieveQuery: "/retrieve",
    requests.SimilarQuery: "/similar",
    requests.SearchQuery: "/search",
    requests.PopularQuery: "/popular",
    requests.AgainQuery: "/again",
    requests.TrendingQuery: "/trending",
    requests.TogetherQuery: "/together",
    requests.CompleteBody: "/complete",
}


def route_of(query: ListedQuery) -> str:
    """The route that takes this query."""
    return _ROUTES[type(query)]


class ListFinder:
    """Runs what finds a list. Raises Overloaded if there is no room for what the list costs."""

    def __init__(self, admission: Admission, clock: SharedClock) -> None:
        self._admission = admission
        self._clock = clock

    async def find(
        self, pipeline: Pipeline, query: ListedQuery, deadline: Deadline, ask: Ask, lists: int = 1
    ) -> ProductList:
        """The list that `ask` finds, if there is room for what `lists` of them cost. Logs it."""
        answer = await self._admission.run(lists * cost_of_list(query), deadline, ask)
        self.log(pipeline, query, answer)
        await pipeline.note_shown(query, answer)
        return answer

    async def find_unlogged(self, query: ListedQuery, deadline: Deadline, ask: Ask) -> ProductList:
        """The list that `ask` finds, which no buyer sees."""
        return await self._admission.run(cost_of_list(query), deadline, ask)

    def log(
        self,
        pipeline: Pipeline,
        query: ListedQuery,
        answer: ProductList,
        kind: Literal["lists", "shadows"] = "lists",
    ) -> None:
        """Writes the list into the event log, if there is one and the list is one of its sample."""
        if pipeline.log and pipeline.log.takes_list():
            pipeline.log.served(_list_record(query, answer, self._clock.good_ms()), kind)


def _list_record(query: ListedQuery, answer: ProductList, now_ms: int) -> ListRecord:
    experiment, arm, teams = answer.assignment or (None, None, None)
    return ListRecord(
        recommendation_id=recommendation_id(telemetry.request_id.get(), answer.assignment),
        served_ms=now_ms,
        route=route_of(query),
        slot=query.slot,
        buyer_id=query.buyer_id if isinstance(query, requests.BuyerOrGuest | requests.CompleteBody) else None,
        session_id=query.session_id,
        query=query.q if isinstance(query, requests.SearchQuery) else None,
        product_id=query.product_id if isinstance(query, requests.SimilarQuery | requests.TogetherQuery) else None,
        model_version=answer.hits.version,
        source=answer.source,
        # as one text, which costs less to keep and to write than a hundred
        product_ids=answer.hits.packed_ids.replace("\0", "\n"),
        explored=answer.explored,
        experiment=experiment,
        arm=arm,
        teams=teams,
    )
