"""What both monoliths answer from: the published version, and a list per buyer in Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from redis.asyncio import Redis

from twotower.artifact.layout import Layout
from twotower.artifact.pointer import read_pointer
from twotower.artifact.version import Version, open_version
from twotower.events import Interaction

KEY_PREFIX = "monolith:history:"


def open_published(artifacts: Path) -> Version:
    """The version that CURRENT names."""
    layout = Layout(artifacts)
    pointer = read_pointer(layout.current)
    if pointer is None:
        raise SystemExit(f"{layout.current} does not exist: publish a version first")
    return open_version(layout, pointer.version)


async def write_histories(redis_url: str, histories: Mapping[str, Sequence[Interaction]]) -> None:
    """Replaces the lists of these buyers; an element holds product, event and time, separated by NUL."""
    client = Redis.from_url(redis_url)
    pipeline = client.pipeline(transaction=False)
    for buyer, history in histories.items():
        pipeline.delete(KEY_PREFIX + buyer)
        pipeline.rpush(
            KEY_PREFIX + buyer, *(f"{one.product_id}\0{one.event_type}\0{one.timestamp_ms}" for one in history)
        )
    await pipeline.execute()
    await client.aclose()
