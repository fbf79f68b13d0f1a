"""Encodes the contents that replicas ask for, in the version that each of them names, and puts the vectors into Redis.

The services never call one another: a replica that lacks the vectors of a live product says so in Redis. That holds for
a changed product as for a whole new version, which its replicas load while they still serve the one before.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from itertools import groupby

import numpy as np

from gateway import metrics
from gateway.clients.deadline import Deadline
from gateway.clients.item_client import ItemClient
from gateway.history.redis_client import RedisClient
from twotower.errors import CorruptArtifact, TwoTowerError, Unavailable, VersionNotHeld
from twotower.live.records import (
    CHANGES,
    HEAD,
    KEPT_CHANGES,
    LOCK,
    NOTE,
    VECTORS,
    VECTORS_SECONDS,
    WANTED,
    Content,
    LiveVectors,
    pack_vectors,
    unpack_wanted,
)

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.05
# one gateway at a time encodes; after this time another one may
_LOCK_MS = 3000
_TOGETHER, _SCANNED = 64, 256
_ENCODE_SECONDS = 5.0

_Wanted = tuple[bytes, str, str, Content]


class LiveEncoder:
    """Works by itself until it is closed."""

    def __init__(self, redis: RedisClient, items: ItemClient) -> None:
        self._redis = redis
        self._items = items
        self._problem = ""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        while True:
            try:
                is_idle = not await self.step()
                self._problem = ""
            except TwoTowerError as error:
                is_idle = True
                if str(error) != self._problem:
                    log.warning("live products are not encoded: %s", error)
                self._problem = str(error)
            except Exception:
                # without this task no new product would be found, and nobody would know
                is_idle = True
                log.exception("encoding live products failed")
            if is_idle:
                await asyncio.sleep(_LOOK_SECONDS)

    async def step(self) -> bool:
        """Encodes some of what is wanted, and says whether there was any. Raises TwoTowerError."""
        (count,) = await self._redis.ask(WANTED, [("HLEN", WANTED)])
        if not count:
            return False
        (mine,) = await self._redis.ask(LOCK, [("SET", LOCK, "1", "NX", "PX", _LOCK_MS)])
        if mine is None:
            return False
        try:
            wanted = await self._scan()
            for version, group in groupby(sorted(wanted, key=lambda one: one[1]), key=lambda one: one[1]):
                rows = list(group)
                for start in range(0, len(rows), _TOGETHER):
                    await self._encode(version, rows[start : start + _TOGETHER])
            return bool(wanted)
        finally:
            await self._redis.ask(LOCK, [("DEL", LOCK)])

    async def _scan(self) -> list[_Wanted]:
        """Some of what is wanted; none only if nothing is.

        A scan may find none although there are some: removed entries leave holes.
        """
        cursor = b"0"
        while True:
            ((cursor, found),) = await self._redis.ask(WANTED, [("HSCAN", WANTED, cursor, "COUNT", _SCANNED)])
            if (wanted := _read(found)) or cursor == b"0":
                return wanted

    async def _encode(self, version: str, rows: list[_Wanted]) -> None:
        fields = [one[0] for one in rows]
        try:
            encoded = await self._items.encode_contents(
                [(product_id, content) for _, _, product_id, content in rows], version, Deadline.after(_ENCODE_SECONDS)
            )
        except VersionNotHeld as error:
            # its replica asks again, and the item service may have it by then
            await self._redis.ask(WANTED, [("HDEL", WANTED, *fields)])
            raise Unavailable(str(error)) from None
        values: list[str | bytes] = []
        for (_, _, product_id, content), row in zip(rows, encoded, strict=True):
            if row.problem:
                log.error("the product %r has no vectors: %s", product_id, row.problem)
            vectors = LiveVectors(content.digest(), np.frombuffer(row.item, "<f4"), np.frombuffer(row.text, "<f4"))
            values += [product_id, pack_vectors(vectors)]
        key, ids = VECTORS + version, "\0".join(product_id for _, _, product_id, _ in rows)
        await self._redis.ask(
            key,
            [
                ("HSET", key, *values),
                ("EXPIRE", key, VECTORS_SECONDS),
                ("EVAL", NOTE, 2, HEAD, CHANGES, KEPT_CHANGES, version, ids),
                ("HDEL", WANTED, *fields),
            ],
        )
        metrics.LIVE_ENCODED.inc(len(rows))


def _read(found: list[bytes]) -> list[_Wanted]:
    wanted = []
    for field, value in zip(found[::2], found[1::2], strict=True):
        try:
            wanted.append((field, *unpack_wanted(field, value)))
        except CorruptArtifact as error:
            log.error("%s", error)
    return wanted
