"""A long batch ends with its caller, and the next call is answered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import retrieval_service.search.searches as searches
from tests.helpers.retrieval import Stub, opened
from tests.helpers.services import running, until
from tests.helpers.tiny_version import build_version
from twotower import errors
from twotower.arrays import Float32
from twotower.pb import retrieval_pb2
from twotower.search.ranking import Hits
from twotower.search.vector_index import VectorIndex
from twotower.serving import wire
from twotower.serving.client import call, connect

QUERIES = 1024


class Rows:
    """Stands in for `diversify`: counts the rows that are begun and those that are done."""

    def __init__(self, diversify: Callable[[Hits, VectorIndex, int, float], Hits]) -> None:
        self._diversify = diversify
        self.begun, self.done = 0, 0
        self.first = threading.Event()

    def __call__(self, hits: Hits, vectors: VectorIndex, k: int, diversity: float) -> Hits:
        if not diversity:
            return self._diversify(hits, vectors, k, diversity)
        self.begun += 1
        self.first.set()
        chosen = self._diversify(hits, vectors, k, diversity)
        self.done += 1
        return chosen


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    counted = Rows(searches.diversify)
    monkeypatch.setattr(searches, "diversify", counted)
    return counted


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("abandoned")
    build_version(made, "wide", products=1200, dimension=128)
    return made


def vectors(artifacts: Path, count: int) -> Float32:
    stored: Float32 = np.load(opened(artifacts, "wide").layout.embeddings)
    return np.resize(stored, (count, stored.shape[1]))


def dear(artifacts: Path) -> retrieval_pb2.SearchRequest:
    queries = [retrieval_pb2.Query(k=1000, diversity=0.5)] * QUERIES
    return retrieval_pb2.SearchRequest(vectors=wire.pack(vectors(artifacts, QUERIES), "wide"), queries=queries)


def one(artifacts: Path) -> retrieval_pb2.SearchRequest:
    """One query for the same workers."""
    queries = [retrieval_pb2.Query(k=500, diversity=0.5)]
    return retrieval_pb2.SearchRequest(vectors=wire.pack(vectors(artifacts, 1), "wide"), queries=queries)


async def test_a_search_whose_deadline_has_passed_frees_its_worker(artifacts: Path, rows: Rows) -> None:
    async with running("retrieval", artifacts, threads=1) as service, connect(service.address) as channel:
        stub = Stub(channel)
        with pytest.raises(errors.DeadlineExceeded):
            await call(stub.Search, dear(artifacts), 0.5, "retrieval service")
        answer = await call(stub.Search, one(artifacts), 30, "retrieval service")
    assert len(answer.hits) == 1
    assert rows.begun < QUERIES


async def test_a_search_that_is_cancelled_frees_its_worker_in_the_middle_of_a_row(artifacts: Path, rows: Rows) -> None:
    async with running("retrieval", artifacts, threads=1) as service, connect(service.address) as channel:
        stub = Stub(channel)
        left = asyncio.ensure_future(call(stub.Search, dear(artifacts), 60, "retrieval service"))
        await until(rows.first.is_set)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        answer = await call(stub.Search, one(artifacts), 30, "retrieval service")
    assert len(answer.hits) == 1
    assert rows.done < rows.begun < QUERIES


async def test_a_message_of_a_stream_ends_with_its_own_time(artifacts: Path, rows: Rows) -> None:
    async with running("retrieval", artifacts, threads=1) as service, connect(service.address) as channel:
        stub, request = Stub(channel), dear(artifacts)
        request.caller.timeout_ms = 300
        stream = stub.SearchStream()
        await stream.write(request)
        with pytest.raises(Exception, match="the deadline passed"):
            await stream.read()
        assert len((await call(stub.Search, one(artifacts), 30, "retrieval service")).hits) == 1
    assert rows.begun < QUERIES
