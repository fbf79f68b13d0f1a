"""Writes changes of products into the live catalogue: state and stream in one step, or neither.

A change is computed from the state that was read. If another gateway has changed it meanwhile, it is computed again.
Redis runs a script for each few hundred products, so a script is short, and what it writes is durable as far as Redis'
file is.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from gateway.clients.deadline import Deadline
from gateway.clients.retrieval import Retrieval
from gateway.history.redis_client import RedisClient
from twotower.errors import Conflict, NotFound, TwoTowerError, Unavailable
from twotower.live.records import (
    CHANGES,
    HEAD,
    KEPT_CHANGES,
    PRODUCTS,
    WRITE,
    State,
    pack_state,
    unpack_state,
)

# products of one script
_TOGETHER = 200
_ATTEMPTS = 10


class ProductChange(NamedTuple):
    """What a caller wants of one product; `fields` may have `hidden`."""

    kind: Literal["put", "patch", "delete"]
    product_id: str
    fields: dict[str, Any]


class CatalogueStore:
    """Accepts changes. What it has returned is in Redis."""

    def __init__(self, redis: RedisClient, retrieval: Retrieval) -> None:
        self._redis = redis
        self._retrieval = retrieval

    async def change(self, change: ProductChange, deadline: Deadline) -> int:
        """The number of the change. Raises NotFound for a patch of an unknown product, Unavailable."""
        (outcome,) = await self.change_all([change], deadline)
        if isinstance(outcome, TwoTowerError):
            raise outcome
        return outcome

    async def change_all(self, changes: Sequence[ProductChange], deadline: Deadline) -> list[int | TwoTowerError]:
        """Per change its number, or why it was not accepted. The last of several changes of one product counts."""
        outcomes: list[int | TwoTowerError] = []
        for start in range(0, len(changes), _TOGETHER):
            part = changes[start : start + _TOGETHER]
            try:
                outcomes += await self._change(part, deadline)
            except TwoTowerError as error:
                outcomes += [error] * len(part)
        return outcomes

    async def _change(self, changes: Sequence[ProductChange], deadline: Deadline) -> list[int | TwoTowerError]:
        ids = list(dict.fromkeys(one.product_id for one in changes))
        for _ in range(_ATTEMPTS):
            deadline.remaining()
            (read,) = await self._redis.ask(PRODUCTS, [("HMGET", PRODUCTS, *ids)])
            known = {
                one: unpack_state(one, value) if value is not None else None
                for one, value in zip(ids, read, strict=True)
            }
            states, refused = dict(known), dict[int, TwoTowerError]()
            trained = await self._trained(changes, known, deadline)
            for place, change in enumerate(changes):
                try:
                    states[change.product_id] = _changed(change, states[change.product_id], trained)
                except NotFound as error:
                    refused[place] = error
            written = [(one, state) for one, state in states.items() if state is not None and state is not known[one]]
            number = await self._write(written, known)
            if number is not None:
                return [refused.get(place, number) for place in range(len(changes))]
        raise Conflict("the products are changed by others all the time")

    async def _trained(
        self, changes: Sequence[ProductChange], known: dict[str, State | None], deadline: Deadline
    ) -> set[str]:
        """The patched products that have no state, but are known to the served version."""
        asked = [one.product_id for one in changes if one.kind == "patch" and known[one.product_id] is None]
        found = await self._retrieval.lookup(list(dict.fromkeys(asked)), "", deadline)
        return {one.product_id for one in found if one.found}

    async def _write(self, written: list[tuple[str, State]], known: dict[str, State | None]) -> int | None:
        """The number of the change, 0 for none; None if a state has changed since it was read."""
        if not written:
            return 0
        values: list[Any] = []
        for one, state in written:
            before = known[one]
            values += [one, before.sequence if before else 0, pack_state(state)]
        ids = "\0".join(one for one, _ in written)
        command = ("EVAL", WRITE, 3, HEAD, CHANGES, PRODUCTS, KEPT_CHANGES, uuid.uuid4().hex, ids, *values)
        (reply,) = await self._redis.ask(PRODUCTS, [command])
        if not isinstance(reply, list):
            raise Unavailable(f"Redis answered {reply!r} to a change of products")
        return int(reply[0]) or None


def _changed(change: ProductChange, state: State | None, trained: set[str]) -> State:
    """The state after a change; its number is not known yet."""
    product_id, fields = change.product_id, dict(change.fields)
    is_hidden = fields.pop("hidden", None)
    if change.kind == "delete":
        return State(product_id, 0, {}, is_deleted=True)
    if change.kind == "put":
        return State(product_id, 0, fields, is_whole=True, is_hidden=bool(is_hidden))
    if state is None and product_id in trained:
        state = State(product_id, 0, {})
    if state is None or state.is_deleted:
        raise NotFound(f"product {product_id!r} is not known", field="product_id")
    if is_hidden is None:
        is_hidden = state.is_hidden
    return state._replace(fields={**state.fields, **fields}, is_hidden=is_hidden)
