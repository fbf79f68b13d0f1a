"""The rules in Redis: every version of them, with who wrote it, when and why."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
from pydantic import ValidationError

from gateway.history.redis_client import RedisClient
from gateway.schemas.rule import Rules
from twotower.errors import Conflict, CorruptArtifact, NotFound

# one tag: both keys lie in one slot of a cluster
_HEAD, _VERSIONS = "twotower:{rules}:1:head", "twotower:{rules}:1:versions"
KEPT_VERSIONS = 200
# writes version ARGV[1] + 1 if ARGV[1] is the last one; returns the number of the last version then
_WRITE = """
local last = tonumber(redis.call('GET', KEYS[1]) or '0')
if last ~= tonumber(ARGV[1]) then return {0, last} end
redis.call('HSET', KEYS[2], last + 1, ARGV[2])
redis.call('HDEL', KEYS[2], last + 1 - tonumber(ARGV[3]))
redis.call('SET', KEYS[1], last + 1)
return {1, last + 1}
"""


class RulesVersion(NamedTuple):
    """One version of the rules."""

    version: int
    at: str
    who: str
    note: str
    rules: Rules


class RulesStore:
    """Raises Unavailable while Redis is down."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    async def last(self) -> int:
        """The number of the last version, 0 before the first."""
        (found,) = await self._redis.ask(_HEAD, [("GET", _HEAD)])
        return int(found or 0)

    async def read(self, version: int) -> RulesVersion:
        """Raises NotFound for a version that is not kept, CorruptArtifact for one that cannot be read."""
        (found,) = await self._redis.ask(_HEAD, [("HGET", _VERSIONS, version)])
        if found is None:
            raise NotFound(f"version {version} of the rules is not kept", field="version")
        return _unpack(version, found)

    async def history(self) -> list[RulesVersion]:
        """The kept versions, newest first."""
        (found,) = await self._redis.ask(_HEAD, [("HGETALL", _VERSIONS)])
        pairs = zip(found[::2], found[1::2], strict=True)
        return sorted((_unpack(int(version), value) for version, value in pairs), reverse=True, key=lambda one: one[0])

    async def write(self, rules: Rules, expected: int, who: str, note: str) -> RulesVersion:
        """Raises Conflict, and writes nothing, if another version than the expected one is the last."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        value = orjson.dumps({"at": at, "who": who, "note": note, "rules": rules.as_json()})
        command = ("EVAL", _WRITE, 2, _HEAD, _VERSIONS, expected, value, KEPT_VERSIONS)
        ((is_written, last),) = await self._redis.ask(_HEAD, [command])
        if not is_written:
            raise Conflict(f"the rules are at version {last}, not {expected}: somebody else has changed them")
        return RulesVersion(last, at, who, note, rules)


def _unpack(version: int, value: bytes) -> RulesVersion:
    try:
        content: dict[str, Any] = orjson.loads(value)
        rules = Rules.model_validate({"rules": content["rules"]})
        return RulesVersion(version, content["at"], content["who"], content["note"], rules)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValidationError) as error:
        raise CorruptArtifact(f"version {version} of the rules in Redis cannot be read: {error}") from None
