"""The handlers of /products: details of products, and changes of the live catalogue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gateway import metrics
from gateway.admission import Admission, cost_of_encode
from gateway.api.request_reader import RequestReader
from gateway.api.responses import answer_response, product_document
from gateway.api.state import live_of
from gateway.clients.deadline import Deadline
from gateway.live.store import CatalogueStore, ProductChange
from gateway.pipeline import product_lists
from gateway.schemas import parsing
from gateway.schemas.products import ChangeProductsQuery, ProductBody, ProductPatch, ProductPatchRow, ProductRow
from gateway.schemas.requests import ProductsQuery
from twotower.errors import InvalidInput, NotConfigured, TwoTowerError
from twotower.events import check_id

NDJSON = "application/x-ndjson"


class ProductRoutes:
    """Handlers for one product and for many."""

    def __init__(self, reader: RequestReader, admission: Admission, max_rows: int) -> None:
        """`max_rows`: of one call that changes many products."""
        self._reader, self._admission, self._max_rows = reader, admission, max_rows

    async def products(self, request: Request) -> Response:
        query, deadline = self._reader.query(ProductsQuery, request), self._reader.deadline()
        pipeline = live_of(request).pipeline
        found = await self._admission.run(1.0, deadline, lambda: product_lists.products(pipeline, query.id, deadline))
        return answer_response(
            {
                "products": [product_document(one) for one in found if one.found],
                "unknown_product_ids": [one.product_id for one in found if not one.found],
            }
        )

    async def put(self, request: Request) -> Response:
        return await self._change(request, "put", ProductBody)

    async def patch(self, request: Request) -> Response:
        return await self._change(request, "patch", ProductPatch)

    async def delete(self, request: Request) -> Response:
        product_id, store = _id_of(request), _store_of(request)
        number = await store.change(ProductChange("delete", product_id, {}), Deadline.after(2.0))
        return _accepted("delete", product_id, number)

    async def post(self, request: Request) -> Response:
        """Answers each line by itself."""
        store = _store_of(request)
        query = self._reader.query(ChangeProductsQuery, request)
        async with self._reader.body(request, cost_of_encode, NDJSON) as given:
            read: list[ProductChange | TwoTowerError] = await given.read(lambda body: self._rows(body, query.mode))
            changes = [one for one in read if isinstance(one, ProductChange)]
            outcomes = await store.change_all(changes, given.deadline)
        failures = [one for one in outcomes if isinstance(one, TwoTowerError)]
        if failures and len(failures) == len(read):
            raise failures[0]
        return _answered(read, outcomes)

    async def _change(self, request: Request, kind: Any, model: Any) -> Response:
        product_id, store = _id_of(request), _store_of(request)
        async with self._reader.body(request, cost_of_encode) as given:
            body: Any = self._reader.parse(model, given.body)
            fields = body.fields()
            if not fields:
                raise InvalidInput("body", {}, "changes nothing")
            number = await store.change(ProductChange(kind, product_id, fields), given.deadline)
        return _accepted(kind, product_id, number)

    def _rows(self, body: bytes, mode: Any) -> list[ProductChange | TwoTowerError]:
        """The change of each line, or why it is refused. Empty lines are left out."""
        lines = [line for line in body.split(b"\n") if line.strip()]
        if not lines:
            raise parsing.Malformed("body", "", "is empty; send a JSON object a line")
        if len(lines) > self._max_rows:
            raise InvalidInput("body", len(lines), f"lines, the limit is {self._max_rows}")
        model: Any = ProductRow if mode == "put" else ProductPatchRow
        rows: list[ProductChange | TwoTowerError] = []
        for line in lines:
            try:
                row = self._reader.parse(model, line)
                rows.append(ProductChange(mode, row.product_id, row.fields()))
            except InvalidInput as error:
                rows.append(error)
        return rows


def _id_of(request: Request) -> str:
    return check_id(request.path_params["product_id"], "product_id")


def _store_of(request: Request) -> CatalogueStore:
    store = live_of(request).catalogue
    if store is None:
        raise NotConfigured("this gateway takes no changes of products: set TWOTOWER_GATEWAY_LIVE_CATALOGUE=true")
    return store


def _accepted(kind: str, product_id: str, number: int) -> Response:
    metrics.PRODUCT_CHANGES.labels(kind).inc()
    return answer_response({"product_id": product_id, "sequence": number})


def _answered(read: Sequence[ProductChange | TwoTowerError], outcomes: Sequence[int | TwoTowerError]) -> Response:
    rows, left = list[dict[str, Any]](), iter(outcomes)
    for number, one in enumerate(read, start=1):
        product_id = one.product_id if isinstance(one, ProductChange) else None
        outcome = next(left) if isinstance(one, ProductChange) else one
        status, errors = "accepted", list[dict[str, object]]()
        if isinstance(outcome, parsing.InvalidFields):
            status, errors = "refused", [error.detail() for error in outcome.errors]
        elif isinstance(outcome, TwoTowerError):
            # a product that is not known is the caller's mistake, a Redis that is down is not
            refused = outcome is one or "field" in outcome.detail()
            status, errors = "refused" if refused else "failed", [{"problem": str(outcome), **outcome.detail()}]
        rows.append({"row": number, "product_id": product_id, "status": status, "errors": errors})
    accepted = sum(row["status"] == "accepted" for row in rows)
    metrics.PRODUCT_CHANGES.labels("post").inc(accepted)
    return answer_response({"accepted": accepted, "rows": rows})
