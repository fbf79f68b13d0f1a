"""RetrievalService: nearest products, lookups, stored vectors, and requests that it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from retrieval_service.messages.queries import is_short
from retrieval_service.query import Filter
from tests.helpers.marginal_relevance import rank_by_marginal_relevance
from tests.helpers.retrieval import (
    FILTERS,
    JEWELLERY,
    PRODUCTS,
    Stub,
    opened,
    passes,
    popular,
    query,
    ranked,
    search,
)
from tests.helpers.services import check_process, check_wrong_setting, running
from tests.helpers.tiny_version import build_version
from twotower import errors
from twotower.arrays import Float32
from twotower.pb import common_pb2, retrieval_pb2
from twotower.search.vector_index import VectorIndex
from twotower.serving import telemetry, wire
from twotower.serving.client import call, connect


async def test_search_gives_the_exact_nearest_with_their_inner_products(stub: Stub, stored: Float32) -> None:
    hits = await search(stub, stored[[4, 9]], query(5), query(1000))
    assert list(hits[0].product_ids) == ranked(stored, stored[4], PRODUCTS, 5)
    assert hits[0].product_ids[0] == "p4"
    rows = [int(one[1:]) for one in hits[0].product_ids]
    np.testing.assert_allclose(wire.unpack_scores(hits[0].scores), stored[rows] @ stored[4], atol=1e-6)
    assert list(hits[1].product_ids) == ranked(stored, stored[9], PRODUCTS, 1000)  # k beyond the corpus: all 40


async def test_ids_travel_as_one_text_if_the_caller_wants_that(stub: Stub, stored: Float32) -> None:
    nothing = query(3, [one.id for one in PRODUCTS])
    asked = [query(3), nothing]
    request = retrieval_pb2.SearchRequest(vectors=wire.pack(stored[[4, 4]], "tiny-a"), queries=asked, packed=True)
    first, none = (await call(stub.Search, request, 30, "retrieval service")).hits
    assert first.packed_product_ids == "\0".join(ranked(stored, stored[4], PRODUCTS, 3)) and not first.product_ids
    assert none.packed_product_ids == "" and not none.product_ids
    popular = {}
    for packed in (False, True):
        answer = await call(
            stub.Popular, retrieval_pb2.PopularRequest(queries=asked, packed=packed), 30, "retrieval service"
        )
        popular[packed] = answer.hits[0]
    assert popular[True].packed_product_ids == "\0".join(popular[False].product_ids)
    assert not popular[True].product_ids and not popular[False].packed_product_ids


async def test_excluded_products_are_left_out_and_unknown_ones_are_harmless(stub: Stub, stored: Float32) -> None:
    everything = [one.id for one in PRODUCTS]
    hits = await search(stub, stored[[4, 4]], query(5, ["p4", "p4", "nobody", "p8"]), query(5, everything))
    assert list(hits[0].product_ids) == ranked(
        stored, stored[4], [one for one in PRODUCTS if one.id not in {"p4", "p8"}], 5
    )
    assert list(hits[1].product_ids) == []


@pytest.mark.parametrize("wanted", [Filter(), FILTERS[0]])
async def test_each_row_of_a_batch_has_its_own_diversity(stub: Stub, stored: Float32, wanted: Filter) -> None:
    """Of 40 products 4 x 5 are candidates, less those that are excluded or not allowed."""
    strengths = [0.0, 0.3, 1.0]
    filters = wanted._asdict() if wanted != Filter() else {}
    queries = [query(5, ["p6"], **filters) for _ in strengths]
    for one, strength in zip(queries, strengths, strict=True):
        one.diversity = strength
    hits = await search(stub, stored[[0, 1, 2]], *queries)
    rows = {one.id: one.row for one in PRODUCTS}
    allowed = [one for one in PRODUCTS if passes(one, wanted) and one.id != "p6"]
    for place, strength in enumerate(strengths):
        candidates = [rows[one] for one in ranked(stored, stored[place], allowed, 20 if strength else 5)]
        scores = stored[candidates].astype(np.float64) @ stored[place]
        chosen = rank_by_marginal_relevance(scores, stored[candidates], 5, strength)
        assert list(hits[place].product_ids) == [PRODUCTS[candidates[one]].id for one in chosen]
        np.testing.assert_allclose(wire.unpack_scores(hits[place].scores), scores[chosen], atol=1e-6)
    assert hits[1].product_ids != hits[0].product_ids or hits[2].product_ids != hits[0].product_ids


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf")])
@pytest.mark.parametrize("method", [search, popular])
async def test_a_diversity_out_of_range_is_refused(stub: Stub, stored: Float32, method: Any, value: float) -> None:
    asked = retrieval_pb2.Query(k=3, diversity=value)
    with pytest.raises(errors.InvalidInput, match=r"diversity.*must be from 0 to 1"):
        await (method(stub, stored[:1], asked) if method is search else method(stub, asked))


@pytest.mark.parametrize("k", [0, 1001, 2**32 - 1])
async def test_a_k_out_of_range_is_refused(stub: Stub, stored: Float32, k: int) -> None:
    for asked in (search(stub, stored[:2], query(1), query(k)), popular(stub, query(1), query(k))):
        with pytest.raises(errors.InvalidInput, match=f"k {k}: must be 1 to 1000") as caught:
            await asked
        assert caught.value.field == "k"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
async def test_numbers_that_are_not_usable_are_refused(stub: Stub, stored: Float32, value: float) -> None:
    vectors = stored[:2].copy()
    vectors[1, 3] = value
    with pytest.raises(errors.InvalidInput, match="vector 1") as caught:
        await search(stub, vectors, query(), query())
    assert caught.value.field == "vectors.data"


async def test_vectors_that_do_not_fit_are_refused(stub: Stub, stored: Float32) -> None:
    with pytest.raises(errors.InvalidInput, match="7: the index has 8 dimensions") as caught:
        await search(stub, stored[:1, :7], query())
    assert caught.value.field == "vectors.dimension"
    with pytest.raises(errors.InvalidInput, match="2: queries for 1 vectors") as caught:
        await search(stub, stored[:1], query(), query())
    assert caught.value.field == "queries"
    for bad, field in (
        (common_pb2.Vectors(data=b"12345", dimension=8, model_version="tiny-a"), "vectors.data"),
        (common_pb2.Vectors(data=b"", dimension=0, model_version="tiny-a"), "vectors.dimension"),
    ):
        with pytest.raises(errors.InvalidInput) as caught:
            await call(stub.Search, retrieval_pb2.SearchRequest(vectors=bad, queries=[query()]), 30, "r")
        assert caught.value.field == field


async def test_a_vector_without_a_version_cannot_be_placed(stub: Stub, stored: Float32) -> None:
    with pytest.raises(errors.InvalidInput) as caught:
        await search(stub, stored[:1], query(), version="")
    assert caught.value.field == "vectors.model_version"


async def test_a_vector_of_a_version_not_held_is_refused(stub: Stub, stored: Float32) -> None:
    with pytest.raises(errors.VersionNotHeld) as caught:
        await search(stub, stored[:1], query(), version="tiny-b")
    assert caught.value.held == ["tiny-a"]


async def test_no_queries_and_too_many_are_refused(stub: Stub, stored: Float32) -> None:
    for count in (0, 51):
        for asked in (
            search(stub, np.repeat(stored[:1], count, axis=0), *[query()] * count),
            popular(stub, *[query()] * count),
        ):
            with pytest.raises(errors.InvalidInput) as caught:
                await asked
            assert caught.value.field == "queries"


async def test_lookup_tells_what_is_known_in_the_order_asked_for(stub: Stub) -> None:
    ids = ["p10", "nobody", "p1", "p10"]
    answer = await call(stub.Lookup, retrieval_pb2.LookupRequest(product_ids=ids), 30, "retrieval service")
    assert [one.product_id for one in answer.products] == ids
    assert [one.found for one in answer.products] == [True, False, True, True]
    one, wanted = answer.products[2], PRODUCTS[1]
    assert (one.title, one.brand, one.category) == (wanted.title, wanted.brand, wanted.category)
    assert (one.price, one.currency, one.in_stock) == (11.0, "SAR", True)
    assert not answer.products[0].HasField("price")
    assert answer.products[1] == retrieval_pb2.Product(product_id="nobody")
    assert answer.model_version == "tiny-a"


async def test_vectors_are_the_stored_ones(stub: Stub, stored: Float32) -> None:
    request = retrieval_pb2.VectorsRequest(product_ids=["p9", "x", "p0", "y", "x"])
    answer = await call(stub.Vectors, request, 30, "retrieval service")
    vectors = wire.unpack(answer.vectors)
    np.testing.assert_array_equal(vectors[[0, 2]], stored[[9, 0]])
    assert not vectors[[1, 3, 4]].any()
    assert list(answer.unknown_product_ids) == ["x", "y"]
    assert answer.vectors.model_version == "tiny-a"


async def test_nothing_asked_for_is_nothing_answered(stub: Stub) -> None:
    lookup = await call(stub.Lookup, retrieval_pb2.LookupRequest(), 30, "retrieval service")
    vectors = await call(stub.Vectors, retrieval_pb2.VectorsRequest(), 30, "retrieval service")
    assert not lookup.products
    assert wire.unpack(vectors.vectors).shape == (0, 8)


async def test_more_ids_than_the_limit_are_refused(stub: Stub) -> None:
    with pytest.raises(errors.InvalidInput, match="the limit is 100"):
        await call(stub.Lookup, retrieval_pb2.LookupRequest(product_ids=["p"] * 101), 30, "retrieval service")
    with pytest.raises(errors.InvalidInput, match="the limit is 50"):
        await call(stub.Vectors, retrieval_pb2.VectorsRequest(product_ids=["p"] * 51), 30, "retrieval service")


async def test_every_call_takes_the_version_that_it_names(artifacts: Path) -> None:
    build_version(artifacts, "b", seed=1)
    async with running("retrieval", artifacts, threads=2) as service, connect(service.address) as channel:
        stub = Stub(channel)
        for name in ("a", "b"):
            vectors = np.load(opened(artifacts, name).layout.embeddings)
            (hits,) = await search(stub, vectors[[5]], query(3), version=name)
            assert list(hits.product_ids) == ranked(vectors, vectors[5], PRODUCTS, 3)
            request = retrieval_pb2.VectorsRequest(product_ids=["p5"], model_version=name)
            answer = await call(stub.Vectors, request, 30, "retrieval service")
            np.testing.assert_array_equal(wire.unpack(answer.vectors), vectors[[5]])
        latest = await call(stub.Popular, retrieval_pb2.PopularRequest(queries=[query(1)]), 30, "r")
        assert latest.model_version == "b"
        for method, request in (
            (stub.Popular, retrieval_pb2.PopularRequest(queries=[query()], model_version="c")),
            (stub.Lookup, retrieval_pb2.LookupRequest(model_version="c")),
            (stub.Vectors, retrieval_pb2.VectorsRequest(model_version="c")),
        ):
            with pytest.raises(errors.VersionNotHeld) as caught:
                await call(method, request, 30, "retrieval service")
            assert caught.value.held == ["b", "a"]


async def test_rows_are_counted_by_method(stub: Stub, stored: Float32) -> None:
    before = telemetry.CALL_ROWS.labels("Search")._value.get()
    await search(stub, stored[:3], query(), query(), query())
    assert telemetry.CALL_ROWS.labels("Search")._value.get() == before + 3


@pytest.mark.parametrize(
    ("queries", "short"),
    [
        ([query(100)], True),
        ([query(100, [f"p{row}" for row in range(100)])], True),
        ([query(100, [f"p{row}" for row in range(101)])], False),
        ([query(201)], False),
        ([query(100), query(200)], True),
        ([query(1), query(201)], False),
        ([query(1)] * 64, True),
        ([query(1)] * 65, False),
        ([query(10, in_stock=False)], False),
        ([query(10, categories=[JEWELLERY])], False),
        ([retrieval_pb2.Query(k=10, diversity=0.1)], False),
    ],
)
def test_only_short_unfiltered_queries_are_answered_without_a_worker(
    queries: list[retrieval_pb2.Query], short: bool
) -> None:
    assert is_short(retrieval_pb2.SearchRequest(queries=queries)) is short


def test_an_exact_search_is_estimated_by_the_floats_that_it_reads() -> None:
    index = faiss.IndexFlatIP(2500)
    vectors = np.zeros((2000, 2500), np.float32)
    index.add(vectors)
    assert VectorIndex(index, vectors).milliseconds(1) == 2
    # further queries of a batch share its pass
    assert VectorIndex(index, vectors).milliseconds(11) == 6


async def test_the_process_serves_drains_and_says_what_it_does(tiny: Path, stored: Float32) -> None:
    vectors = np.tile(stored, (25, 1))
    queries = [query(40, [f"p{row % 40}"], categories=[JEWELLERY], in_stock=True) for row in range(1000)]
    request = retrieval_pb2.SearchRequest(vectors=wire.pack(vectors, "tiny-a"), queries=queries)
    await check_process("retrieval", tiny, "twotower.retrieval.v1.RetrievalService", Stub, "Search", request)


def test_a_wrong_setting_is_one_line_and_exit_code_2() -> None:
    check_wrong_setting("retrieval")
