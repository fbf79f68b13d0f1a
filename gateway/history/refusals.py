"""What Redis refuses, in words that callers and operators may read."""

from __future__ import annotations

from typing import Any

from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from twotower.errors import Unavailable

# what it raises if it does not answer
NO_ANSWER = (RedisConnectionError, RedisTimeoutError, OSError)
# what a caller and an operator may read about a refusal that an operator can end; the first that fits
_EXPLAINED: list[tuple[type[Exception], str]] = [
    (OutOfMemoryError, "Redis is full: it stores nothing until it gets more memory"),
    (AskError, "Redis is a cluster: TWOTOWER_GATEWAY_REDIS_URL must begin with redis+cluster:// (rediss+cluster://)"),
    (MasterDownError, "this Redis is a replica that has lost its primary: it reads and stores nothing"),
    (ClusterDownError, "the Redis cluster is down: it has slots without a node"),
    (AuthenticationError, "Redis refuses the user name or the password"),
    (NoPermissionError, "Redis' access rules (ACL) do not allow a command or a key that histories need"),
    (ReadOnlyError, "this Redis is a replica, which stores nothing: the URL must name the primary, or Sentinel"),
]


def is_refusal(reply: object) -> bool:
    """Whether Redis refused a command. A key of the wrong type is no refusal: it concerns one buyer only."""
    return isinstance(reply, Exception) and not str(reply).startswith("WRONGTYPE")


def refusal_in(replies: list[Any] | Exception) -> Exception | None:
    """Why a transaction did not run, or the first command of it that was refused."""
    if isinstance(replies, Exception):
        return replies
    return next((one for one in replies if isinstance(one, Exception)), None)


def explain(refusal: Exception, otherwise: str) -> str:
    """What callers may read about a refusal: a reason that an operator can remove, or `otherwise`."""
    if str(refusal).startswith("MISCONF"):
        return "Redis cannot write to its disk, so it stores nothing"
    if isinstance(refusal, Unavailable):
        return str(refusal)
    if isinstance(refusal, NO_ANSWER):
        otherwise = "Redis does not answer"
    return next((text for kind, text in _EXPLAINED if isinstance(refusal, kind)), otherwise)


def describe(refusal: Exception) -> str:
    """What the log says of a refusal: redis-py takes the first word of Redis' answer away."""
    explained = explain(refusal, "")
    return f"{refusal} ({explained})" if explained else str(refusal)
