"""The routes about rules, for keys of scope admin: read, put, history, undo, preview."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from gateway.admission import cost_of_encode
from gateway.api.request_reader import Model, RequestReader
from gateway.api.responses import answer_response
from gateway.api.rule_preview import Preview, Previewed
from gateway.api.state import Live, live_of
from gateway.auth.guard import caller_of
from gateway.rules.book import InForce
from gateway.rules.checks import RuleWarning
from gateway.schemas import parsing
from gateway.schemas.rule import Rules
from gateway.schemas.rules import PreviewBody, RulesBody, UndoBody
from twotower.errors import InvalidInput

_KIND = re.compile(r"^(rules\[\d+\])\.[a-z_]+(?=[.\[])")


class RuleRoutes:
    """The handlers of the rules in force, of earlier ones, and of a draft."""

    def __init__(self, reader: RequestReader) -> None:
        self._reader = reader

    async def rules(self, request: Request) -> Response:
        live = live_of(request)
        await live.rule_book.refresh()
        return await self._in_force(live)

    async def put(self, request: Request) -> Response:
        live = live_of(request)
        async with self._reader.body(request, cost_of_encode) as given:
            body = await given.read(lambda content: self._read(RulesBody, content))
            await live.rule_book.put(_checked(body.rules), body.version, caller_of(request), body.note)
        return await self._in_force(live)

    async def undo(self, request: Request) -> Response:
        live = live_of(request)
        async with self._reader.body(request, cost_of_encode) as given:
            body = await given.read(lambda content: self._read(UndoBody, content))
            await live.rule_book.undo(body.version, caller_of(request), body.note)
        return await self._in_force(live)

    async def history(self, request: Request) -> Response:
        versions = [
            {**one._asdict(), "rules": one.rules.as_json()} for one in await live_of(request).rule_book.history()
        ]
        return answer_response({"versions": versions})

    async def preview(self, request: Request) -> Response:
        live = live_of(request)
        async with self._reader.body(request, cost_of_encode) as given:
            body = await given.read(lambda content: self._read(PreviewBody, content))
            rules = _checked(body.rules)
            lists = await Preview(live.pipeline).lists(body, rules, given.deadline)
            warnings = await live.rule_checks.warnings(InForce(rules), given.deadline)
        before, after = ([_product(one) for one in found] for found in lists)
        return answer_response({"before": before, "after": after, "warnings": _shown(warnings)})

    async def _in_force(self, live: Live) -> Response:
        found = live.rule_book.current
        warnings = await live.rule_checks.warnings(found, self._reader.deadline())
        return answer_response(
            {
                "version": found.version,
                "source": live.rule_book.source,
                "rules": found.rules.as_json(),
                "warnings": _shown(warnings),
            }
        )

    def _read(self, model: type[Model], body: bytes) -> Model:
        try:
            return self._reader.parse(model, body)
        except parsing.InvalidFields as error:
            raise parsing.InvalidFields([_without_kind(one) for one in error.errors], error.total) from None


def _without_kind(error: InvalidInput) -> InvalidInput:
    """The same about rules[3].when instead of rules[3].exclude.when, which pydantic says of one of several kinds."""
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
