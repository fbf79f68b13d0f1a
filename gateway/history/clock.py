"""The time by which interactions are checked and histories expire: Redis' clock, as long as it does not jump."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

# a clock that moves further than this against the steady one has jumped; less is a correction of its rate
_JUMP_SECONDS = 60.0
_DAY_SECONDS = 86_400.0


def steady_seconds() -> float:
    """A clock that nobody sets. On Linux it counts the time in which the machine sleeps, too."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class SharedClock:
    """Two estimates of the time, in milliseconds since 1970: Redis' clock, and the last good one.

    The good one follows Redis' clock, and goes on by the steady clock if Redis' jumps. A check takes the one that keeps
    an interaction or a history. Before Redis answers for the first time, this machine's clock stands for both.
    """

    def __init__(self, steady: Callable[[], float] = steady_seconds, wall: Callable[[], float] = time.time) -> None:
        self._steady = steady
        self._wall = wall
        # each clock is what it shows beyond the steady one, in seconds
        self._local = self._good = self._redis = wall() - steady()
        self._has_asked = False

    @property
    def has_observed(self) -> bool:
        """Whether Redis has answered before."""
        return self._has_asked

    def good_ms(self) -> int:
        """The last good clock."""
        return self._milliseconds(self._good)

    def latest_ms(self) -> int:
        """The later of the two: what is ahead of it lies in the future."""
        return self._milliseconds(max(self._good, self._redis))

    def earliest_ms(self) -> int:
        """The earlier of the two: only what is too old for it has expired."""
        return self._milliseconds(min(self._good, self._redis))

    def observe(self, redis_seconds: float, last_written: float | None) -> None:
        """Takes in Redis' clock, and when a history was written last (None: never), by the good clock of that time.

        A process that starts trusts Redis' clock up to a day after the last write: after a start, a later one looks
        like a jump, and histories that live longer by the time of a stop do no harm.
        """
        self._watch_local()
        redis = redis_seconds - self._steady()
        if not self._has_asked:
            self._has_asked = True
            self._start(redis, last_written)
            return
        if abs(jump := redis - self._redis) > _JUMP_SECONDS:
            log.error("Redis' clock jumped by %+.0f s: no history expires early by it", jump)
        self._redis = redis
        if abs(redis - self._good) <= _JUMP_SECONDS:
            self._good = redis

    def _start(self, redis: float, last_written: float | None) -> None:
        if abs(difference := redis - self._local) > _JUMP_SECONDS:
            log.warning("Redis' clock is %+.0f s from this machine's: times are checked against Redis'", difference)
        self._good = self._redis = redis
        if last_written is not None:
            self._good = min(redis, last_written + _DAY_SECONDS - self._steady())

    def _watch_local(self) -> None:
        local = self._wall() - self._steady()
        if abs(jump := local - self._local) > _JUMP_SECONDS:
            log.error("this machine's clock jumped by %+.0f s: times are checked against Redis'", jump)
        self._local = local

    def _milliseconds(self, clock: float) -> int:
        return int((clock + self._steady()) * 1000)
