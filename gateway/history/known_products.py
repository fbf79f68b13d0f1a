"""Which products the served version knows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from gateway.clients.deadline import Deadline
from gateway.clients.retrieval import Retrieval

# a new version may lack a product that an old one had
_REMEMBER_SECONDS = 10.0
_MAX_REMEMBERED = 100_000


class KnownProducts:
    """Asks the retrieval service, and remembers for ten seconds which products it knew.

    Unknown ones are not remembered: the next version may know them, and strangers can invent any number.
    """

    def __init__(self, retrieval: Retrieval, clock: Callable[[], float] = time.monotonic) -> None:
        self._retrieval = retrieval
        self._clock = clock
        self._known: set[str] = set()
        self._forget_at = clock()

    async def find_unknown(self, product_ids: Iterable[str], deadline: Deadline) -> set[str]:
        """Those that the served version does not know. Raises Unavailable or DeadlineExceeded like any call."""
        if self._clock() >= self._forget_at or len(self._known) > _MAX_REMEMBERED:
            self._known = set()
            self._forget_at = self._clock() + _REMEMBER_SECONDS
        asked = [one for one in dict.fromkeys(product_ids) if one not in self._known]
        if not asked:
            return set()
        known = self._known
        unknown = await self._retrieval.find_unknown(asked, deadline)
        known.update(one for one in asked if one not in unknown)
        return unknown
