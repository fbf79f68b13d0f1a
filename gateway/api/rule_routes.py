"""The routes about rules, for keys of scope admin: read, put, history, undo, preview."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway.api.product_routes import BodyOf
from gateway.api.rule_preview import Preview, Previewed
from gateway.auth.guard import caller_of
from gateway.clients.deadline import Deadline
from gateway.pipeline.parts import Pipeline
from gateway.rules.book import InForce, RuleBook
from gateway.rules.checks import RuleChecks, RuleWarning
from gateway.schemas import parsing
from gateway.schemas.fields import Context
from gateway.schemas.rule import Rules
from gateway.schemas.rules import PreviewBody, RulesBody, UndoBody
from twotower.errors import InvalidInput
from twotower.serving import telemetry

_JSON = "application/json"
_KIND = re.compile(r"^(rules\[\d+\])\.[a-z_]+(?=[.\[])")


@dataclass(frozen=True)
class RuleDesk:
    """What the routes need of a running gateway."""

    book: RuleBook
    checks: RuleChecks
    pipeline: Pipeline


class RuleRoutes:
    """The handlers; `desk_of` finds the desk of a request."""

    def __init__(
        self,
        body_of: BodyOf,
        desk_of: Callable[[Request], RuleDesk],
        context: Callable[[], Context],
        timeout_seconds: float,
    ) -> None:
        self._body_of, self._desk_of, self._context, self._seconds = body_of, desk_of, context, timeout_seconds

    async def rules(self, request: Request) -> Response:
        desk = self._desk_of(request)
        await desk.book.refresh()
        return await self._in_force(desk)

    async def put(self, request: Request) -> Response:
        desk = self._desk_of(request)
        async with self._body_of(request, _JSON) as given:
            body = await given.read(lambda value: self._read(RulesBody, value))
            await desk.book.put(_checked(body.rules), body.version, caller_of(request), body.note)
        return await self._in_force(desk)

    async def undo(self, request: Request) -> Response:
        desk = self._desk_of(request)
        async with self._body_of(request, _JSON) as given:
            body = await given.read(lambda value: self._read(UndoBody, value))
            await desk.book.undo(body.version, caller_of(request), body.note)
        return await self._in_force(desk)

    async def history(self, request: Request) -> Response:
        versions = [
            {**one._asdict(), "rules": one.rules.as_json()} for one in await self._desk_of(request).book.history()
        ]
        return _json({"versions": versions})

    async def preview(self, request: Request) -> Response:
        desk = self._desk_of(request)
        async with self._body_of(request, _JSON) as given:
            body: PreviewBody = await given.read(lambda value: self._read(PreviewBody, value))
            rules = _checked(body.rules)
            lists = await Preview(desk.pipeline).lists(body, rules, given.deadline)
            warnings = await desk.checks.warnings(InForce(rules), given.deadline)
        before, after = ([_product(one) for one in found] for found in lists)
        return _json({"before": before, "after": after, "warnings": _shown(warnings)})

    async def _in_force(self, desk: RuleDesk) -> Response:
        found = desk.book.current
        warnings = await desk.checks.warnings(found, Deadline.after(self._seconds))
        return _json(
            {
                "version": found.version,
                "source": desk.book.source,
                "rules": found.rules.as_json(),
                "warnings": _shown(warnings),
            }
        )

    def _read(self, model: Any, body: bytes) -> Any:
        try:
            return parsing.read_body(model, parsing.read_json(body), self._context())
        except parsing.InvalidFields as error:
            raise parsing.InvalidFields([_without_kind(one) for one in error.errors], error.total) from None


def _without_kind(error: InvalidInput) -> InvalidInput:
    """The same about rules[3].when instead of rules[3].exclude.when, as pydantic has it for one of several kinds."""
    found = InvalidInput(_KIND.sub(r"\1", error.field), "", error.problem)
    found.value, found.args = error.value, (_KIND.sub(r"\1", str(error)),)
    return found


def _checked(rules: Sequence[Any]) -> Rules:
    names = [one.name for one in rules]
    for place, name in enumerate(names):
        if name in names[:place]:
            raise InvalidInput(f"rules[{place}].name", name, "is the name of an earlier rule, too")
    return Rules(rules=tuple(rules))


def _shown(warnings: Sequence[RuleWarning]) -> list[dict[str, object]]:
    return [one._asdict() for one in warnings]


def _product(one: Previewed) -> dict[str, object]:
    product = one.product
    return {
        "product_id": product.product_id,
        "title": product.title,
        "brand": product.brand,
        "category": product.category,
        "price": product.price if product.HasField("price") else None,
        "currency": product.currency,
        "in_stock": product.in_stock,
        "score": one.score,
        "placed_by": one.placed_by,
    }


def _json(value: dict[str, object]) -> Response:
    return Response(orjson.dumps(value | {"request_id": telemetry.request_id.get()}), media_type=_JSON)
