"""A circuit breaker: refuses calls to a dependency that is known to be down."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from twotower.errors import Unavailable

log = logging.getLogger(__name__)


class Breaker:
    """Opens after a failure and closes after a success. While open, it lets one call through every `retry_seconds`."""

    def __init__(self, name: str, retry_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._retry_at: float | None = None

    @property
    def is_open(self) -> bool:
        return self._retry_at is not None

    def check(self) -> None:
        """Raises Unavailable if the breaker is open, unless this call is the next to try."""
        if self._retry_at is None:
            return
        now = self._clock()
        if now < self._retry_at:
            raise Unavailable(f"{self._name} is down")
        # this call tries; others are refused until it has succeeded or failed
        self._retry_at = now + self._retry_seconds

    def failed(self, reason: object) -> None:
        if self._retry_at is None:
            log.error("%s is down: %s", self._name, reason)
        self._retry_at = self._clock() + self._retry_seconds

    def succeeded(self) -> None:
        if self._retry_at is not None:
            log.info("%s is back", self._name)
        self._retry_at = None
