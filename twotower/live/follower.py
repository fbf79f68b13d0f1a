"""Follows the live catalogue in a thread: gives each version that a replica holds the changes since its training.

A version begins with the hashes, then follows the stream. After a gap in the numbers, and after a connection that was
lost, it reads the hashes again. Products whose vectors are missing are asked for in `wanted`; the gateways encode them.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson
from prometheus_client import Counter, Gauge
from redis import Redis, RedisCluster
from redis.exceptions import RedisClusterException, RedisError

from twotower.errors import CorruptArtifact, Unavailable
from twotower.live.records import (
    CHANGES,
    HEAD,
    PRODUCTS,
    REPLICAS,
    VECTORS,
    VECTORS_SECONDS,
    WANTED,
    Content,
    Position,
    State,
    pack_wanted,
    unpack_state,
)

log = logging.getLogger(__name__)

LAG_CHANGES = Gauge(
    "twotower_catalogue_lag_changes", "Accepted changes of products that this replica does not show yet"
)
LAG_SECONDS = Gauge("twotower_catalogue_lag_seconds", "Time since this replica showed every accepted change")
LIVE_PRODUCTS = Gauge("twotower_catalogue_live_products", "Products beside the index, by version", ["version"])
MISSING = Gauge("twotower_catalogue_missing_vectors", "Live products that wait for their vectors", ["version"])
RELOADS = Counter("twotower_catalogue_reloads", "Times that all states were read again")
REFRESH_DUE = Gauge("twotower_catalogue_refresh_due", "1 if more products are live than the set limit")

_FAILURES = (RedisError, RedisClusterException, OSError, CorruptArtifact)
_WAIT_MS = 200
# entries read at once, states asked for at once, products whose vectors are wanted at once
_ENTRIES, _STATES, _WANTED = 100, 500, 500
# vectors that have not come are asked for again after this time
_ASK_AGAIN_SECONDS = 3.0
_REPORT_SECONDS = 1.0
_RETRY_SECONDS = 0.3


class Follows(Protocol):
    """What a version does with changes; called by the follower's thread alone."""

    version: str
    # the changes that the version holds
    position: Position

    def apply(self, states: Sequence[State], vectors: Mapping[str, bytes], epoch: str) -> None:
        """Takes the current states of some products, and the vectors that are there for this version."""

    def missing(self) -> Mapping[str, Content]:
        """The products that wait for vectors of this content."""

    @property
    def live_products(self) -> int:
        """How many products stand beside the index."""


@dataclass(eq=False)
class _Attached:
    """A version that follows; the replica that drops it ends that."""

    follows: weakref.ref[Any]
    is_loaded: threading.Event = field(default_factory=threading.Event)


class Follower:
    """The thread of one replica. `name` is the replica's in what it reports."""

    def __init__(self, connect: Callable[[], Redis | RedisCluster], name: str, limit: int, wait_seconds: float) -> None:
        self._connect = connect
        self._name = name
        self._limit = limit
        self._wait_seconds = wait_seconds
        self._attached: list[_Attached] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._epoch = ""
        self._applied = 0
        # every version has to read the hashes: at first, and whenever changes may have been missed
        self._is_stale = True
        self._caught_up_at = time.monotonic()
        self._asked: dict[tuple[str, str], tuple[bytes, float]] = {}
        self._report_at = 0.0
        self._problem = ""
        self._is_due = False
        # whether the replica serves a version already; then the next one waits for its vectors
        self.serves: Callable[[], bool] = lambda: False
        LAG_SECONDS.set_function(self.lag_seconds)
        self._thread = threading.Thread(target=self._run, name="catalogue", daemon=True)
        self._thread.start()

    def lag_seconds(self) -> float:
        """Time since every accepted change was shown."""
        return time.monotonic() - self._caught_up_at

    def attach(self, follows: Follows) -> None:
        """Returns once `follows` has every change, and the vectors too unless the replica serves nothing yet.

        Raises Unavailable if that takes longer than the set time.
        """
        attached, until = _Attached(weakref.ref(follows)), time.monotonic() + self._wait_seconds
        with self._lock:
            self._attached.append(attached)
        if not attached.is_loaded.wait(self._wait_seconds):
            self._detach(attached)
            raise Unavailable(f"the live catalogue cannot be read: {self._problem or 'no answer'}")
        # the gateway that encodes may itself wait for a replica that serves nothing yet
        while self.serves() and (missing := len(follows.missing())):
            if time.monotonic() > until or self._stop.wait(0.02):
                self._detach(attached)
                raise Unavailable(f"version {follows.version} still lacks the vectors of {missing} live products")

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _detach(self, attached: _Attached) -> None:
        with self._lock:
            self._attached.remove(attached)

    def _run(self) -> None:
        client: Redis | RedisCluster | None = None
        while not self._stop.is_set():
            try:
                client = client or self._connect()
                self._step(client)
                if self._problem:
                    log.info("the live catalogue is followed again")
                self._problem = ""
            except _FAILURES as error:
                self._is_stale, client = True, None
                if not self._problem:
                    log.error("the live catalogue cannot be followed: %s", error)
                self._problem = str(error)
                self._stop.wait(_RETRY_SECONDS)
            except Exception:
                # without this thread deleted products would be shown, and nobody would know
                self._is_stale = True
                log.exception("following the live catalogue failed")
                self._stop.wait(_RETRY_SECONDS)
        if client is not None:
            try:
                client.hdel(REPLICAS, self._name)
                client.close()
            except _FAILURES as error:
                log.info("the replica stays in the list of replicas: %s", error)

    def _step(self, client: Any) -> None:
        epoch, sequence = _head(client)
        if epoch != self._epoch or sequence < self._applied:
            self._is_stale = True
        for one, follows in self._living():
            if self._is_stale or not one.is_loaded.is_set():
                self._load(client, follows, epoch)
                one.is_loaded.set()
        if self._is_stale:
            RELOADS.inc()
            self._epoch, self._applied, self._is_stale = epoch, sequence, False
        self._follow(client, sequence)
        self._ask_for_vectors(client)
        if time.monotonic() >= self._report_at:
            self._report(client)

    def _living(self) -> Iterator[tuple[_Attached, Follows]]:
        with self._lock:
            pairs = [(one, one.follows()) for one in self._attached]
            self._attached = [one for one, follows in pairs if follows is not None]
        return ((one, follows) for one, follows in pairs if follows is not None)

    def _load(self, client: Any, follows: Follows, epoch: str) -> None:
        cursor = None
        while cursor != 0:
            cursor, found = client.hscan(PRODUCTS, cursor or 0, count=_STATES)
            states = [unpack_state(one.decode(), value) for one, value in found.items()]
            follows.apply(states, _vectors(client, follows.version, [one.product_id for one in states]), epoch)

    def _follow(self, client: Any, sequence: int) -> None:
        """Applies the entries after the last one. Without any, waits a moment for one."""
        wait = None if self._applied < sequence else _WAIT_MS
        read = client.xread({CHANGES: f"{self._applied}-0"}, count=_ENTRIES, block=wait)
        entries = [entry for _, found in read or () for entry in found]
        numbers = [int(place.partition(b"-")[0]) for place, _ in entries]
        if numbers != list(range(self._applied + 1, self._applied + 1 + len(numbers))) or (
            not numbers and self._applied < sequence
        ):
            log.warning("changes after %s are no longer in the stream: all states are read again", self._applied)
            self._is_stale = True
            return
        if entries:
            self._apply(client, [fields for _, fields in entries])
            self._applied = numbers[-1]
        LAG_CHANGES.set(max(0, sequence - self._applied))
        if self._applied >= sequence:
            self._caught_up_at = time.monotonic()

    def _apply(self, client: Any, entries: Sequence[Mapping[bytes, bytes]]) -> None:
        changed, encoded = dict[str, None](), dict[str, dict[str, None]]()
        for fields in entries:
            ids = dict.fromkeys(fields[b"ids"].decode().split("\0"))
            if version := fields.get(b"version"):
                encoded.setdefault(version.decode(), {}).update(ids)
            else:
                changed |= ids
        states = _states(client, [*changed, *(one for ids in encoded.values() for one in ids if one not in changed)])
        for _, follows in self._living():
            due = [states[one] for one in {**changed, **encoded.get(follows.version, {})} if one in states]
            if due:
                vectors = _vectors(client, follows.version, [one.product_id for one in due])
                follows.apply(due, vectors, self._epoch)

    def _ask_for_vectors(self, client: Any) -> None:
        now, due = time.monotonic(), dict[str, bytes]()
        asked = dict[tuple[str, str], tuple[bytes, float]]()
        for _, follows in self._living():
            for product_id, content in follows.missing().items():
                key, digest = (follows.version, product_id), content.digest()
                before, when = self._asked.get(key, (b"", 0.0))
                if before == digest and now - when < _ASK_AGAIN_SECONDS:
                    asked[key] = (before, when)
                elif len(due) < _WANTED:
                    due[f"{follows.version}\0{product_id}"] = pack_wanted(content)
                    asked[key] = (digest, now)
        self._asked = asked
        if due:
            client.hset(WANTED, mapping=due)

    def _report(self, client: Any) -> None:
        """Says in Redis and in the metrics how far this replica is."""
        live = missing = 0
        for _, follows in self._living():
            here = len(follows.missing())
            LIVE_PRODUCTS.labels(follows.version).set(follows.live_products)
            MISSING.labels(follows.version).set(here)
            live, missing = max(live, follows.live_products), missing + here
            client.expire(VECTORS + follows.version, VECTORS_SECONDS)
        if live > self._limit and not self._is_due:
            log.warning("%s products are live, the limit is %s: `python -m trainer refresh` is due", live, self._limit)
        self._is_due = live > self._limit
        REFRESH_DUE.set(self._is_due)
        said = {
            "sequence": self._applied,
            "behind_seconds": round(self.lag_seconds(), 3),
            "missing": missing,
            "live": live,
            "refresh_due": self._is_due,
            "said_ms": time.time_ns() // 1_000_000,
        }
        client.hset(REPLICAS, self._name, orjson.dumps(said))
        self._report_at = time.monotonic() + _REPORT_SECONDS


def _head(client: Any) -> tuple[str, int]:
    epoch, sequence = client.hmget(HEAD, "epoch", "sequence")
    return (epoch or b"").decode(), int(sequence or 0)


def _states(client: Any, ids: Sequence[str]) -> dict[str, State]:
    found = dict[str, State]()
    for start in range(0, len(ids), _STATES):
        part = ids[start : start + _STATES]
        for one, value in zip(part, client.hmget(PRODUCTS, part), strict=True):
            if value is not None:
                found[one] = unpack_state(one, value)
    return found


def _vectors(client: Any, version: str, ids: Sequence[str]) -> dict[str, bytes]:
    found = dict[str, bytes]()
    for start in range(0, len(ids), _STATES):
        part = ids[start : start + _STATES]
        values = client.hmget(VECTORS + version, part)
        found |= {one: value for one, value in zip(part, values, strict=True) if value is not None}
    return found
