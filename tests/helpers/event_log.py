"""Writes entries of the event log as gateways do, and reads the recorder's files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow.parquet as pq

from twotower.event_log import STREAM, InteractionRecord, ListRecord, MergeRecord, log_files

NOON = 1_735_732_800_000  # 2025-01-01T12:00Z


def view(event_id: str, buyer: str | None = "b", session: str | None = None, **fields: Any) -> InteractionRecord:
    """An interaction with product p1 at noon; `fields` change it."""
    given = {"product_id": "p1", "event_type": "View", "timestamp_ms": NOON, **fields}
    return InteractionRecord(event_id=event_id, buyer_id=buyer, session_id=session, **given)


def shown(
    recommendation: str, products: Sequence[str], served_ms: int = NOON, buyer: str | None = "b", **fields: Any
) -> ListRecord:
    """A list of /retrieve; `fields` change it."""
    given: dict[str, Any] = {
        "route": "/retrieve",
        "slot": None,
        "session_id": None,
        "query": None,
        "product_id": None,
        "model_version": "v1",
        "source": "model",
        **fields,
    }
    return ListRecord(recommendation, served_ms, buyer_id=buyer, product_ids="\n".join(products), **given)


def send(redis: Any, kind: str, *records: InteractionRecord | ListRecord | MergeRecord, place: str = "*") -> str:
    """Adds one entry to the stream and returns its place."""
    added = redis.xadd(STREAM, {kind: orjson.dumps([tuple(one) for one in records])}, id=place)
    return str(added.decode())


def rows(folder: Path, kind: str) -> list[dict[str, Any]]:
    """All rows of one kind, in the order of the files."""
    return [row for path in log_files(folder, kind) for row in pq.read_table(path).to_pylist()]
