"""Writes the event log: interactions together with the histories, served lists a moment later.

The log is bounded by the memory that its stream takes in Redis. From half of it on, served lists are dropped, counted
and said in /readyz. A full log refuses interactions: whoever gets a 200 finds them in the log.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Literal, NamedTuple

import orjson

from gateway import metrics
from gateway.history.connection import Command
from gateway.history.redis_history import RedisHistory
from twotower.errors import Unavailable
from twotower.event_log import ENCODED, STREAM, InteractionRecord, ListRecord, MergeRecord
from twotower.serving import wire

log = logging.getLogger(__name__)

# served lists are written together, at most this late
_FLUSH_SECONDS = 0.05
_LOOK_SECONDS = 1.0
# lists that may wait for Redis; further ones are dropped
_MAX_WAITING = 5000
# buyers whose last /encode_buyer is remembered
_MAX_REMEMBERED = 1000
_FULL = "the event log is full: the recorder has been away for too long"


class Encoded(NamedTuple):
    """Commands that log a history, and what to call once Redis has accepted them."""

    commands: list[Command]
    accepted: Callable[[], None]


class EventLog:
    """Builds the commands that log interactions, and writes served lists by itself, until it is closed."""

    def __init__(self, history: RedisHistory, max_bytes: int, lists_share: float) -> None:
        self._history = history
        self._max_bytes = max_bytes
        self._lists_share = lists_share
        self._bytes = 0
        self._waiting: list[tuple[str, ListRecord]] = []
        # the last history of /encode_buyer that was logged, by buyer, and the run of Redis that has it
        self._remembered: OrderedDict[str, frozenset[str]] = OrderedDict()
        self._run_id = b""
        self._task = asyncio.create_task(self._run())

    def interactions(self, records: Sequence[InteractionRecord]) -> list[Command]:
        """Commands that log interactions. Raises Unavailable if the log is full."""
        return [self._entry("interactions", orjson.dumps([tuple(one) for one in records]))]

    def encoded(self, buyer_id: str, packed_history: str) -> Encoded:
        """Logs what is new in a packed history. Raises Unavailable if the log is full.

        /encode_buyer gets the same interactions again and again.
        """
        remembered, given = self._remembered, packed_history.split(wire.SEPARATOR)
        known = remembered.get(buyer_id, frozenset())
        new = [one for one in given if one not in known]
        commands = [self._entry(ENCODED, wire.SEPARATOR.join([buyer_id, *new]))] if new else []
        return Encoded(commands, partial(_remember, remembered, buyer_id, frozenset(given)))

    def merge(self, record: MergeRecord) -> list[Command]:
        """Commands that log that a guest has logged in. Raises Unavailable if the log is full."""
        return [self._entry("merges", orjson.dumps([tuple(record)]))]

    def takes_list(self) -> bool:
        """Whether the next served list is one of the sample."""
        return self._lists_share >= 1 or random.random() < self._lists_share

    def served(self, record: ListRecord, kind: Literal["lists", "shadows"] = "lists") -> None:
        """Logs a list within a moment, or drops it if the log has no room for lists."""
        if len(self._waiting) < _MAX_WAITING:
            self._waiting.append((kind, record))
        else:
            metrics.LISTS_NOT_LOGGED.inc()

    async def check(self) -> None:
        """Raises Unavailable if the log drops what is served, or refuses what happens."""
        if self._bytes >= self._max_bytes:
            raise Unavailable(_FULL)
        if not self._has_room_for_lists:
            raise Unavailable("the event log is half full: the recorder is away or too slow")

    async def close(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self._flush()

    @property
    def _has_room_for_lists(self) -> bool:
        return 2 * self._bytes < self._max_bytes

    def _entry(self, field: str, value: str | bytes) -> Command:
        if self._bytes >= self._max_bytes:
            raise Unavailable(_FULL)
        return ("XADD", STREAM, "*", field, value)

    async def _run(self) -> None:
        loop, look_at = asyncio.get_running_loop(), 0.0
        while True:
            try:
                if loop.time() >= look_at:
                    look_at = loop.time() + _LOOK_SECONDS
                    await self._look()
                await self._flush()
            except Exception:
                # without this task no list would be logged, and nobody would know
                log.exception("writing the event log failed")
            await asyncio.sleep(_FLUSH_SECONDS)

    async def _look(self) -> None:
        try:
            size, info = await self._history.redis.ask(STREAM, [("MEMORY", "USAGE", STREAM), ("INFO", "server")])
        except Unavailable as error:
            self._remembered = OrderedDict()
            log.debug("the size of the event log is not known: %s", error)
            return
        if (run_id := next(line for line in info.splitlines() if line.startswith(b"run_id:"))) != self._run_id:
            # a Redis that was killed may have lost what it accepted last
            self._run_id = run_id
            # a call that began before this remembers what it wrote in the old one
            self._remembered = OrderedDict()
        had_room, was_full = self._has_room_for_lists, self._bytes >= self._max_bytes
        self._bytes = size or 0
        metrics.LOG_BYTES.set(self._bytes)
        metrics.LOG_LIMIT.set(self._max_bytes)
        if self._bytes >= self._max_bytes and not was_full:
            log.error("the event log takes %s of %s bytes: interactions are refused", self._bytes, self._max_bytes)
        elif had_room and not self._has_room_for_lists:
            log.error("the event log takes %s of %s bytes: no served list is logged", self._bytes, self._max_bytes)

    async def _flush(self) -> None:
        lists, self._waiting = self._waiting, []
        if not lists:
            return
        if self._has_room_for_lists:
            try:
                rows = {kind: [tuple(one) for of, one in lists if of == kind] for kind in dict(lists)}
                commands = [("XADD", STREAM, "*", kind, orjson.dumps(found)) for kind, found in rows.items()]
                await self._history.write_log(commands)
                return
            except Unavailable as error:
                log.debug("served lists are not logged: %s", error)
        metrics.LISTS_NOT_LOGGED.inc(len(lists))


def _remember(remembered: OrderedDict[str, frozenset[str]], buyer_id: str, history: frozenset[str]) -> None:
    remembered.pop(buyer_id, None)
    remembered[buyer_id] = history
    if len(remembered) > _MAX_REMEMBERED:
        remembered.popitem(last=False)
