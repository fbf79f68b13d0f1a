"""Options of `make fuzz`, the system that is fuzzed, and one JSON line at the end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.system import Shape, System, allow_many_files, system
from tests.helpers.tiny_version import build_version

SUMMARY = pytest.StashKey[dict[str, Any]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--fuzz-requests", type=int, default=20_000, help="minimum number of requests")
    parser.addoption("--fuzz-seed", type=int, default=1)


@pytest.fixture
async def fuzzed(tmp_path: Path) -> AsyncIterator[System]:
    """The whole system on a version of 40 products named "a"."""
    allow_many_files()
    build_version(tmp_path / "artifacts", "a")
    shape = Shape(environ={"TWOTOWER_GATEWAY_FORGOTTEN_FILE": str(tmp_path / "forgotten.txt")})
    async with system(tmp_path / "artifacts", tmp_path / "run", shape) as running:
        yield running


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if summary := config.stash.get(SUMMARY, {}):
        terminalreporter.write_line(json.dumps({"benchmark": "fuzz", **summary}, ensure_ascii=False))
