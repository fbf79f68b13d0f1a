"""Loads the histories of a model version into Redis. One process at a time does, by a lock in Redis."""

from __future__ import annotations

import itertools
import json
import logging
import uuid
from collections.abc import Container, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from gateway.history.clock import SharedClock
from gateway.history.codec import (
    APART_PREFIX,
    LOADED,
    LOADING,
    Addition,
    apart_key_of,
    buyer_of_apart_key,
    pack_reply,
    split_known,
)
from gateway.history.expiry import observe_clock
from gateway.history.redis_client import RedisClient
from gateway.history.redis_history import RedisHistory
from twotower.artifact.catalogue import read_product_rows
from twotower.artifact.version import Version
from twotower.errors import CorruptArtifact, InvalidInput, Unavailable
from twotower.events import Interaction, check_id
from twotower.forgotten import ForgottenBuyers
from twotower.history import read_recent
from twotower.serving import wire

log = logging.getLogger(__name__)

# buyers per transaction; Redis serves nobody else while it runs one
_BATCH_BUYERS = 100
# a loader that has died holds the lock for so long
_LEASE_MS = 10_000
_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
# says that histories are loaded, if the lock has not been lost since
_FINISH = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2])
return redis.call('DEL', KEYS[1])
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


class LoadingElsewhere(Unavailable):
    """Another process is loading histories."""


class Mark(NamedTuple):
    """What Redis says about its histories: the version they were loaded from, and the sha256 of the version's file."""

    version: str
    recent_sha256: str


class Loaded(NamedTuple):
    """How much was copied into Redis, and how many interactions kept apart became part of a history."""

    version: str
    buyers: int
    interactions: int
    adopted: int


def mark_of(version: Version) -> Mark:
    """The mark that Redis has after this version was loaded. Raises CorruptArtifact if it has no interactions."""
    name = version.layout.recent.name
    entry = version.manifest.private_files.get(name)
    if entry is None:
        raise CorruptArtifact(f"{name} is not listed in the manifest of {version.name}")
    return Mark(version.name, entry.sha256)


async def read_mark(history: RedisHistory) -> Mark | None:
    """The mark in Redis; None if no histories are loaded."""
    (value,) = await history.redis.ask(LOADED, [("GET", LOADED)])
    return None if value is None else Mark(**json.loads(value))


async def load(history: RedisHistory, version: Version, forgotten: ForgottenBuyers, *, replace: bool = False) -> Loaded:
    """Merges the version's interactions into Redis; with `replace`, they replace the histories of their buyers.

    Skips forgotten buyers.

    Newer interactions that are there, or arrive meanwhile, are neither lost nor displaced by older ones. Raises
    LoadingElsewhere, CorruptArtifact before anything is written, and Unavailable if Redis fails, or restarts meanwhile.
    """
    files, mark = version.layout, mark_of(version)
    version.check(files.recent, files.ids)
    products = read_product_rows(files.ids)
    buyers = interactions = 0
    async with _Lock(history.redis, history.clock) as lock:
        additions = (one for one in read_additions(files.recent, products) if one.buyer_id not in forgotten)
        for batch in _batches(additions, _BATCH_BUYERS):
            for count in await history.add(batch, replace=replace):
                if isinstance(count, Exception):
                    raise count
                buyers += 1
                interactions += count
            # a buyer who is forgotten while this runs must not come back by it
            forgotten.refresh()
            if late := [one.buyer_id for one in batch if one.buyer_id in forgotten]:
                await history.remove(late)
            await lock.renew()
        adopted = await _adopt_all(history, products, lock)
        await lock.finish(mark)
    return Loaded(version.name, buyers, interactions, adopted)


async def adopt(history: RedisHistory, version: Version) -> Loaded:
    """Moves interactions that were kept apart, and whose products this version knows, into their histories.

    Enough for a version whose file of interactions Redis has loaded already. Raises as `load` does.
    """
    mark = mark_of(version)
    version.check(version.layout.ids)
    products = read_product_rows(version.layout.ids)
    async with _Lock(history.redis, history.clock) as lock:
        adopted = await _adopt_all(history, products, lock)
        await lock.finish(mark)
    return Loaded(version.name, 0, 0, adopted)


def read_additions(path: Path, products: Container[str]) -> Iterator[Addition]:
    """The interactions of a file, buyer by buyer. Raises CorruptArtifact for an id that Redis cannot store."""
    for buyer_id, interactions in read_recent(path):
        try:
            check_id(buyer_id, "buyer_id")
            for interaction in interactions:
                check_id(interaction.product_id, "product_id")
                check_id(interaction.event_type, "event_type")
        except (InvalidInput, TypeError) as error:
            raise CorruptArtifact(f"{path} holds an unusable interaction of buyer {buyer_id!r}: {error}") from None
        if interactions:
            unknown = {one.product_id for one in interactions if one.product_id not in products}
            yield split_known(buyer_id, interactions, unknown)


async def _adopt_all(history: RedisHistory, products: Container[str], lock: _Lock) -> int:
    moved = 0
    async for keys in history.redis.scan(f"{APART_PREFIX}*"):
        for key in keys:
            moved += await _adopt_one(history, buyer_of_apart_key(key), products)
        await lock.renew()
    return moved


async def _adopt_one(history: RedisHistory, buyer_id: str, products: Container[str]) -> int:
    apart = apart_key_of(buyer_id)
    (members,) = await history.redis.ask(apart, [("ZRANGE", apart, 0, -1)])
    columns = wire.unpack_columns(pack_reply(members, buyer_id))
    known = [Interaction(*one) for one in zip(*columns, strict=True) if one[0] in products]
    if not known:
        return 0
    # added before it is removed: a reader in between sees it twice and counts it once
    (count,) = await history.add([Addition(buyer_id, known)])
    if isinstance(count, Exception):
        raise count
    await history.redis.ask(apart, [("ZREM", apart, *map(wire.pack_interaction, known))])
    return len(known)


class _Lock:
    """The lock of the loader. Entering raises LoadingElsewhere if another process holds it."""

    def __init__(self, redis: RedisClient, clock: SharedClock) -> None:
        self._redis, self._clock = redis, clock
        self._token = uuid.uuid4().hex
        self._run_ids: set[bytes] = set()

    async def __aenter__(self) -> _Lock:
        # what is loaded expires by Redis' clock
        await observe_clock(self._redis, self._clock)
        run_ids = await self._read_run_ids()
        (taken,) = await self._redis.ask(LOADING, [("SET", LOADING, self._token, "NX", "PX", _LEASE_MS)])
        if taken is None:
            raise LoadingElsewhere("another process is loading histories into Redis")
        self._run_ids = run_ids
        return self

    async def __aexit__(self, *_: object) -> None:
        # if Redis is down, the lease ends by itself
        with suppress(Unavailable):
            await self._redis.ask(LOADING, [("EVAL", _RELEASE, 1, LOADING, self._token)])

    async def renew(self) -> None:
        (held,) = await self._redis.ask(LOADING, [("EVAL", _RENEW, 1, LOADING, self._token, _LEASE_MS)])
        self._check(held)

    async def finish(self, mark: Mark) -> None:
        """Sets the mark. Raises Unavailable if a server of Redis was restarted since: it may have lost a part."""
        if await self._read_run_ids() != self._run_ids:
            raise Unavailable("Redis was restarted while histories were loaded into it")
        value = json.dumps(mark._asdict())
        (held,) = await self._redis.ask(LOADING, [("EVAL", _FINISH, 2, LOADING, LOADED, self._token, value)])
        self._check(held)

    async def _read_run_ids(self) -> set[bytes]:
        """What names this run of each server."""
        return {_run_id(info) for info in await self._redis.ask_nodes(("INFO", "server"))}

    def _check(self, held: Any) -> None:
        if not held:
            raise Unavailable("Redis has lost the loader's lock: it was emptied, or the loader was too slow")


def _run_id(info: bytes) -> bytes:
    """Names one run of a Redis server."""
    return next(line for line in info.splitlines() if line.startswith(b"run_id:"))


def _batches(additions: Iterable[Addition], size: int) -> Iterator[list[Addition]]:
    iterator = iter(additions)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
