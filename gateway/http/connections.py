"""The connections of one worker: how many may be open, and how long each may keep the server waiting for a request."""

from __future__ import annotations

import asyncio
import math
from typing import Protocol

# of the process's open files, those that are no connections of clients: logs, Redis, services
_OTHER_FILES = 256


class Connection(Protocol):
    """What `Connections` asks of one connection."""

    def idle_since(self) -> float:
        """When it became idle, on the loop's clock; infinite if it is answering a request. Closing ones are idle."""

    def end(self, *, late: bool) -> None:
        """Closes it without waiting for the client. `late`: the rest of a request did not arrive in time."""


class Connections:
    """At most `limit` connections are open, and none waits longer than `head_seconds` for the rest of a head.

    A new connection beyond the limit takes the place of the one that has waited longest for a head, or else of the one
    that has been idle longest. So connections on which nothing arrives cannot keep others out.
    """

    def __init__(self, limit: int, head_seconds: float) -> None:
        self._limit = limit
        self._head_seconds = head_seconds
        self._open: set[Connection] = set()
        # those that owe the rest of a head or of a body that nobody reads, and since when; the longest first
        self._waiting: dict[Connection, float] = {}
        self._alarm: asyncio.TimerHandle | None = None

    def opened(self, connection: Connection) -> bool:
        """Counts a new connection, which owes a head. Returns False if all others are answering requests."""
        if len(self._open) >= self._limit and not self._make_room():
            return False
        self._open.add(connection)
        self.waits(connection)
        return True

    def closed(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._waiting.pop(connection, None)

    def waits(self, connection: Connection) -> None:
        """From now on the connection owes the rest of a request; if it did before, since then."""
        now = asyncio.get_running_loop().time()
        self._waiting.setdefault(connection, now)
        if self._alarm is None:
            self._set_alarm()

    def arrived(self, connection: Connection) -> None:
        """The connection owes nothing any more."""
        self._waiting.pop(connection, None)

    def _make_room(self) -> bool:
        if self._waiting:
            chosen = next(iter(self._waiting))
        else:
            chosen = min(self._open, key=lambda one: one.idle_since())
            if math.isinf(chosen.idle_since()):
                return False
        self.closed(chosen)
        chosen.end(late=False)
        return True

    def _set_alarm(self) -> None:
        since = next(iter(self._waiting.values()))
        self._alarm = asyncio.get_running_loop().call_at(since + self._head_seconds, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        limit = asyncio.get_running_loop().time() - self._head_seconds
        for connection in [one for one, since in self._waiting.items() if since <= limit]:
            self.closed(connection)
            connection.end(late=True)
        if self._waiting:
            self._set_alarm()


def needed_files(connections: int) -> int:
    """How many open files a worker with this many connections needs."""
    return connections + _OTHER_FILES
