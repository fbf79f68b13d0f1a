"""Fixtures of all tests (artifact folders, Redis, the log), the order of the test files, and one core per worker."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.helpers.redis_server import RedisServer

# These files take minutes. They run first, so that no worker has one of them left at the end.
_LONG_FILES = ("test_sanity_checks.py", "test_real_data.py", "test_real_text.py", "test_demo.py")


def pytest_configure(config: pytest.Config) -> None:
    """Binds each pytest-xdist worker, and the processes that it starts, to one core.

    A training uses one thread per core that it may use. Several trainings with a thread for every core each would wait
    for one another.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(
        key=lambda item: _LONG_FILES.index(item.path.name) if item.path.name in _LONG_FILES else len(_LONG_FILES)
    )


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact folder with one published version, "tiny-a", of 40 products. All tests share it: only read it."""
    from tests.helpers.tiny_version import build_version

    artifacts = tmp_path_factory.mktemp("tiny")
    build_version(artifacts, "tiny-a")
    return artifacts


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """An artifact folder for this test only, with one published version, "a"."""
    from tests.helpers.tiny_version import build_version

    folder = tmp_path / "artifacts"
    build_version(folder, "a")
    return folder


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """`logged.messages` holds what the trainer logs in this test."""
    caplog.set_level(logging.INFO, "trainer")
    return caplog


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    """One Redis for all tests of a file."""
    with RedisServer() as running:
        yield running


@pytest.fixture
def raw(server: RedisServer) -> Iterator[Any]:
    """A client of `server`, which is emptied first."""
    client = Redis(port=server.port)
    client.flushall()
    yield client
    client.close()
