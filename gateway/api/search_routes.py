"""The handlers of searches by text, and of completions while a shopper types."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from gateway.admission import SUGGEST_COST, Admission
from gateway.api.list_finder import ListFinder
from gateway.api.request_reader import RequestReader
from gateway.api.responses import answer_response, search_response
from gateway.api.state import live_of
from gateway.pipeline import searches
from gateway.schemas.requests import SearchQuery, SuggestQuery


class SearchRoutes:
    """Handlers for a whole text and for its beginning."""

    def __init__(self, reader: RequestReader, finder: ListFinder, admission: Admission) -> None:
        self._reader, self._finder, self._admission = reader, finder, admission

    async def search(self, request: Request) -> Response:
        query, deadline = self._reader.query(SearchQuery, request), self._reader.deadline()
        live = live_of(request)
        answer = await self._finder.find(
            live.pipeline, query, deadline, lambda: searches.search(live.pipeline, query, deadline)
        )
        if query.understand:
            live.searches.count(query.q, len(answer.hits.scores) > 0 and not answer.hits.is_below_noise)
        return search_response(query.q, answer)

    async def search_of(self, request: Request) -> Response:
        """As `search`, of the version in the path."""
        query, deadline = self._reader.query(SearchQuery, request), self._reader.deadline()
        pipeline, version = live_of(request).pipeline, request.path_params["version"]
        answer = await self._finder.find_unlogged(
            query, deadline, lambda: searches.search(pipeline, query, deadline, version)
        )
        return search_response(query.q, answer)

    async def suggest(self, request: Request) -> Response:
        query, deadline = self._reader.query(SuggestQuery, request), self._reader.deadline()
        pipeline = live_of(request).pipeline
        answer = await self._admission.run(SUGGEST_COST, deadline, lambda: searches.suggest(pipeline, query, deadline))
        return answer_response(
            {
                "suggestions": [
                    {"text": one.text, "kind": one.kind, "products": one.products} for one in answer.suggestions
                ],
                "model_version": answer.version,
            }
        )
