"""A version whose product vectors are in Milvus answers as its flat twin does, and is refused if they are not there."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pymilvus.exceptions import MilvusException

from retrieval_service.index import ProductIndex
from retrieval_service.loading import load
from retrieval_service.query import Answer, Filter, Query
from retrieval_service.settings import RetrievalSettings
from tests.helpers.milvus_server import MilvusServer
from tests.helpers.redis_server import free_port
from tests.helpers.retrieval import popular, query, search
from tests.helpers.services import health, running
from tests.helpers.tiny_version import BRANDS, CATEGORIES, build_version, catalogue, products_of
from trainer.config.schema import Index
from trainer.index.build import item_queries
from trainer.index.milvus import write_collection
from twotower.arrays import Float32
from twotower.artifact.layout import Layout
from twotower.artifact.manifest import IndexSpec
from twotower.artifact.store import publish
from twotower.artifact.version import Version
from twotower.caller import Caller, caller
from twotower.errors import CorruptArtifact, DeadlineExceeded, SettingsError, Unavailable
from twotower.events import Interaction
from twotower.live.records import State
from twotower.pb import retrieval_pb2, retrieval_pb2_grpc
from twotower.search.milvus import MilvusCollection, Narrowed, Payload
from twotower.search.milvus_address import MilvusAddress
from twotower.search.word_index import Word
from twotower.serving import wire
from twotower.serving.client import call, connect
from twotower.serving.wire import pack_history

COUNT = 300
FIRST, SECOND, *_ = CATEGORIES


@pytest.fixture(scope="module")
def milvus() -> Iterator[MilvusServer]:
    with MilvusServer() as running:
        yield running


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Version:
    return build_version(tmp_path_factory.mktemp("milvus"), "flat", products=COUNT, buyers=0)


@pytest.fixture(scope="module")
def vectors(flat: Version) -> Float32:
    return np.load(flat.layout.embeddings)


@pytest.fixture(scope="module")
def spec(milvus: MilvusServer, vectors: Float32) -> IndexSpec:
    config = Index(kind="milvus", target_recall=0.99)
    queries = item_queries(vectors, 3, 50)
    return write_collection(vectors, products_of(catalogue(COUNT)), queries, config, milvus.address)


def in_milvus(flat: Version, spec: IndexSpec) -> Version:
    """The same version, with no file of an index."""
    files = {name: entry for name, entry in flat.manifest.files.items() if name != "product_index.faiss"}
    manifest = flat.manifest.model_copy(update={"index": spec, "files": files})
    return Version(manifest, flat.layout, flat.encoder)


def settings(milvus: MilvusServer) -> RetrievalSettings:
    return RetrievalSettings(milvus=milvus.address.uri, milvus_timeout_seconds=20.0)


@pytest.fixture(scope="module")
def searches(vectors: Float32) -> Float32:
    return item_queries(vectors, 11, 20).vectors


@pytest.fixture
def twins(milvus: MilvusServer, flat: Version, spec: IndexSpec) -> tuple[ProductIndex, ProductIndex]:
    """The flat version and the one in Milvus, which scans no filter."""
    unscanned = spec.model_copy(update={"exact_rows": 0})
    return load(flat, RetrievalSettings()), load(in_milvus(flat, unscanned), settings(milvus))


def recall(found: list[Answer], best: list[Answer]) -> float:
    """The share of the best scores in the answer: products of equal scores may stand for one another."""
    shares = [
        (one.scores >= true.scores[-1] - 1e-6).sum() / len(true.scores) for one, true in zip(found, best, strict=True)
    ]
    return float(np.mean(shares))


@pytest.mark.parametrize(
    "query",
    [
        Query(10),
        Query(90),
        Query(20, excluded_ids=[f"p{row}" for row in range(0, COUNT, 7)]),
        Query(20, filter=Filter(categories=(FIRST,))),
        Query(20, filter=Filter(brands=(BRANDS[1],), in_stock=True)),
        Query(20, filter=Filter(price_max=300.0)),
        Query(20, history=pack_history([Interaction("p3", "View", 0), Interaction("p8", "View", 0)])),
    ],
)
def test_answers_are_those_of_a_flat_index(
    twins: tuple[ProductIndex, ProductIndex], searches: Float32, query: Query
) -> None:
    exact, other = (one.search(searches, [query] * len(searches)) for one in twins)
    assert [len(one.product_ids) for one in other] == [len(one.product_ids) for one in exact]
    assert recall(other, exact) >= 0.99
    assert not {one for answer in other for one in answer.product_ids} & set(query.excluded_ids)


def test_scores_are_exact_and_an_answer_does_not_depend_on_its_batch(
    twins: tuple[ProductIndex, ProductIndex], searches: Float32, vectors: Float32
) -> None:
    together = twins[1].search(searches, [Query(10)] * len(searches))
    for place in (0, 11):
        (alone,) = twins[1].search(searches[place : place + 1], [Query(10)])
        assert alone.product_ids == together[place].product_ids
        rows = [int(one[1:]) for one in alone.product_ids]
        np.testing.assert_allclose(alone.scores, vectors[rows] @ searches[place], atol=1e-6)


def test_a_search_by_text_is_the_same(twins: tuple[ProductIndex, ProductIndex], flat: Version) -> None:
    texts = np.load(flat.layout.text_embeddings)[:5]
    asked = [Query(10, words=[Word("خاتم")]), *[Query(10)] * 4]
    for one, two in zip(*(twin.search_texts(texts, asked) for twin in twins), strict=True):
        assert one.product_ids == two.product_ids


def test_hidden_and_deleted_products_are_in_no_answer(
    twins: tuple[ProductIndex, ProductIndex], searches: Float32
) -> None:
    best = twins[1].search(searches, [Query(10)] * len(searches))
    gone = sorted({one for answer in best for one in answer.product_ids[:2]})
    states = [State(one, 1 + row, {}, is_hidden=row % 2 == 0, is_deleted=row % 2 == 1) for row, one in enumerate(gone)]
    for twin in twins:
        twin.live.apply(states, {}, "epoch")
    exact, other = (one.search(searches, [Query(10)] * len(searches)) for one in twins)
    assert not {one for answer in other for one in answer.product_ids} & set(gone)
    assert recall(other, exact) >= 0.99


def test_a_filter_asks_milvus_for_its_categories_alone(
    milvus: MilvusServer, flat: Version, spec: IndexSpec, monkeypatch: pytest.MonkeyPatch, searches: Float32
) -> None:
    asked: list[str] = []
    search = MilvusCollection.search

    def watched(
        self: MilvusCollection, queries: Float32, count: int, params: int, within: Narrowed | None = None
    ) -> object:
        asked.append("" if within is None else within.expression)
        return search(self, queries, count, params, within)

    opened = load(in_milvus(flat, spec.model_copy(update={"exact_rows": 0})), settings(milvus))
    monkeypatch.setattr(MilvusCollection, "search", watched)
    opened.search(searches[:1], [Query(5, filter=Filter(categories=(FIRST,)))])
    place = sorted(CATEGORIES).index(FIRST)
    assert len(asked) == 1 and f"category in [{place}]" in asked[0]


def test_the_payload_narrows_to_codes_that_hold_all_allowed_rows() -> None:
    payload = Payload({"brand": np.array([0, 1, 1, 2, 2], np.int32), "category": np.array([0, 0, 0, 1, 1], np.int32)})
    mask = np.array([False, True, False, True, False])
    assert payload.narrow(mask) == ("brand in [1, 2] and category in [0, 1]", 4)
    assert payload.narrow(np.ones(5, np.bool_)) == ("", 5)


def test_an_equal_collection_is_written_once(milvus: MilvusServer, vectors: Float32, spec: IndexSpec) -> None:
    before, config = milvus.client.list_collections(), Index(kind="milvus", target_recall=0.9)
    queries = item_queries(vectors, 3, 5)
    again = write_collection(vectors, products_of(catalogue(COUNT)), queries, config, milvus.address)
    assert again.collection == spec.collection
    assert milvus.client.list_collections() == before


def test_a_missing_collection_is_refused(milvus: MilvusServer, flat: Version, spec: IndexSpec) -> None:
    version = in_milvus(flat, spec.model_copy(update={"collection": "twotower_gone"}))
    with pytest.raises(CorruptArtifact, match="has no collection twotower_gone"):
        load(version, settings(milvus))


def test_a_collection_of_another_size_is_refused(milvus: MilvusServer, flat: Version, vectors: Float32) -> None:
    less = products_of(catalogue(COUNT - 1))
    config, queries = Index(kind="milvus", target_recall=0.9), item_queries(vectors, 3, 5)
    small = write_collection(vectors[:-1], less, queries, config, milvus.address)
    with pytest.raises(CorruptArtifact, match=r"the index holds 299 x 8, the vectors are 300 x 8"):
        load(in_milvus(flat, small), settings(milvus))


@pytest.mark.parametrize(
    ("uri", "problem"),
    [("", "TWOTOWER_MILVUS is not set"), ("tcp://x", "is 'tcp://x'"), ("http://a:b@c", "holds no credentials")],
)
def test_an_address_that_cannot_be_used_is_named(spec: IndexSpec, uri: str, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        MilvusCollection.open(MilvusAddress(uri), spec)


def test_milvus_that_is_away_is_an_error_of_every_search_until_it_is_back(
    flat: Version, vectors: Float32, searches: Float32, spec: IndexSpec
) -> None:
    with MilvusServer() as other:
        config, queries = Index(kind="milvus", target_recall=0.9), item_queries(vectors, 3, 5)
        mine = write_collection(vectors, products_of(catalogue(COUNT)), queries, config, other.address)
        products = load(in_milvus(flat, mine), settings(other))
        (before,) = products.search(searches[:1], [Query(10)])
        other.stop()
        with pytest.raises(Unavailable, match=f"Milvus at {other.address.uri}"):
            products.search(searches[:1], [Query(10)])
        # what does not need it goes on
        assert len(products.popular([Query(3)])[0].product_ids) == 3
        other.start()
        # milvus-lite has it on disk alone, until the search loads it
        (after,) = products.search(searches[:1], [Query(10)])
        assert after.product_ids == before.product_ids


def test_a_version_is_not_loaded_while_milvus_is_away(flat: Version, spec: IndexSpec) -> None:
    with pytest.raises(Unavailable, match="Milvus at http://"):
        load(in_milvus(flat, spec), RetrievalSettings(milvus=f"http://127.0.0.1:{free_port()}"))


async def test_a_milvus_that_hangs_holds_up_no_other_call(
    milvus: MilvusServer, spec: IndexSpec, vectors: Float32, flat: Version, tmp_path: Path
) -> None:
    version = build_version(tmp_path, "tiny-a", products=COUNT, buyers=0, publish=False)
    version.layout.manifest.write_text(in_milvus(version, spec).manifest.model_dump_json())
    publish(Layout(tmp_path), "tiny-a")
    few = {"milvus": milvus.address.uri, "milvus_timeout_seconds": 20.0, "milvus_searches": 2}
    text = wire.pack(np.load(flat.layout.text_embeddings)[:1], "tiny-a")
    by_text = retrieval_pb2.SearchRequest(vectors=text, queries=[query(3)], by_text=True)
    async with running("retrieval", tmp_path, **few) as service, connect(service.address) as channel:
        stub = retrieval_pb2_grpc.RetrievalServiceStub(channel)
        (before,) = await search(stub, vectors[:1], query(3))
        with milvus.paused():
            waiting = [asyncio.create_task(search(stub, vectors[:1], query(3))) for _ in range(5)]
            for _ in range(3):
                (list_of_three,) = await popular(stub, query(3))
                assert len(list_of_three.product_ids) == 3
                (found,) = (await call(stub.Search, by_text, 30, "retrieval service")).hits
                assert len(found.product_ids) == 3
                assert await health(service.address) == "SERVING"
            assert not any(one.done() for one in waiting)
        for (after,) in await asyncio.gather(*waiting):
            assert after.product_ids == before.product_ids


class Found(list[int]):
    """One query's answer."""

    ids, distances = (7,), (0.5,)


class Client:
    """Stands for Milvus: its searches fail while `is_away`, and loading waits for `may_load`."""

    def __init__(self) -> None:
        self.is_away, self.may_load, self.is_loading = True, threading.Event(), threading.Event()
        self.asked, self.timeouts = 0, list[float]()

    def search(self, _: str, *, data: list[Float32], timeout: float, **__: object) -> list[object]:
        self.asked += 1
        self.timeouts.append(timeout)
        if self.is_away:
            raise MilvusException(message="nobody is here")
        return [Found([7]) for _ in data]

    def load_collection(self, _: str, *, timeout: float) -> None:
        self.is_loading.set()
        assert self.may_load.wait(timeout)


def test_after_an_error_one_search_asks_and_the_others_fail_at_once() -> None:
    client, one = Client(), np.zeros((1, 4), np.float32)
    collection = MilvusCollection(client, "twotower_x", MilvusAddress("http://x", timeout_seconds=20.0), 10, 4)
    with pytest.raises(Unavailable, match="nobody is here"):
        collection.search(one, 1, 64)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(collection.search, one, 1, 64)
        assert client.is_loading.wait(20)
        for _ in range(3):
            with pytest.raises(Unavailable, match="nobody is here"):
                collection.search(one, 1, 64)
        assert client.asked == 1
        client.is_away = False
        client.may_load.set()
        assert asking.result()[1].tolist() == [[7]]
    client.is_loading.clear()
    assert collection.search(one, 1, 64)[1].tolist() == [[7]]
    assert client.asked == 3 and not client.is_loading.is_set()


def test_a_search_waits_no_longer_than_its_caller() -> None:
    client, one = Client(), np.zeros((1, 4), np.float32)
    client.is_away = False
    collection = MilvusCollection(client, "twotower_x", MilvusAddress("http://x", timeout_seconds=20.0), 10, 4)
    token = caller.set(Caller(time.monotonic() + 2.0))
    try:
        collection.search(one, 1, 64)
    finally:
        caller.reset(token)
    collection.search(one, 1, 64)
    assert 0 < client.timeouts[0] <= 2.0 and client.timeouts[1] == 20.0


def test_a_caller_in_a_hurry_does_not_make_the_others_fail() -> None:
    client, one = Client(), np.zeros((1, 4), np.float32)
    collection = MilvusCollection(client, "twotower_x", MilvusAddress("http://x", timeout_seconds=20.0), 10, 4)
    token = caller.set(Caller(time.monotonic() - 0.1))
    try:
        with pytest.raises(DeadlineExceeded):
            collection.search(one, 1, 64)
    finally:
        caller.reset(token)
    client.is_away = False
    assert collection.search(one, 1, 64)[1].tolist() == [[7]]
    assert not client.is_loading.is_set()
