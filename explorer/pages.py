"""What each page shows: the values of its template, from the gateway's answers."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from typing import Any

import httpx
from starlette.requests import Request

from explorer import compare, gateway, live, model, rules
from explorer.gateway import Answer, GatewayProblem
from explorer.reasons import numbered, with_shares
from explorer.rendering import SLOTS
from explorer.rows import mark_changes, rows_of

_SHOWN = 12
_DETAILS = ("products", "reasons")
# of a list that the page can do without: no scope, no such route or data, no room now
_NOT_HERE = (401, 403, 404, 429, 501, 503, 504)
# prices as people type them here, and as the gateway reads them
_PRICES = ("price_min", "price_max")
_DIGITS = str.maketrans("٠١٢٣٤٥٦٧٨٩٫", "0123456789.")
# rising products whose categories the page names
_RISING = 100


class Pages:
    """Asks the gateway. A method returns the values of its template; it raises GatewayProblem."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def search(self, request: Request) -> dict[str, Any]:
        q = request.query_params.get("q", "").strip()
        if not q:
            return {}
        answer = await gateway.get(self.client, "/search", q=q, k=_SHOWN, include=_DETAILS, **_options(request))
        suggested = await gateway.get(self.client, "/suggest", q=q, k=6)
        return {"list": rows_of(answer), "answer": answer, "suggestions": suggested.body["suggestions"]}

    async def buyer(self, request: Request) -> dict[str, Any]:
        asked = request.query_params
        buyer_id = asked.get("buyer_id", "").strip()
        if not buyer_id:
            recent = await self._optional("/buyers")
            buyers = recent.body["buyer_ids"] if recent else []
            return {"guest": f"guest-{secrets.token_hex(4)}", "buyers": buyers}
        stored = (await gateway.get(self.client, "/history", buyer_id=buyer_id)).body["interactions"]
        query = {"slot": asked.get("slot", "").strip() or SLOTS[0]} | _options(request)
        answer = await gateway.get(self.client, "/retrieve", buyer_id=buyer_id, k=_SHOWN, include=_DETAILS, **query)
        ids = list(dict.fromkeys(one["product_id"] for one in stored))
        products = await self._products(ids)
        rows = with_shares(mark_changes(rows_of(answer), asked.getlist("before")), products)
        history = numbered([one | {"product": products.get(one["product_id"])} for one in stored], rows)
        found = {"buyer_id": buyer_id, "history": history, "list": rows, "answer": answer, "slot": query["slot"]}
        if again := await self._optional("/again", buyer_id=buyer_id, k=6, include=_DETAILS):
            found |= {"again": rows_of(again), "again_warnings": again.body["warnings"]}
        if wanted := asked.get("find", "").strip():
            query = {"q": wanted, "k": 6, "include": "products"}
            found["found"] = rows_of(await gateway.get(self.client, "/search", **query))
        return found

    async def trending(self, request: Request) -> dict[str, Any]:
        query = {"include": _DETAILS, "category": request.query_params.get("category", "").strip()}
        every = await gateway.get(self.client, "/trending", k=_RISING, include=_DETAILS)
        answer = await gateway.get(self.client, "/trending", k=_SHOWN, **query) if query["category"] else every
        categories = Counter(one["category"] for one in every.body["products"] if one["category"])
        found = {"answer": answer, "list": rows_of(answer)[:_SHOWN], "counted": answer.body["counted"]}
        return found | {"categories": categories.most_common(), "category": query["category"]}

    async def product(self, request: Request) -> dict[str, Any]:
        product_id = request.path_params["product_id"]
        product = (await self._products([product_id])).get(product_id)
        if product is None:
            raise GatewayProblem(product_id, 404)
        lists = {}
        for name, by in (("by_behaviour", "sequence"), ("by_vector", "vector")):
            query = {"product_id": product_id, "by": by, "k": 6, "include": _DETAILS}
            lists[name] = rows_of(await gateway.get(self.client, "/similar", **query))
        like = {"q": product["title"], "understand": "false", "exclude": product_id, "k": 6, "include": "products"}
        lists["by_text"] = rows_of(await gateway.get(self.client, "/search", **like))
        together = await self._optional("/together", product_id=product_id, k=6, include=_DETAILS)
        if together:
            lists["together"] = rows_of(together)
        audience = await self._optional("/audience", product_id=product_id)
        return {"product": product, "lists": lists, "audience": audience.body if audience else None}

    async def _optional(self, path: str, **query: Any) -> Answer | None:
        """An answer that not every gateway or key can have: None without the route, the scope, or room for it."""
        try:
            return await gateway.get(self.client, path, **query)
        except GatewayProblem as error:
            if error.status in _NOT_HERE:
                return None
            raise

    async def compare(self, request: Request) -> dict[str, Any]:
        asked = request.query_params
        ways, refused = await compare.ways(self.client)
        found: dict[str, Any] = {"ways": ways, "refused": refused, "diversities": compare.DIVERSITIES}
        if not (value := asked.get("value", "").strip()):
            return found
        by_search = asked.get("kind") == "search"
        path, name = ("/search", "q") if by_search else ("/retrieve", "buyer_id")
        sides = []
        for side in "ab":
            # the second side may ask for somebody else
            whose = (asked.get("value_b", "").strip() or value) if side == "b" else value
            query = {name: whose, "k": _SHOWN, "include": _DETAILS} | compare.query_of(asked, side, by_search)
            way = next((one for one in ways if one.value == asked.get(f"way_{side}", "")), compare.LIVE)
            sides.append(await compare.ask(self.client, path, query, way))
        rows = [rows_of(side.answer) if side.answer else [] for side in sides]
        first, second = ([row["product"]["product_id"] for row in side] for side in rows)
        marked = [mark_changes(rows[0], second), mark_changes(rows[1], first)]
        of = max(len(first), len(second))
        same = len(
            {json.dumps(compare.query_of(asked, side, by_search)) + asked.get(f"way_{side}", "") for side in "ab"}
        )
        return found | {
            "sides": list(zip(sides, marked, strict=True)),
            "common": len(set(first) & set(second)),
            "of": of,
            "is_same": same == 1 and not asked.get("value_b", "").strip(),
        }

    async def rules(self, request: Request) -> dict[str, Any]:
        try:
            found = await rules.in_force(self.client)
        except GatewayProblem as error:
            if error.status in (401, 403):
                return {"refused": str(error)}
            raise
        wanted = request.query_params.get("find", "").strip()
        if wanted:
            query = {"q": wanted, "k": 6, "include": "products"}
            found["found"] = rows_of(await gateway.get(self.client, "/search", **query))
        pinned = list(dict.fromkeys(one["product_id"] for one in found["rules"] if "product_id" in one))
        found["titles"] = await self._products(pinned)
        return found | {"kinds": rules.KINDS, "days": rules.DAYS, "subjects": rules.SUBJECTS}

    async def live(self, request: Request) -> dict[str, Any]:
        found: dict[str, Any] = {"ready": await gateway.ready(self.client)}
        try:
            found["routes"] = live.read_routes(await gateway.text(self.client, "/metrics"))
            found["experiments"] = (await gateway.get(self.client, "/experiments")).body["experiments"]
        except GatewayProblem as error:
            # a key without the scope admin: the health is shown all the same
            found["refused"] = str(error)
            return found
        try:
            found["searches"] = (await gateway.get(self.client, "/searches")).body
        except GatewayProblem as error:
            if error.status != 503:
                raise
            # they are in Redis: `ready` says that it is down
            found["searches_lost"] = str(error)
        return found

    async def model(self, request: Request) -> dict[str, Any]:
        answer = (await gateway.get(self.client, "/versions")).body
        versions = [model.summary(one) for one in answer["versions"]]
        shown = next((one for one in versions if one["pointer"] == "CURRENT"), None)
        plane = model.plane((await gateway.get(self.client, "/map")).body)
        published = request.query_params.get("published")
        found = {"versions": versions, "shown": shown, "may_publish": answer["may_publish"], "map": plane}
        return found | {"published": published, "metrics": model.METRICS}

    async def _products(self, ids: list[str]) -> dict[str, Any]:
        if not ids:
            return {}
        answer = await gateway.get(self.client, "/products", id=ids)
        return {one["product_id"]: one for one in answer.body["products"]}


def _options(request: Request) -> dict[str, Any]:
    """The filters of a page's form as parameters of a list; empty fields are left out, Arabic digits are read."""
    asked = request.query_params
    named = {
        name: asked.get(name, "").strip()
        for name in ("diversity", "in_stock", "category", "brand", "price_min", "price_max", "sort")
    }
    return {name: value.translate(_DIGITS) if name in _PRICES else value for name, value in named.items() if value}
