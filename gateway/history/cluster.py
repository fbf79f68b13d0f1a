"""Pipelines over the nodes of a Redis cluster. redis-py finds the nodes and opens their connections."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, RedisClusterException
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from gateway.history.breaker import Breaker
from gateway.history.connection import Ask, Batch, Command, ask_twice, read_transaction
from twotower.errors import Unavailable

_UNREACHABLE = (RedisConnectionError, RedisTimeoutError, OSError, Unavailable)
_MULTI: Command = ("MULTI",)


class Cluster:
    """Sends each batch to the primary that holds its slot, to all nodes at the same time.

    A node that fails has a breaker of its own, so the others' buyers do not wait for it. Slots that have moved are
    looked up again.
    """

    def __init__(self, client: RedisCluster, max_runs: int, retry_seconds: float) -> None:
        self._client = client
        self._table = client.nodes_manager
        # a node has as many connections, and a run takes one of each
        self._room = asyncio.Semaphore(max_runs)
        self._retry_seconds = retry_seconds
        self._breakers: dict[str, Breaker] = {}
        # whether the table of slots has to be read, and the node that failed last
        self._is_stale = True
        self._failed_node: str | None = None

    async def run(self, batches: Sequence[Batch]) -> list[list[Any]]:
        async with self._room:
            await self._refresh_if_stale()
            answers = await self._send([(self._node_of(batch.key), batch) for batch in batches])
            redirected = [place for place, replies in enumerate(answers) if _redirection(replies)]
            if redirected:
                again = [(batches[place], _redirection(answers[place])) for place in redirected]
                for place, replies in zip(redirected, await self._redirect(again), strict=True):
                    answers[place] = replies
        # what replies is a node; what raises is not known to have asked anything
        failures = [replies[0] for replies in answers if replies and isinstance(replies[0], _UNREACHABLE)]
        if len(failures) == len(answers) and failures:
            raise failures[0]
        return answers

    async def transact(self, batches: Sequence[Batch]) -> list[list[Any] | Exception]:
        wrapped = [Batch(batch.key, [_MULTI, *batch.commands, ("EXEC",)]) for batch in batches]
        return [read_transaction(replies) for replies in await self.run(wrapped)]

    async def nodes(self) -> list[Ask]:
        await self._refresh_if_stale()
        return [partial(self._ask, node) for node in self._client.get_primaries()]

    async def one_per_node(self, keys: Iterable[str]) -> list[str]:
        await self._refresh_if_stale()
        return list({self._node_of(key).name: key for key in keys}.values())

    async def close(self) -> None:
        await self._table.aclose()
        await self._table.aclose("startup_nodes")

    async def _refresh_if_stale(self) -> None:
        if not self._is_stale:
            return
        try:
            await self._table.initialize(last_failed_node_name=self._failed_node)
        except (RedisClusterException, IndexError) as error:
            # it has no class for a cluster that does not answer; a cluster without any slots raises IndexError
            raise RedisConnectionError(str(error) or "the Redis cluster has no slots") from None
        self._is_stale = False

    def _node_of(self, key: str) -> ClusterNode:
        try:
            return self._table.get_node_from_slot(key_slot(key.encode()))
        except RedisClusterException as error:
            raise RedisConnectionError(str(error)) from None

    async def _send(self, placed: Sequence[tuple[ClusterNode, Batch]]) -> list[list[Any]]:
        """The replies of each batch, from its node."""
        places_of: dict[str, list[int]] = {}
        for place, (node, _) in enumerate(placed):
            places_of.setdefault(node.name, []).append(place)
        answers: list[list[Any]] = [[] for _ in placed]

        async def ask(places: list[int]) -> None:
            commands = [command for place in places for command in placed[place][1].commands]
            try:
                replies = iter(await self._ask(placed[places[0]][0], commands))
            except _UNREACHABLE as error:
                replies = iter([error] * len(commands))
            for place in places:
                answers[place] = [next(replies) for _ in placed[place][1].commands]

        await asyncio.gather(*map(ask, places_of.values()))
        return answers

    async def _redirect(self, again: Sequence[tuple[Batch, AskError | None]]) -> list[list[Any]]:
        """Sends batches once more: to where their slots have moved, or to where a slot that is moving has this key."""
        if any(isinstance(error, MovedError) for _, error in again):
            self._is_stale = True
            await self._refresh_if_stale()
        placed = []
        for batch, error in again:
            if error is None or isinstance(error, MovedError):
                placed.append((self._node_of(batch.key), batch))
            else:
                placed.append((self._node_at(error), Batch(batch.key, _asking(batch.commands))))
        answers = await self._send(placed)
        # the reply to each ASKING is left out
        return [
            replies if len(replies) == len(batch.commands) else _without_asking(batch.commands, replies)
            for (batch, _), replies in zip(again, answers, strict=True)
        ]

    def _node_at(self, error: AskError) -> ClusterNode:
        """The node that a redirection names: one without slots is not in the table yet."""
        node = self._table.get_node(host=error.host, port=error.port)
        if node is None:
            node = ClusterNode(error.host, error.port, "primary", **self._table.connection_kwargs)
            self._table.set_nodes(self._table.nodes_cache, {node.name: node})
        return node

    async def _ask(self, node: ClusterNode, commands: Sequence[Command]) -> list[Any]:
        if node.name not in self._breakers:
            self._breakers[node.name] = Breaker(f"Redis node {node.name}", self._retry_seconds)
        breaker = self._breakers[node.name]
        breaker.check()
        try:
            connection = node.acquire_connection()
            try:
                replies = await ask_twice(connection, commands)
            finally:
                node.release(connection)
        except (RedisConnectionError, RedisTimeoutError, OSError) as error:
            breaker.failed(error)
            # another node may have taken its place
            self._is_stale, self._failed_node = True, node.name
            raise
        breaker.succeeded()
        return replies


def _redirection(replies: Sequence[Any]) -> AskError | None:
    return next((reply for reply in replies if isinstance(reply, AskError)), None)


def _asking(commands: Sequence[Command]) -> list[Command]:
    """Before each command ASKING; a transaction needs one for all."""
    if commands[0] == _MULTI:
        return [("ASKING",), *commands]
    return [word for command in commands for word in (("ASKING",), command)]


def _without_asking(commands: Sequence[Command], replies: list[Any]) -> list[Any]:
    return replies[1:] if commands[0] == _MULTI else replies[1::2]
