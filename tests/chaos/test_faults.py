"""`make chaos`: every fault of the table under load, within its limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.drive import drive
from tests.chaos.figures import Figures
from tests.chaos.rows import ROWS, Row
from tests.chaos.world import World


@pytest.mark.chaos
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_fault_costs_no_more_than_its_limits(
    row: Row,
    world_of: Callable[[Row], World],
    rate: float,
    tmp_path: Path,
    record: Callable[[Row, Figures, list[str]], None],
) -> None:
    cost = asyncio.run(drive(row, world_of(row), tmp_path / "row", rate))
    broken = cost.broken(row.limits)
    record(row, cost, broken)
    assert not broken, cost.examples
