"""The table of faults: how the system is started, what breaks, and what may come of it."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field, replace

from tests.chaos import faults
from tests.chaos.faults import Fault
from tests.chaos.system import SERVICES, Shape

# the fault comes after this many seconds of load
CALM_SECONDS = 3.0


@dataclass(frozen=True)
class Limits:
    """What a fault may cost.

    `share` of the requests may fail. Requests that need one of the services `without` may be refused (503 or 504), and
    lists be popular ones with a warning, from the fault until `back_seconds` after its end. `silent_seconds`: how long
    popular products may come without a warning. `may_lose` acknowledged writes. `memory_mb` of the gateway.
    `bystanders`: outcomes that requests which are part of the fault may have; all if empty.
    """

    share: float = 0.0
    without: frozenset[str] = frozenset()
    back_seconds: float = 0.0
    silent_seconds: float = 0.0
    may_lose: bool = False
    memory_mb: float = 0.0
    bystanders: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Row:
    """One fault under `seconds` of load."""

    name: str
    fault: Fault
    seconds: float = 20.0
    limits: Limits = field(default_factory=Limits)
    shape: Shape = field(default_factory=Shape)
    # on a catalogue of 5,000 products
    is_large: bool = False


def _of_replicas(service: str) -> list[Row]:
    """One of two replicas ends, drains, starts or hangs."""
    name, two = f"{service}-1", {service: 2}
    return [
        Row(f"{service}: kill -9 one of two", faults.send(signal.SIGKILL, name), shape=Shape(two)),
        Row(f"{service}: SIGTERM one of two", faults.send(signal.SIGTERM, name), shape=Shape(two)),
        Row(f"{service}: start one of two", faults.start(name), shape=Shape(two, absent=(name,))),
    ]


def _hanging(service: str) -> Row:
    name = f"{service}-1"
    limits, shape = Limits(share=0.01), Shape({service: 2})
    return Row(f"{service}: SIGSTOP one of two for 12 s", faults.pause(name, 12), 32, limits, shape)


def _only(service: str) -> Row:
    limits = Limits(without=frozenset({service}), back_seconds=0.5)
    return Row(f"{service}: kill -9 the only one, start it after 2 s", faults.replace_all(service), 20, limits)


_REDIS = frozenset({"redis"})
_TWO = Shape({"retrieval": 2, "buyer": 2})
_BESIDE = Limits(bystanders=frozenset({"200", "503", "504"}))

_SHARDED, _SHARDED_TWICE = Shape(is_sharded=True), Shape({"retrieval": 2}, is_sharded=True)

ROWS = [
    Row("no fault", faults.nothing, 10),
    *(row for service in SERVICES for row in _of_replicas(service)),
    *(map(_hanging, SERVICES)),
    *(map(_only, SERVICES)),
    *_of_replicas("gateway"),
    Row(
        "gateway: kill -9 the parent of two workers, one of two",
        faults.send(signal.SIGKILL, "gateway-1"),
        shape=Shape({"gateway": 2}, environ={"TWOTOWER_GATEWAY_WORKERS": "2"}),
    ),
    Row("Redis: kill -9, start it after 2 s", faults.restart_redis, 25, Limits(without=_REDIS, back_seconds=5)),
    Row(
        "Redis: emptied",
        faults.empty_redis,
        25,
        Limits(without=_REDIS, back_seconds=5, silent_seconds=1, may_lose=True),
        Shape(has_loader=True),
    ),
    Row("Redis: SIGSTOP for 5 s", faults.pause("redis", 5), 20, Limits(without=_REDIS, back_seconds=2)),
    Row("Redis: full for 4 s", faults.fill_redis, 15, Limits(without=_REDIS, back_seconds=1)),
    Row("artifacts: removed for 5 s", faults.remove_artifacts),
    Row("versions: swap and roll back", faults.publish("ba", 6), shape=_TWO),
    Row("versions: three, one every 1.5 s", faults.publish("bca", 1.5), 32, shape=_TWO),
    Row("versions: damaged ones, one file each", faults.corrupt_versions, 50, shape=_TWO),
    Row("shards: kill -9 one replica of two", faults.send(signal.SIGKILL, "retrieval-3"), shape=_SHARDED_TWICE),
    Row("shards: SIGTERM one replica of two", faults.send(signal.SIGTERM, "retrieval-3"), shape=_SHARDED_TWICE),
    Row(
        "shards: kill -9 the only replica of one, start it after 2 s",
        faults.replace_all("retrieval", [1]),
        20,
        Limits(without=frozenset({"retrieval"}), back_seconds=0.5),
        _SHARDED,
    ),
    Row(
        "shards: kill -9 both replicas of one, start them after 2 s, degrade",
        faults.replace_all("retrieval", [2, 3]),
        20,
        # /similar of a product that nobody holds is refused, and nothing else
        Limits(without=frozenset({"product"}), back_seconds=0.5),
        replace(_SHARDED_TWICE, environ={"TWOTOWER_GATEWAY_MISSING_SHARD": "degrade"}),
    ),
    Row(
        "shards: a version is published, one replica of four lags by 5 s",
        faults.publish_beside("retrieval-3", "b", 5),
        25,
        Limits(share=0.01),
        _SHARDED_TWICE,
    ),
    Row("shards: swap and roll back", faults.publish("ba", 6), shape=_SHARDED_TWICE),
    Row("files: cut in half in place for 8 s", faults.spoil_in_place(faults.cut_in_place), 25),
    Row("files: zeroed in place for 8 s", faults.spoil_in_place(faults.zero_in_place), 25),
    Row(
        "files: a start on a damaged version, repaired after 4 s",
        faults.start_on_damaged,
        25,
        Limits(without=frozenset({"retrieval"}), back_seconds=5),
    ),
    Row("expensive: 20 a second of k=1000&diversity=1", faults.expensive_lists(20, 14), 20, _BESIDE, is_large=True),
    Row("expensive: 20 a second of 5,000 interactions", faults.expensive_bodies(20, 14), 20, _BESIDE, is_large=True),
    Row("connections: 700 slow bodies of 1 MiB", faults.slow_bodies, 25, Limits(memory_mb=512)),
    Row("connections: 1,500 heads without an end", faults.half_heads, 25, shape=Shape(files=1024)),
]
