"""Whether all replicas show the changes of the live catalogue."""

from __future__ import annotations

import time

import orjson

from gateway.history.redis_client import RedisClient
from twotower.errors import Unavailable
from twotower.live.records import HEAD, REPLICAS

# a replica that is behind for longer is named; one that has not reported for so long, too, until it counts as gone
_BEHIND_SECONDS, _SILENT_MS, _GONE_MS = 1.0, 10_000, 600_000


async def check_replicas(redis: RedisClient) -> None:
    """Raises Unavailable, with the replica's name, if one is behind, and forgets those that are gone."""
    (sequence,), found = await redis.ask(HEAD, [("HMGET", HEAD, "sequence"), ("HGETALL", REPLICAS)])
    now_ms, late, gone = time.time_ns() // 1_000_000, list[str](), list[bytes]()
    for name, value in zip(found[::2], found[1::2], strict=True):
        said = orjson.loads(value)
        silent_ms = now_ms - said["said_ms"]
        if silent_ms > _GONE_MS:
            gone.append(name)
        elif silent_ms > _SILENT_MS:
            late.append(f"{name.decode()} has said nothing for {silent_ms // 1000} s")
        elif said["sequence"] < int(sequence or 0) and said["behind_seconds"] > _BEHIND_SECONDS:
            late.append(f"{name.decode()} is {int(sequence) - said['sequence']} changes behind")
        elif said["missing"]:
            late.append(f"{name.decode()} waits for the vectors of {said['missing']} products")
        elif said["refresh_due"]:
            late.append(f"{name.decode()} has {said['live']} products beside the index: a refresh is due")
    if gone:
        await redis.ask(REPLICAS, [("HDEL", REPLICAS, *gone)])
    if late:
        raise Unavailable("; ".join(sorted(late)[:5]))
