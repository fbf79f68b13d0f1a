"""Runs one row: starts the system, sends the load, lets the fault happen, and counts."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.chaos.faults import Scene
from tests.chaos.figures import Figures, figures
from tests.chaos.load import Load
from tests.chaos.rows import CALM_SECONDS, Row
from tests.chaos.system import allow_many_files, system
from tests.chaos.world import World


async def drive(row: Row, world: World, folder: Path, rate: float) -> Figures:
    """The figures of one row at `rate` requests a second; `folder` gets everything that is written."""
    allow_many_files()
    async with system(world.copy(folder / "artifacts"), folder, row.shape) as running:
        scene = Scene(running)
        async with Load(running.urls, world.book, world.asks, rate, reads_written=not row.limits.may_lose) as load:
            async with asyncio.TaskGroup() as group:
                group.create_task(load.run(row.seconds))
                await asyncio.sleep(CALM_SECONDS)
                await row.fault(scene)
            lost = 0 if row.limits.may_lose else await load.count_lost()
            return figures(scene, load.events, row.limits, len(load.written), lost)
