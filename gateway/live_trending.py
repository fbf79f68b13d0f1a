"""What the recorder has counted in the live log, as this gateway read it last.

The recorder counts, not the gateways: it sees what all of them accepted, each event once, and no request waits for it.
"""

from __future__ import annotations

import logging
import time

from gateway.history.clock import SharedClock
from gateway.history.redis_client import RedisClient
from twotower.errors import CorruptArtifact, Unavailable
from twotower.events import DAY_MS
from twotower.pb import retrieval_pb2
from twotower.serving import wire
from twotower.trending import TRENDING_KEY, unpack_table

log = logging.getLogger(__name__)

# how long what was read counts
_FRESH_SECONDS = 5.0


class LiveTrending:
    """Reads the recorder's table when a list needs it, and keeps it for a few seconds."""

    def __init__(self, redis: RedisClient, clock: SharedClock) -> None:
        self._redis = redis
        self._clock = clock
        self._table: retrieval_pb2.RisingTable | None = None
        self._problem = ""
        self._read_at = -_FRESH_SECONDS

    async def table(self) -> tuple[retrieval_pb2.RisingTable | None, list[str]]:
        """The table, or None if the training's is to be used; then the reason, as warnings."""
        if time.monotonic() - self._read_at >= _FRESH_SECONDS:
            self._table, self._problem = await self._read()
            self._read_at = time.monotonic()
        return self._table, [self._problem] if self._problem else []

    async def _read(self) -> tuple[retrieval_pb2.RisingTable | None, str]:
        try:
            (value,) = await self._redis.ask(TRENDING_KEY, [("GET", TRENDING_KEY)])
        except Unavailable as error:
            return None, f"counted by the training: the live log's counts cannot be read: {error}"
        if value is None:
            return None, "counted by the training: the recorder has not counted the live log yet"
        try:
            ids, figures, counted = unpack_table(value)
        except CorruptArtifact as error:
            log.error("%s", error)
            return None, "counted by the training: the live log's counts cannot be read"
        if (age := self._clock.good_ms() - counted.until_ms) > counted.window_days * DAY_MS:
            return None, f"counted by the training: the recorder counted last {age / DAY_MS:.1f} days ago"
        return (
            retrieval_pb2.RisingTable(
                packed_product_ids=wire.pack_ids(ids),
                figures=figures.astype("<f4").tobytes(),
                counted=retrieval_pb2.Counted(**counted.model_dump()),
            ),
            "",
        )
