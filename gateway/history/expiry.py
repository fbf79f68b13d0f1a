"""Deletes the histories that nobody has written for their time to live.

No history has a time to live in Redis, because Redis' clock may jump. The sets `WRITTEN_KEYS` have the second of each
buyer's last write, by the last good clock.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.history.clock import SharedClock
from gateway.history.codec import LOADED, WRITTEN_KEYS, keys_of
from gateway.history.connection import Batch
from gateway.history.redis_client import RedisClient

_DAY_MS = 86_400_000
# buyers deleted by one call of the script; Redis serves nobody else while it runs
_EXPIRE_BUYERS = 100
# of the buyers from ARGV[2] on, each with three keys, deletes those whose last write is not newer than ARGV[1], and
# says how many. It works in a full Redis, too
_EXPIRE = """
local expired = 0
for place = 2, #ARGV do
  local written = redis.call('ZSCORE', KEYS[1], ARGV[place])
  if written and tonumber(written) <= tonumber(ARGV[1]) then
    redis.call('UNLINK', KEYS[3 * place - 4], KEYS[3 * place - 3], KEYS[3 * place - 2])
    redis.call('ZREM', KEYS[1], ARGV[place])
    expired = expired + 1
  end
end
return expired
"""


async def observe_clock(redis: RedisClient, clock: SharedClock) -> None:
    """Compares the clocks: `clock` takes in Redis'. In a cluster, that of the node with the mark."""
    (now,) = await redis.ask(LOADED, [("TIME",)])
    last_written = None
    if not clock.has_observed:
        newest = await redis.ask_each([Batch(key, [("ZREVRANGE", key, 0, 0, "WITHSCORES")]) for key in WRITTEN_KEYS])
        last_written = max((float(found[1]) for (found,) in newest if found), default=None)
    seconds, microseconds = now
    clock.observe(int(seconds) + int(microseconds) / 1e6, last_written)


async def expire(redis: RedisClient, clock: SharedClock, ttl_days: float) -> int:
    """Deletes the histories that were not written for the time to live. Returns how many."""
    total, keys = 0, list(WRITTEN_KEYS)
    while keys:
        oldest = (clock.earliest_ms() - int(ttl_days * _DAY_MS)) // 1000
        found = await redis.ask_each(
            [Batch(key, [("ZRANGEBYSCORE", key, "-inf", oldest, "LIMIT", 0, _EXPIRE_BUYERS)]) for key in keys]
        )
        due = {key: [buyer.decode() for buyer in buyers] for key, (buyers,) in zip(keys, found, strict=True) if buyers}
        expired = await redis.ask_each([_expiry(key, oldest, buyers) for key, buyers in due.items()])
        total += sum(count for (count,) in expired)
        keys = [key for key, buyers in due.items() if len(buyers) == _EXPIRE_BUYERS]
    return total


def _expiry(key: str, oldest: int, buyers: Sequence[str]) -> Batch:
    keys = [name for buyer in buyers for name in keys_of(buyer)]
    return Batch(key, [("EVAL", _EXPIRE, 1 + len(keys), key, *keys, oldest, *buyers)])
