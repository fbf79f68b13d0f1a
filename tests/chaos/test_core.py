"""The small core of `make chaos` that `make test` runs: each fault for seconds, at a rate for a busy machine."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from tests.chaos import faults
from tests.chaos.drive import drive
from tests.chaos.faults import Fault, Scene
from tests.chaos.rows import Limits, Row
from tests.chaos.system import Shape
from tests.chaos.world import World, make_world

_RATE = 25.0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return asyncio.run(make_world(tmp_path_factory.mktemp("world"), ("a", "b"), 80, buyers=8))


def one_after_the_other(*steps: Fault) -> Fault:
    async def fault(scene: Scene) -> None:
        for step in steps:
            await step(scene)
            await asyncio.sleep(1)

    return fault


def test_ends_of_replicas_and_swaps_show_to_no_caller(world: World, tmp_path: Path) -> None:
    """Retrieval loses a replica, then gets it back; the buyer service drains one; two versions are published."""
    fault = one_after_the_other(
        faults.send(signal.SIGKILL, "retrieval-1"),
        faults.publish("b", 0),
        faults.start("retrieval-1"),
        faults.send(signal.SIGTERM, "buyer-1"),
        faults.publish("a", 0),
    )
    row = Row("core", fault, 8, shape=Shape({"retrieval": 2, "buyer": 2}))
    cost = asyncio.run(drive(row, world, tmp_path / "row", _RATE))
    assert not cost.broken(row.limits), cost.examples
    assert not cost.tracebacks


def test_a_killed_redis_loses_no_acknowledged_write(world: World, tmp_path: Path) -> None:
    row = Row("core", faults.restart_redis, 8, Limits(without=frozenset({"redis"}), back_seconds=5))
    cost = asyncio.run(drive(row, world, tmp_path / "row", _RATE))
    assert not cost.broken(row.limits), cost.examples
    assert cost.acknowledged > 0
