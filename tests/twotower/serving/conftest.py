"""An item service, and a gate that holds its calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.helpers.gate_cases import Gate
from tests.helpers.services import running
from twotower.pb import item_pb2_grpc
from twotower.serving.client import connect


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    made = Gate()
    made.install(monkeypatch)
    return made


@pytest.fixture
async def item(tiny: Path) -> AsyncIterator[item_pb2_grpc.ItemServiceStub]:
    async with running("item", tiny) as service, connect(service.address) as channel:
        yield item_pb2_grpc.ItemServiceStub(channel)
