"""Options of `make chaos`, the worlds that all rows share, and the table at the end with one JSON line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import cache

import pytest

from tests.chaos.figures import Figures
from tests.chaos.rows import Row
from tests.chaos.world import World, make_world

_RESULTS = pytest.StashKey[dict[str, tuple[Figures, list[str]]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--chaos-rate", type=float, default=150.0, help="requests a second")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_RESULTS] = {}


@pytest.fixture(scope="session")
def rate(request: pytest.FixtureRequest) -> float:
    """Requests a second. Without `tests/chaos` on the command line pytest does not know the option."""
    return float(request.config.getoption("--chaos-rate", 150.0))


@pytest.fixture(scope="session")
def world_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Row], World]:
    """Gives a row the world that it runs in, made when it is first needed."""

    @cache
    def make(is_large: bool) -> World:
        if is_large:
            return asyncio.run(make_world(tmp_path_factory.mktemp("large"), ("a",), 5000, 64))
        return asyncio.run(make_world(tmp_path_factory.mktemp("small"), ("a", "b", "c"), 400))

    return lambda row: make(row.is_large)


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[[Row, Figures, list[str]], None]:
    """Keeps a row's figures for the table at the end."""
    results = request.config.stash[_RESULTS]

    def keep(row: Row, cost: Figures, broken: list[str]) -> None:
        results[row.name] = cost, broken

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    results = config.stash.get(_RESULTS, {})
    if not results:
        return
    columns = ("requests", "failed", "excused", "degraded", "wrong", "lost", "error_s", "back_s")
    terminalreporter.write_line("".join(f"{column:>10}" for column in columns) + "  fault")
    for name, (cost, broken) in results.items():
        false = cost.silent + cost.wrong + cost.mixed
        back = "never" if cost.back_seconds is None else cost.back_seconds
        values = (cost.requests, cost.failed, cost.excused, cost.degraded, false, cost.lost, cost.error_seconds, back)
        row = "".join(f"{value:>10}" for value in values)
        terminalreporter.write_line(f"{row}  {name}{'  <- ' + '; '.join(broken) if broken else ''}")
    faults = {name: {**cost.as_json(), "broken": broken} for name, (cost, broken) in results.items()}
    rate = config.getoption("--chaos-rate", 150.0)
    terminalreporter.write_line(json.dumps({"benchmark": "chaos", "rate": rate, "faults": faults}, ensure_ascii=False))
