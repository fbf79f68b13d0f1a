"""A real Redis for the recorder's tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from tests.helpers.redis_server import RedisServer


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
