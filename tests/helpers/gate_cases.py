"""Holds calls inside a service until a test lets them go."""

from __future__ import annotations

import threading

import pytest

from item_service.encoder import EncodedItems, Item, ItemEncoder
from tests.helpers.services import until
from twotower.pb import item_pb2

# a request that a gate holds
RING = item_pb2.EncodeRequest(items=[item_pb2.Item(title="خاتم ذهب")])


class Gate:
    """Stands in for ItemEncoder.encode: says when a call is inside, and holds it there until opened."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.inside = threading.Event()
        self.open = threading.Event()
        self.calls = 0
        self.failure = failure

    def install(self, patch: pytest.MonkeyPatch) -> None:
        encode, gate = ItemEncoder.encode, self

        def slow(self: ItemEncoder, items: list[Item]) -> EncodedItems:
            if any("warm" in item.title for item in items):
                return encode(self, items)
            gate.calls += 1
            gate.inside.set()
            assert gate.open.wait(60)
            if gate.failure:
                raise gate.failure
            return encode(self, items)

        patch.setattr(ItemEncoder, "encode", slow)


async def inside(gate: Gate) -> None:
    """Waits until the gate holds a call."""
    await until(gate.inside.is_set)
