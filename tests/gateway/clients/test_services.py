"""What the gateway's clients put into one call, against a real service."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.clients.batching import Limits
from gateway.clients.deadline import Deadline
from gateway.clients.services import RetrievalClient, Vector
from retrieval_service.index import Answer, ProductIndex, Query
from tests.helpers.services import running
from twotower.artifact.layout import Layout
from twotower.artifact.version import open_version
from twotower.pb import retrieval_pb2
from twotower.serving.client import connect


async def test_a_batch_holds_few_searches_that_take_long(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A diverse list of 100 counts as 17 plain ones, one of 1,000 as more than a batch holds: it travels alone."""
    batches: list[list[int]] = []
    search = ProductIndex.search

    def noted(self: ProductIndex, vectors: Any, queries: Sequence[Query]) -> list[Answer]:
        batches.append([1 + one.k * one.k // 600 if one.diversity else 1 for one in queries])
        return search(self, vectors, queries)

    stored = np.load(open_version(Layout(tiny), "tiny-a").layout.embeddings)
    vector = Vector(stored[0].tobytes(), stored.shape[1], "tiny-a")
    wanted = [retrieval_pb2.Query(k=k, diversity=0.5) for k in (100, 100, 1000, 100, 10)]
    wanted += [retrieval_pb2.Query(k=100)] * 30
    async with running("retrieval", tiny) as service, connect(service.address) as channel:
        client = RetrievalClient(channel, Limits(20, 1000, 1, 60.0))
        monkeypatch.setattr(ProductIndex, "search", noted)
        answers = await asyncio.gather(*(client.search(vector, one, Deadline.after(60)) for one in wanted))
        await client.close()
    assert sum(map(len, batches)) == len(wanted)
    assert all(len(batch) == 1 or sum(batch) <= 20 for batch in batches)
    assert [1667] in batches and max(map(len, batches)) > 10
    assert [len(hits.packed_ids.split("\0")) for hits in answers] == [min(one.k, 40) for one in wanted]
