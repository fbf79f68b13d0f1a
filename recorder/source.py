"""Where the log's entries come from: one interface, and a Redis Stream behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from redis import Redis, RedisCluster
from redis.exceptions import RedisClusterException, RedisError, ResponseError

from twotower.errors import Unavailable
from twotower.event_log import GROUP, STREAM
from twotower.live.redis_client import open_redis

_FAILURES = (RedisError, RedisClusterException)
# one recorder at a time reads the log, whatever process it is
_CONSUMER = "recorder"


class Entry(NamedTuple):
    """One entry of the log: its place, when it was written (milliseconds since 1970), and its fields."""

    place: str
    written_ms: int
    fields: Mapping[str, bytes]


class Source(Protocol):
    """An ordered log. Entries are given again, in the same order, until they are confirmed."""

    def unconfirmed(self) -> list[Entry]:
        """Entries that were given to a recorder that has ended since. Raises Unavailable."""

    def take(self, count: int, wait_seconds: float) -> list[Entry]:
        """Up to `count` further entries; waits for the first. Raises Unavailable."""

    def confirm(self, entries: Sequence[Entry]) -> None:
        """Says that these entries, the oldest ones given, are safe. Raises Unavailable."""

    def waiting(self) -> int:
        """How many entries are not confirmed, given or not. Raises Unavailable."""

    def close(self) -> None:
        """Leaves the log to other recorders. Raises Unavailable if it cannot say so."""


class RedisStream:
    """The stream that gateways write, read through a consumer group. What is confirmed is removed from it."""

    def __init__(self, connect: Callable[[], Redis | RedisCluster]) -> None:
        self._connect = connect
        self._connected: Redis | RedisCluster | None = None
        self._has_group = False

    def connected(self) -> Redis | RedisCluster:
        """The client that it uses itself."""
        return self._client

    @property
    def _client(self) -> Redis | RedisCluster:
        # a client of a cluster asks it at once
        if self._connected is None:
            self._connected = self._connect()
        return self._connected

    def unconfirmed(self) -> list[Entry]:
        entries: list[Entry] = []
        while page := self._read(entries[-1].place if entries else "0", 1000, None):
            entries += page
        return entries

    def take(self, count: int, wait_seconds: float) -> list[Entry]:
        return self._read(">", count, max(1, round(wait_seconds * 1000)))

    def confirm(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        milliseconds, _, number = entries[-1].place.partition("-")
        try:
            with self._client.pipeline() as pipeline:
                pipeline.xack(STREAM, GROUP, *(one.place for one in entries))
                # no entry before them is open: they were the oldest
                pipeline.xtrim(STREAM, minid=f"{milliseconds}-{int(number) + 1}", approximate=False)
                pipeline.execute()
        except _FAILURES as error:
            raise self._failed(error) from None

    def waiting(self) -> int:
        try:
            return int(self._client.xlen(STREAM))
        except _FAILURES as error:
            raise self._failed(error) from None

    def close(self) -> None:
        if self._connected is not None:
            self._connected.close()

    def _read(self, after: str, count: int, wait_ms: int | None) -> list[Entry]:
        try:
            if not self._has_group:
                self._make_group()
            # redis-py types the answer of both protocols, of all commands and clients at once
            replies: Any = self._client.xreadgroup(GROUP, _CONSUMER, {STREAM: after}, count=count, block=wait_ms)
        except _FAILURES as error:
            raise self._failed(error) from None
        # an entry that was removed from the stream since has no fields
        return [_entry(place, fields) for _, found in replies or () for place, fields in found if fields]

    def _make_group(self) -> None:
        try:
            self._client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise
        self._has_group = True

    def _failed(self, error: Exception) -> Unavailable:
        # a Redis that comes back may have lost the group
        self._has_group = False
        return Unavailable(f"Redis: {error}")


def connect_redis(url: str, timeout_seconds: float) -> RedisStream:
    """The stream in the Redis at `url` (see `twotower.live.redis_client`); connects on first use."""
    return RedisStream(partial(open_redis, url, timeout_seconds))


def _entry(place: bytes, fields: Mapping[bytes, bytes]) -> Entry:
    written_ms = int(place.partition(b"-")[0])
    values: dict[str, Any] = {name.decode(): value for name, value in fields.items()}
    return Entry(place.decode(), written_ms, values)
