"""The handlers of buyers and their histories: encode, store, read, merge, forget."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from gateway.admission import SUGGEST_COST, Admission, cost_of_encode, cost_of_store
from gateway.api.request_reader import RequestReader
from gateway.api.responses import answer_response, json_response
from gateway.api.state import live_of
from gateway.auth.guard import check_buyer
from gateway.history.clock import SharedClock
from gateway.pipeline import histories
from gateway.schemas import parsing
from gateway.schemas.requests import (
    BuyerInteractionIn,
    EncodeBuyerBody,
    HistoryQuery,
    InteractionsBody,
    MergeBody,
)
from twotower.errors import InvalidInput
from twotower.event_log import GUEST, InteractionRecord
from twotower.events import check_id
from twotower.serving import telemetry


class BuyerRoutes:
    """Handlers for what buyers did, and for what is stored of it."""

    def __init__(self, reader: RequestReader, admission: Admission, clock: SharedClock) -> None:
        self._reader, self._admission, self._clock = reader, admission, clock

    async def encode_buyer(self, request: Request) -> Response:
        async with self._reader.body(request, cost_of_encode) as given:
            body = await given.read(lambda content: self._reader.parse(EncodeBuyerBody, content))
            check_buyer(request, body.buyer_id)
            answer = await histories.encode_buyer(
                live_of(request).pipeline, body.buyer_id, body.interactions(), given.deadline
            )
        vector = answer.encoded.vector
        return json_response(
            {
                "buyer_id": body.buyer_id,
                "buyer_embedding": vector.floats(),
                "dimension": vector.dimension,
                "model_version": vector.version,
                "source": "interactions",
                "used": answer.encoded.used,
                "stored": answer.stored,
                "unknown_product_ids": answer.encoded.unknown_product_ids,
                "request_id": telemetry.request_id.get(),
                "warnings": answer.warnings,
            }
        )

    async def interactions(self, request: Request) -> Response:
        live = live_of(request)
        async with self._reader.body(request, cost_of_store) as given:
            records = await given.read(self._read_interactions)
            for one in records:
                check_buyer(request, one.owner)
            added = await histories.add(live.pipeline, records, given.deadline)
        live.experiments.count_clicks(records)
        return json_response(
            {
                "stored": added.stored,
                "unknown_product_ids": added.unknown_product_ids,
                "request_id": telemetry.request_id.get(),
                "warnings": added.warnings,
            }
        )

    async def history(self, request: Request) -> Response:
        query, deadline = self._reader.query(HistoryQuery, request), self._reader.deadline()
        pipeline = live_of(request).pipeline
        stored = await self._admission.run(
            SUGGEST_COST, deadline, lambda: histories.stored(pipeline, query.buyer_id, deadline)
        )
        rows = [
            {"product_id": one.product_id, "event_type": one.event_type, "timestamp": one.timestamp_ms}
            for one in stored
        ]
        return answer_response({"buyer_id": query.buyer_id, "interactions": rows})

    async def merge(self, request: Request) -> Response:
        buyer_id = check_id(request.path_params["buyer_id"], "buyer_id")
        if buyer_id.startswith(GUEST):
            raise InvalidInput("buyer_id", buyer_id, "is a guest's; a guest is merged into a buyer")
        async with self._reader.body(request, cost_of_store) as given:
            body = self._reader.parse(MergeBody, given.body)
            merged = await histories.merge(live_of(request).pipeline, buyer_id, body.session_id, self._clock.good_ms())
        return answer_response({"merged": merged})

    async def forget(self, request: Request) -> Response:
        buyer_id = check_id(request.path_params["buyer_id"], "buyer_id")
        removed = await histories.forget(live_of(request).pipeline, buyer_id)
        return answer_response({"removed": removed})

    def _read_interactions(self, body: bytes) -> list[InteractionRecord]:
        value, context = parsing.read_json(body), self._reader.context()
        if isinstance(value, dict) and "interactions" in value:
            rows = parsing.read_body(InteractionsBody, value, context).interactions
        else:
            rows = [parsing.read_body(BuyerInteractionIn, value, context)]
        return [row.record() for row in rows]
