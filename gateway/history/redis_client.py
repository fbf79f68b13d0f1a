"""Asks Redis, or refuses at once while it is known to be down."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from redis.exceptions import RedisError

from gateway import metrics
from gateway.history.breaker import Breaker
from gateway.history.connection import Ask, Batch, Command, RedisPipelines
from gateway.history.refusals import NO_ANSWER, describe, explain
from twotower.errors import Unavailable

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class RedisClient:
    """Runs commands behind the circuit breaker.

    Every method raises Unavailable if Redis refuses or does not answer. If a caller is cancelled, the command still
    runs to its end, so that its connection returns to the pool without an unread reply.
    """

    def __init__(self, pipelines: RedisPipelines, breaker: Breaker) -> None:
        self._pipelines = pipelines
        self._breaker = breaker
        self._running: set[asyncio.Task[Any]] = set()
        # the last refusal that was logged; the same one again is not
        self._refusal = ""
        # set before the first request: a worker without requests has seen no failure
        metrics.REDIS_UP.set(not breaker.is_open)

    async def ask(self, key: str, commands: Sequence[Command]) -> list[Any]:
        """One reply per command; their keys lie in the slot of `key`. Raises Unavailable if Redis refuses one."""
        (replies,) = await self.ask_each([Batch(key, commands)])
        return replies

    async def ask_each(self, batches: Sequence[Batch]) -> list[list[Any]]:
        """The replies of each batch. Raises Unavailable if Redis refuses a command."""
        if not batches:
            return []
        return self._accepted(await self.run(lambda pipelines: pipelines.run(batches)))

    async def ask_nodes(self, command: Command) -> list[Any]:
        """The reply of each server that holds keys. Raises Unavailable if one refuses."""

        async def ask(pipelines: RedisPipelines) -> list[list[Any]]:
            return [await node([command]) for node in await pipelines.nodes()]

        return [reply for (reply,) in self._accepted(await self.run(ask))]

    async def scan(self, pattern: str) -> AsyncIterator[list[bytes]]:
        """All keys of this pattern, in parts, server by server. Raises Unavailable like `ask`."""
        for node in await self.run(lambda pipelines: pipelines.nodes()):
            cursor: bytes | None = None
            while cursor != b"0":
                command = ("SCAN", cursor or b"0", "MATCH", pattern, "COUNT", 1000)
                ((reply,),) = self._accepted([await self.run(_asked(node, command))])
                cursor, keys = reply
                yield keys

    async def run(
        self, ask: Callable[[RedisPipelines], Coroutine[Any, Any, Answer]], *, always: bool = False
    ) -> Answer:
        """The result of `ask`, unless the breaker is open; with `always`, even then.

        A refused command is an exception in the place of its reply.
        """
        if not always:
            self._breaker.check()
        task = asyncio.create_task(ask(self._pipelines))
        self._running.add(task)
        task.add_done_callback(self._finished)
        try:
            return await asyncio.shield(task)
        except NO_ANSWER as error:
            # the breaker logs the reason, which holds addresses that callers need not see
            raise Unavailable(explain(error, "Redis does not answer")) from None
        except RedisError as error:
            log.error("Redis refused a command: %s", describe(error))
            raise Unavailable(explain(error, "Redis refused a command")) from None

    async def close(self) -> None:
        if self._running:
            await asyncio.wait(self._running)
        await self._pipelines.close()

    def _accepted(self, answers: list[list[Any]]) -> list[list[Any]]:
        """The replies. Raises Unavailable, and logs the reason once, if one of them is a refusal."""
        refused = next((reply for replies in answers for reply in replies if isinstance(reply, Exception)), None)
        if refused is None:
            self._refusal = ""
            return answers
        if (said := describe(refused)) != self._refusal:
            log.error("Redis refused a command: %s", said)
        self._refusal = said
        raise Unavailable(explain(refused, "Redis refused a command"))

    def _finished(self, task: asyncio.Task[Any]) -> None:
        """Reports the outcome to the breaker, even if the caller has been cancelled."""
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, NO_ANSWER):
            self._breaker.failed(error)
        elif error is None and not task.cancelled():
            self._breaker.succeeded()
        if error is not None:
            metrics.REDIS_FAILURES.inc()
        metrics.REDIS_UP.set(not self._breaker.is_open)


def _asked(node: Ask, command: Command) -> Callable[[RedisPipelines], Coroutine[Any, Any, list[Any]]]:
    async def ask(_: RedisPipelines) -> list[Any]:
        return await node([command])

    return ask
