"""What the gateway's clients put into one call, against a real service."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.clients.answers import Vector
from gateway.clients.batching import Limits
from gateway.clients.deadline import Deadline
from gateway.clients.retrieval_client import RetrievalClient
from retrieval_service.index import ProductIndex
from retrieval_service.query import Answer, Query
from tests.helpers.services import running, until
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


async def test_nothing_waits_for_an_expensive_search(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the client, with one batch under way at a time, nor in the service, with one thread."""
    released, under_way = threading.Event(), list[int]()
    search = ProductIndex.search

    def held(self: ProductIndex, vectors: Any, queries: Sequence[Query]) -> list[Answer]:
        if queries[0].diversity:
            under_way.append(len(queries))
            assert released.wait(60)
        return search(self, vectors, queries)

    stored = np.load(open_version(Layout(tiny), "tiny-a").layout.embeddings)
    vector = Vector(stored[0].tobytes(), stored.shape[1], "tiny-a")
    expensive = retrieval_pb2.Query(k=1000, diversity=1.0)
    ordinary = [retrieval_pb2.Query(k=10), retrieval_pb2.Query(k=10, filter=retrieval_pb2.Filter(in_stock=True))]
    async with running("retrieval", tiny, threads=1) as service, connect(service.address) as channel:
        client = RetrievalClient(channel, Limits(64, 1000, 1, 60.0))
        monkeypatch.setattr(ProductIndex, "search", held)
        asking = [asyncio.create_task(client.search(vector, expensive, Deadline.after(60))) for _ in range(3)]
        await until(lambda: under_way)
        for query in ordinary:
            assert len((await client.search(vector, query, Deadline.after(60))).scores) == 10
        assert (under_way, [one.done() for one in asking]) == ([1], [False] * 3)
        released.set()
        assert [len(hits.scores) for hits in await asyncio.gather(*asking)] == [40] * 3
        await client.close()
    assert under_way == [1, 1, 1]
