"""Spares callers the wait for something that is known to be down."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from twotower.errors import Unavailable

log = logging.getLogger(__name__)


class Breaker:
    """Open after a failure: calls are refused at once, but for one every `retry_seconds` that tries again.

    The first success closes it.
    """

    def __init__(self, name: str, retry_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._retry_at: float | None = None

    @property
    def is_open(self) -> bool:
        return self._retry_at is not None

    def check(self) -> None:
        """Unavailable while it is open and it is not this call's turn to try."""
        if self._retry_at is None:
            return
        now = self._clock()
        if now < self._retry_at:
            raise Unavailable(f"{self._name} is down")
        # this call tries; the others stay refused until it is known how that went
        self._retry_at = now + self._retry_seconds

    def failed(self, reason: object) -> None:
        if self._retry_at is None:
            log.error("%s is down: %s", self._name, reason)
        self._retry_at = self._clock() + self._retry_seconds

    def succeeded(self) -> None:
        if self._retry_at is not None:
            log.info("%s is back", self._name)
        self._retry_at = None
