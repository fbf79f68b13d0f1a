"""What all tests share: artifact folders, and the order of the long tests."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

# files that take minutes: they begin first, so that no worker is left alone with one at the end
_LONG = ("test_sanity_checks.py", "test_real_data.py", "test_real_text.py", "test_demo.py")


def pytest_configure(config: pytest.Config) -> None:
    """A worker of several keeps to one core, and so does whatever it starts: a training takes a thread for each core
    that it may use, and twice as many threads as cores wait for one another."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _LONG.index(item.path.name) if item.path.name in _LONG else len(_LONG))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact folder with one published version, "tiny-a" of 40 products. Read it, never write to it."""
    from tests.helpers.tiny_version import build_version

    artifacts = tmp_path_factory.mktemp("tiny")
    build_version(artifacts, "tiny-a")
    return artifacts


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    """An artifact folder of this test alone, with version "a" published."""
    from tests.helpers.tiny_version import build_version

    folder = tmp_path / "artifacts"
    build_version(folder, "a")
    return folder


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the trainer logs in this test: `logged.messages`."""
    caplog.set_level(logging.INFO, "trainer")
    return caplog
