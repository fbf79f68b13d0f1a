"""RetrievalService: exact nearest products under filters, the popular list, lookups and stored vectors."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from retrieval_service.index import Filter, ProductIndex, Query, load
from retrieval_service.servicer import is_small
from retrieval_service.settings import RetrievalSettings
from tests.helpers.marginal_tower import most_marginal
from tests.helpers.services import check_process, check_wrong_setting, running
from tests.helpers.tiny_version import BRANDS, CATEGORIES, build_version, catalogue
from trainer.config.schema import Index
from trainer.index.build import build, item_queries
from twotower import errors
from twotower.artifact.catalogue import Catalogue, Product, write_catalogue
from twotower.artifact.layout import Layout
from twotower.artifact.version import Version, open_version
from twotower.errors import CorruptArtifact
from twotower.pb import common_pb2, retrieval_pb2, retrieval_pb2_grpc
from twotower.search.vector_index import VectorIndex
from twotower.serving import telemetry, wire
from twotower.serving.client import call, connect

Stub = retrieval_pb2_grpc.RetrievalServiceStub


PRODUCTS = catalogue(40)


JEWELLERY, PERFUME, CARS, DATES = CATEGORIES


def opened(artifacts: Path, name: str = "tiny-a") -> Version:
    return open_version(Layout(artifacts), name)


@pytest.fixture
def stored(tiny: Path) -> NDArray[np.float32]:
    return np.load(opened(tiny).layout.embeddings)


@pytest.fixture
async def stub(tiny: Path) -> AsyncIterator[Stub]:
    async with (
        running("retrieval", tiny, max_batch=50, max_lookup=100) as service,
        connect(service.address) as channel,
    ):
        yield Stub(channel)


def query(k: int = 10, excluded: Iterable[str] = (), **wanted: Any) -> retrieval_pb2.Query:
    return retrieval_pb2.Query(k=k, excluded_ids=excluded, filter=retrieval_pb2.Filter(**wanted) if wanted else None)


async def search(
    stub: Stub, vectors: NDArray[np.float32], *queries: retrieval_pb2.Query, version: str = "tiny-a"
) -> Sequence[retrieval_pb2.Hits]:
    request = retrieval_pb2.SearchRequest(vectors=wire.pack(vectors, version), queries=queries)
    answer = await call(stub.Search, request, 30, "retrieval service")
    assert answer.model_version == version
    return answer.hits


async def popular(stub: Stub, *queries: retrieval_pb2.Query) -> Sequence[retrieval_pb2.Hits]:
    return (await call(stub.Popular, retrieval_pb2.PopularRequest(queries=queries), 30, "retrieval service")).hits


def ranked(stored: NDArray[np.float32], vector: NDArray[np.float32], allowed: Iterable[Product], k: int) -> list[str]:
    scores = stored.astype(np.float64) @ vector
    return [one.id for one in sorted(allowed, key=lambda one: (-scores[one.row], one.row))][:k]


def passes(one: Product, wanted: Filter) -> bool:
    return (
        (not wanted.categories or one.category in wanted.categories)
        and (not wanted.brands or one.brand in wanted.brands)
        and (wanted.in_stock is None or one.in_stock == wanted.in_stock)
    )


async def test_search_gives_the_exact_nearest_with_their_inner_products(
    stub: Stub, stored: NDArray[np.float32]
) -> None:
    hits = await search(stub, stored[[4, 9]], query(5), query(1000))
    assert list(hits[0].product_ids) == ranked(stored, stored[4], PRODUCTS, 5)
    assert hits[0].product_ids[0] == "p4"
    rows = [int(one[1:]) for one in hits[0].product_ids]
    np.testing.assert_allclose(wire.unpack_scores(hits[0].scores), stored[rows] @ stored[4], atol=1e-6)
    assert list(hits[1].product_ids) == ranked(stored, stored[9], PRODUCTS, 1000)  # k beyond the corpus: all 40


async def test_ids_travel_as_one_text_where_the_caller_wants_that(stub: Stub, stored: NDArray[np.float32]) -> None:
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


async def test_excluded_products_are_left_out_and_unknown_ones_are_harmless(
    stub: Stub, stored: NDArray[np.float32]
) -> None:
    everything = [one.id for one in PRODUCTS]
    hits = await search(stub, stored[[4, 4]], query(5, ["p4", "p4", "nobody", "p8"]), query(5, everything))
    assert list(hits[0].product_ids) == ranked(
        stored, stored[4], [one for one in PRODUCTS if one.id not in {"p4", "p8"}], 5
    )
    assert list(hits[1].product_ids) == []


FILTERS = [
    Filter(categories=(JEWELLERY,)),
    Filter(categories=(JEWELLERY, DATES)),
    Filter(brands=(BRANDS[1], BRANDS[2])),
    Filter(categories=(JEWELLERY, PERFUME), brands=(BRANDS[1],)),
    Filter(categories=(CARS,), in_stock=True),
    Filter(in_stock=False),
    Filter(categories=(JEWELLERY,), brands=(BRANDS[3],)),  # no such product
    Filter(categories=(DATES,), brands=(BRANDS[3],), in_stock=False),
]


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
@pytest.mark.parametrize("k", [1, 3, 1000])
async def test_a_filtered_search_is_exact_and_gives_as_many_as_there_are(
    stub: Stub, stored: NDArray[np.float32], wanted: Filter, k: int
) -> None:
    allowed = [one for one in PRODUCTS if passes(one, wanted) and one.id != "p6"]
    (hits,) = await search(stub, stored[[6]], query(k, ["p6"], **wanted._asdict()))
    assert list(hits.product_ids) == ranked(stored, stored[6], allowed, k)
    assert list(hits.unknown_filter_values) == []


@pytest.mark.parametrize("exact_rows", [0, 40])
def test_an_index_of_codes_answers_filters_as_a_scan_does(
    tiny: Path, stored: NDArray[np.float32], exact_rows: int
) -> None:
    config = Index(kind="compact", target_recall=0.9)
    made = build(stored, item_queries(stored, 7), config, 7, 1)
    spec = made.spec.model_copy(update={"exact_rows": exact_rows})
    files = opened(tiny).layout
    products = ProductIndex(
        VectorIndex(made.index, stored, spec), {one.id: one.row for one in PRODUCTS}, Catalogue(files.products)
    )
    asked = [(wanted, k) for wanted in (*FILTERS, Filter()) for k in (3, 1000)]
    answers = products.search(stored[: len(asked)], [Query(k, ["p6"], wanted) for wanted, k in asked])
    for place, (wanted, k) in enumerate(asked):
        allowed = [one for one in PRODUCTS if passes(one, wanted) and one.id != "p6"]
        assert answers[place].product_ids == ranked(stored, stored[place], allowed, k)


async def test_each_row_of_a_batch_has_its_own_filter(stub: Stub, stored: NDArray[np.float32]) -> None:
    queries = [query(4, **wanted._asdict()) for wanted in FILTERS] + [query(4)]
    hits = await search(stub, stored[: len(queries)], *queries)
    for place, wanted in enumerate([*FILTERS, Filter()]):
        allowed = [one for one in PRODUCTS if passes(one, wanted)]
        assert list(hits[place].product_ids) == ranked(stored, stored[place], allowed, 4)


@pytest.mark.parametrize("wanted", [Filter(), FILTERS[0]])
async def test_each_row_of_a_batch_has_its_own_diversity(
    stub: Stub, stored: NDArray[np.float32], wanted: Filter
) -> None:
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
        chosen = most_marginal(scores, stored[candidates], 5, strength)
        assert list(hits[place].product_ids) == [PRODUCTS[candidates[one]].id for one in chosen]
        np.testing.assert_allclose(wire.unpack_scores(hits[place].scores), scores[chosen], atol=1e-6)
    assert hits[1].product_ids != hits[0].product_ids or hits[2].product_ids != hits[0].product_ids


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf")])
@pytest.mark.parametrize("method", [search, popular])
async def test_a_diversity_out_of_range_is_refused(
    stub: Stub, stored: NDArray[np.float32], method: Any, value: float
) -> None:
    asked = retrieval_pb2.Query(k=3, diversity=value)
    with pytest.raises(errors.InvalidInput, match=r"diversity.*must be from 0 to 1"):
        await (method(stub, stored[:1], asked) if method is search else method(stub, asked))


async def test_another_spelling_of_a_filter_value_is_understood(stub: Stub, stored: NDArray[np.float32]) -> None:
    exact, spelt, shaped = await search(
        stub,
        stored[[0, 0, 0]],
        query(5, categories=[JEWELLERY], brands=["لازوردي"]),
        query(5, categories=["مُجوهـرات\u200f"], brands=["لازوردى"]),
        query(5, categories=["مجوھرات"], brands=["لاژوردی"]),
    )
    assert exact == spelt == shaped
    assert len(exact.product_ids) == 5


async def test_unknown_filter_values_are_named_and_the_known_ones_count(
    stub: Stub, stored: NDArray[np.float32]
) -> None:
    hits = await search(
        stub,
        stored[[0, 0, 0]],
        query(5, categories=["زهور", JEWELLERY, "زهور"]),
        query(5, categories=["زهور"], brands=["لا أحد"]),
        query(5, categories=[JEWELLERY], brands=["لا أحد"]),
    )
    jewellery = [one for one in PRODUCTS if one.category == JEWELLERY]
    assert list(hits[0].product_ids) == ranked(stored, stored[0], jewellery, 5)
    assert list(hits[0].unknown_filter_values) == ["category=زهور"]
    assert list(hits[1].product_ids) == list(hits[2].product_ids) == []
    assert list(hits[1].unknown_filter_values) == ["category=زهور", "brand=لا أحد"]
    assert list(hits[2].unknown_filter_values) == ["brand=لا أحد"]


@pytest.mark.parametrize("k", [0, 1001, 2**32 - 1])
async def test_a_k_out_of_range_is_refused(stub: Stub, stored: NDArray[np.float32], k: int) -> None:
    for asked in (search(stub, stored[:2], query(1), query(k)), popular(stub, query(1), query(k))):
        with pytest.raises(errors.InvalidInput, match=f"k {k}: must be 1 to 1000") as caught:
            await asked
        assert caught.value.field == "k"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
async def test_numbers_that_are_not_usable_are_refused(stub: Stub, stored: NDArray[np.float32], value: float) -> None:
    vectors = stored[:2].copy()
    vectors[1, 3] = value
    with pytest.raises(errors.InvalidInput, match="vector 1") as caught:
        await search(stub, vectors, query(), query())
    assert caught.value.field == "vectors.data"


async def test_vectors_that_do_not_fit_are_refused(stub: Stub, stored: NDArray[np.float32]) -> None:
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


async def test_a_vector_without_a_version_cannot_be_placed(stub: Stub, stored: NDArray[np.float32]) -> None:
    with pytest.raises(errors.InvalidInput) as caught:
        await search(stub, stored[:1], query(), version="")
    assert caught.value.field == "vectors.model_version"


async def test_a_vector_of_a_version_not_held_is_refused(stub: Stub, stored: NDArray[np.float32]) -> None:
    with pytest.raises(errors.VersionNotHeld) as caught:
        await search(stub, stored[:1], query(), version="tiny-b")
    assert caught.value.held == ["tiny-a"]


async def test_no_queries_and_too_many_are_refused(stub: Stub, stored: NDArray[np.float32]) -> None:
    for count in (0, 51):
        for asked in (
            search(stub, np.repeat(stored[:1], count, axis=0), *[query()] * count),
            popular(stub, *[query()] * count),
        ):
            with pytest.raises(errors.InvalidInput) as caught:
                await asked
            assert caught.value.field == "queries"


async def test_popular_is_by_share_of_popularity(stub: Stub) -> None:
    (hits,) = await popular(stub, query(5))
    wanted = sorted(PRODUCTS, key=lambda one: (-one.popularity, one.row))[:5]
    assert list(hits.product_ids) == [one.id for one in wanted] == ["p3", "p4", "p5", "p6", "p7"]
    np.testing.assert_allclose(wire.unpack_scores(hits.scores), [one.popularity for one in wanted], rtol=1e-6)
    (whole,) = await popular(stub, query(1000))
    assert len(whole.product_ids) == 40
    assert abs(wire.unpack_scores(whole.scores).sum() - 1) < 1e-5


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
async def test_popular_under_a_filter_and_without_excluded_products(stub: Stub, wanted: Filter) -> None:
    by_share = sorted(PRODUCTS, key=lambda one: (-one.popularity, one.row))
    (hits,) = await popular(stub, query(6, ["p3", "p4", "p6", "nobody"], **wanted._asdict()))
    allowed = [one.id for one in by_share if passes(one, wanted) and one.id not in {"p3", "p4", "p6"}]
    assert list(hits.product_ids) == allowed[:6]


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


async def test_vectors_are_the_stored_ones(stub: Stub, stored: NDArray[np.float32]) -> None:
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


async def test_rows_are_counted_by_method(stub: Stub, stored: NDArray[np.float32]) -> None:
    before = telemetry.CALL_ROWS.labels("Search")._value.get()
    await search(stub, stored[:3], query(), query(), query())
    assert telemetry.CALL_ROWS.labels("Search")._value.get() == before + 3


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> tuple[ProductIndex, NDArray[np.float32], list[Product]]:
    """2,000 products, many of them with equal vectors, in categories that hold 0.05 % to 60 % of them."""
    generator = np.random.default_rng(3)
    vectors = generator.integers(-2, 3, size=(2000, 4)).astype(np.float32)
    shares = {"c-one": 0.0005, "c-few": 0.01, "c-some": 0.1, "c-many": 0.2895, "c-most": 0.6}
    categories = generator.permutation(np.repeat(list(shares), [round(2000 * share) for share in shares.values()]))
    products = [
        Product(
            f"p{row}", row, "", "", f"brand{row % 5}", str(categories[row]), None, "", row % 3 > 0, (row % 10) / 9000
        )
        for row in range(2000)
    ]
    path = tmp_path_factory.mktemp("thousand") / "products.sqlite"
    write_catalogue(path, products)
    index = faiss.IndexFlatIP(4)
    index.add(vectors)
    rows = {one.id: one.row for one in products}
    return ProductIndex(VectorIndex(index, vectors), rows, Catalogue(path)), vectors, products


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    k=st.integers(1, 1000),
    excluded=st.lists(st.integers(0, 2100), max_size=40),
    categories=st.sets(st.sampled_from(["c-one", "c-few", "c-some", "c-many", "c-most", "c-none"]), max_size=2),
    brands=st.sets(st.sampled_from(["brand0", "brand1", "brand4"]), max_size=2),
    in_stock=st.sampled_from([None, True, False]),
)
def test_any_filter_gives_what_brute_force_gives(
    thousand: tuple[ProductIndex, NDArray[np.float32], list[Product]],
    seed: int,
    k: int,
    excluded: list[int],
    categories: set[str],
    brands: set[str],
    in_stock: bool | None,
) -> None:
    index, vectors, products = thousand
    vector = np.random.default_rng(seed).integers(-3, 4, size=4).astype(np.float32)
    wanted = Filter(tuple(sorted(categories)), tuple(sorted(brands)), in_stock)
    asked = Query(k, [f"p{row}" for row in excluded], wanted)
    allowed = [one for one in products if passes(one, wanted) and one.row not in excluded]
    (answer,) = index.search(vector[None], [asked])
    assert answer.product_ids == ranked(vectors, vector, allowed, k)
    (most,) = index.popular([asked])
    assert most.product_ids == [one.id for one in sorted(allowed, key=lambda one: (-one.popularity, one.row))][:k]


OPENED = [
    "product_index.faiss",
    "nearest_products.onnx",
    "product_embeddings.npy",
    "product_ids.npy",
    "products.sqlite",
    "text_embeddings.npy",
    "text_index.faiss",
]


@pytest.mark.parametrize("name", OPENED)
def test_a_damaged_file_that_the_service_opens_is_refused(artifacts: Path, name: str) -> None:
    version = opened(artifacts, "a")
    (version.layout.root / name).write_bytes(b"\0")
    with pytest.raises(CorruptArtifact, match=name):
        load(version, RetrievalSettings())


def test_a_damaged_file_of_another_service_does_not_matter(artifacts: Path) -> None:
    version = opened(artifacts, "a")
    for path in version.layout.root.iterdir():
        if path.name not in OPENED:
            path.unlink()
    load(version, RetrievalSettings())


def test_sizes_that_differ_from_the_manifest_are_refused(artifacts: Path) -> None:
    version = opened(artifacts, "a")
    for changes in ({"products": 41}, {"dimension": 9}):
        other = Version(version.manifest.model_copy(update=changes), version.layout, version.encoder)
        with pytest.raises(CorruptArtifact, match="is 40 x 8, the manifest says"):
            load(other, RetrievalSettings())
    other = Version(version.manifest.model_copy(update={"text_dimension": 13}), version.layout, version.encoder)
    with pytest.raises(CorruptArtifact, match="has 12 dimensions, the manifest says 13"):
        load(other, RetrievalSettings())


def test_texts_of_another_number_of_products_are_refused(artifacts: Path, tmp_path: Path) -> None:
    version, other = opened(artifacts, "a"), build_version(tmp_path / "other", "b", products=39)
    for name in ("text_embeddings.npy", "text_index.faiss"):
        shutil.copyfile(other.layout.root / name, version.layout.root / name)
    files = version.manifest.files | {name: other.manifest.files[name] for name in OPENED[-2:]}
    mixed = Version(version.manifest.model_copy(update={"files": files}), version.layout, version.encoder)
    with pytest.raises(CorruptArtifact, match="the index holds 40 products, that of their texts 39"):
        load(mixed, RetrievalSettings())


def test_a_catalogue_of_another_size_than_the_index_is_refused(tmp_path: Path) -> None:
    write_catalogue(tmp_path / "p.sqlite", PRODUCTS[:39])
    index = faiss.IndexFlatIP(2)
    vectors = np.zeros((40, 2), np.float32)
    index.add(vectors)
    rows = {one.id: one.row for one in PRODUCTS}
    with pytest.raises(CorruptArtifact, match=r"index holds 40 products, the list of ids 40, products\.sqlite 39"):
        ProductIndex(VectorIndex(index, vectors), rows, Catalogue(tmp_path / "p.sqlite"))


@pytest.mark.parametrize(
    ("queries", "small"),
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
    queries: list[retrieval_pb2.Query], small: bool
) -> None:
    assert is_small(retrieval_pb2.SearchRequest(queries=queries)) is small


def test_an_exact_search_is_estimated_by_the_floats_that_it_reads() -> None:
    index = faiss.IndexFlatIP(2500)
    vectors = np.zeros((2000, 2500), np.float32)
    index.add(vectors)
    assert VectorIndex(index, vectors).milliseconds(1) == 2
    # further queries of a batch share its pass
    assert VectorIndex(index, vectors).milliseconds(11) == 6


async def test_the_process_serves_drains_and_says_what_it_does(tiny: Path, stored: NDArray[np.float32]) -> None:
    vectors = np.tile(stored, (25, 1))
    queries = [query(40, [f"p{row % 40}"], categories=[JEWELLERY], in_stock=True) for row in range(1000)]
    request = retrieval_pb2.SearchRequest(vectors=wire.pack(vectors, "tiny-a"), queries=queries)
    await check_process("retrieval", tiny, "twotower.retrieval.v1.RetrievalService", Stub, "Search", request)


def test_a_wrong_setting_is_one_line_and_exit_code_2() -> None:
    check_wrong_setting("retrieval")
