"""Searches under filters, against brute force."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval_service.index import ProductIndex
from retrieval_service.query import Filter, Query
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
    wordless,
)
from trainer.config.schema import Index
from trainer.index.build import build, item_queries
from twotower import errors
from twotower.arrays import Float32
from twotower.artifact.catalogue import Catalogue, Product, write_catalogue
from twotower.artifact.manifest import Fusion
from twotower.pb import retrieval_pb2
from twotower.search.fused_score import FusedScore
from twotower.search.vector_index import VectorIndex
from twotower.serving import wire


@pytest.mark.parametrize("wanted", FILTERS, ids=str)
@pytest.mark.parametrize("k", [1, 3, 1000])
async def test_a_filtered_search_is_exact_and_gives_as_many_as_there_are(
    stub: Stub, stored: Float32, wanted: Filter, k: int
) -> None:
    allowed = [one for one in PRODUCTS if passes(one, wanted) and one.id != "p6"]
    (hits,) = await search(stub, stored[[6]], query(k, ["p6"], **wanted._asdict()))
    assert list(hits.product_ids) == ranked(stored, stored[6], allowed, k)
    assert list(hits.unknown_filter_values) == []


@pytest.mark.parametrize("exact_rows", [0, 40])
def test_an_index_of_codes_answers_filters_as_a_scan_does(tiny: Path, stored: Float32, exact_rows: int) -> None:
    config = Index(kind="compact", target_recall=0.9)
    made = build(stored, item_queries(stored, 7), config, 7, 1)
    spec = made.spec.model_copy(update={"exact_rows": exact_rows})
    files = opened(tiny).layout
    index, rows = VectorIndex(made.index, stored, spec), {one.id: one.row for one in PRODUCTS}
    products = ProductIndex(
        index, FusedScore(Fusion(), index.size, None, None), wordless(index), rows, Catalogue(files.products)
    )
    asked = [(wanted, k) for wanted in (*FILTERS, Filter()) for k in (3, 1000)]
    answers = products.search(stored[: len(asked)], [Query(k, ["p6"], wanted) for wanted, k in asked])
    for place, (wanted, k) in enumerate(asked):
        allowed = [one for one in PRODUCTS if passes(one, wanted) and one.id != "p6"]
        assert answers[place].product_ids == ranked(stored, stored[place], allowed, k)


async def test_each_row_of_a_batch_has_its_own_filter(stub: Stub, stored: Float32) -> None:
    queries = [query(4, **wanted._asdict()) for wanted in FILTERS] + [query(4)]
    hits = await search(stub, stored[: len(queries)], *queries)
    for place, wanted in enumerate([*FILTERS, Filter()]):
        allowed = [one for one in PRODUCTS if passes(one, wanted)]
        assert list(hits[place].product_ids) == ranked(stored, stored[place], allowed, 4)


async def test_another_spelling_of_a_filter_value_is_understood(stub: Stub, stored: Float32) -> None:
    exact, spelt, shaped = await search(
        stub,
        stored[[0, 0, 0]],
        query(5, categories=[JEWELLERY], brands=["لازوردي"]),
        query(5, categories=["مُجوهـرات\u200f"], brands=["لازوردى"]),
        query(5, categories=["مجوھرات"], brands=["لاژوردی"]),
    )
    assert exact == spelt == shaped
    assert len(exact.product_ids) == 5


async def test_unknown_filter_values_are_named_and_the_known_ones_count(stub: Stub, stored: Float32) -> None:
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


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> tuple[ProductIndex, Float32, list[Product]]:
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
    rows, flat = {one.id: one.row for one in products}, VectorIndex(index, vectors)
    return (
        ProductIndex(flat, FusedScore(Fusion(), flat.size, None, None), wordless(flat), rows, Catalogue(path)),
        vectors,
        products,
    )


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
    thousand: tuple[ProductIndex, Float32, list[Product]],
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


async def test_a_list_sorted_by_price_holds_the_same_products(stub: Stub, stored: Float32) -> None:
    price = {one.id: one.price for one in PRODUCTS}
    best = ranked(stored, stored[6], PRODUCTS, 15)
    assert any(price[one] is None for one in best)
    for sort, sign in ((retrieval_pb2.PRICE_ASC, 1), (retrieval_pb2.PRICE_DESC, -1)):
        asked = query(15)
        asked.sort = sort
        (hits,) = await search(stub, stored[[6]], asked)
        assert list(hits.product_ids) == sorted(
            best, key=lambda one: np.inf if price[one] is None else sign * price[one]
        )
        scores = dict(zip(hits.product_ids, wire.unpack_scores(hits.scores), strict=True))
        assert max(scores, key=lambda one: scores[one]) == best[0]
        (popular_hits,) = await popular(stub, asked)
        assert sorted(popular_hits.product_ids) != list(popular_hits.product_ids)


@pytest.mark.parametrize("limit", [np.nan, np.inf, -np.inf])
async def test_a_price_limit_is_a_number(stub: Stub, stored: Float32, limit: float) -> None:
    with pytest.raises(errors.InvalidInput, match=r"filter\.price_max.*must be a finite number"):
        await search(stub, stored[[0]], query(3, price_max=limit))


async def test_an_unknown_order_is_refused(stub: Stub, stored: Float32) -> None:
    asked = query(3)
    asked.sort = 7  # type: ignore[assignment]
    with pytest.raises(errors.InvalidInput, match="sort"):
        await search(stub, stored[[0]], asked)
