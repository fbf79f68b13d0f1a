"""Copies the live catalogue from Redis into the log's folder, for trainings and refreshes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from redis import Redis, RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from twotower.errors import Unavailable
from twotower.live.records import HEAD, PRODUCTS, Position, State, unpack_state
from twotower.live.snapshot import snapshot_file, write_snapshot

_STATES = 500


class CatalogueCopy:
    """The file, written again when there are new changes."""

    def __init__(self, connect: Callable[[], Redis | RedisCluster], log: Path) -> None:
        self._connect = connect
        self._path = snapshot_file(log)
        self._written = Position()

    def refresh(self) -> bool:
        """Writes the file if there is none or it lacks a change, and says whether it did.

        Raises Unavailable, CorruptArtifact or OSError. The position is read first, so that each change up to it is in
        the file.
        """
        try:
            # redis-py types the answer of both protocols and clients at once
            client: Any = self._connect()
            epoch, sequence = client.hmget(HEAD, ["epoch", "sequence"])
            position = Position((epoch or b"").decode(), int(sequence or 0))
            if position == self._written and self._path.is_file():
                return False
            write_snapshot(self._path, position, _states(client))
        except (RedisError, RedisClusterException) as error:
            raise Unavailable(f"Redis: {error}") from None
        self._written = position
        return True


def _states(client: Any) -> Iterator[State]:
    seen = set[bytes]()
    cursor = None
    while cursor != 0:
        cursor, found = client.hscan(PRODUCTS, cursor or 0, count=_STATES)
        for product_id, value in found.items():
            # a scan may name a product twice
            if product_id not in seen:
                seen.add(product_id)
                yield unpack_state(product_id.decode(), value)
