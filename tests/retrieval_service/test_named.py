"""A search's answer holds all that a page shows: the product that the text names comes first, with details."""

from __future__ import annotations

import numpy as np
import pytest

from tests.helpers.retrieval import PRODUCTS, Stub, query
from twotower.arrays import Float32
from twotower.errors import InvalidInput
from twotower.pb import retrieval_pb2
from twotower.serving import wire
from twotower.serving.client import call


async def searched(stub: Stub, vector: Float32, asked: retrieval_pb2.Query, by_text: bool = True) -> retrieval_pb2.Hits:
    request = retrieval_pb2.SearchRequest(vectors=wire.pack(vector, "tiny-a"), queries=[asked], by_text=by_text)
    [hits] = (await call(stub.Search, request, 30, "retrieval service")).hits
    return hits


@pytest.fixture
def vector() -> Float32:
    found = np.zeros((1, 12), np.float32)
    found[0, 0] = 1
    return found


def named(*ids: str, k: int = 5, excluded: tuple[str, ...] = (), **wanted: object) -> retrieval_pb2.Query:
    asked = query(k, excluded)
    asked.named.CopyFrom(retrieval_pb2.Named(ids=ids, filter=retrieval_pb2.Filter(**wanted)))  # type: ignore[arg-type]
    return asked


@pytest.mark.parametrize("ids", [("p12",), ("nobody", "p12", "p3"), ("SKU-0012",), ("sku-0012",)])
async def test_the_named_product_comes_first_and_the_others_keep_their_order(
    stub: Stub, vector: Float32, ids: tuple[str, ...]
) -> None:
    plain = [one for one in (await searched(stub, vector, query(6))).product_ids if one != "p12"]
    hits = await searched(stub, vector, named(*ids))
    assert list(hits.product_ids) == ["p12", *plain[:4]]
    scores = wire.unpack_scores(hits.scores).tolist()
    assert scores[0] >= 1 and scores == sorted(scores, reverse=True) and not hits.is_below_noise


async def test_a_named_product_that_is_excluded_or_filtered_out_changes_nothing(stub: Stub, vector: Float32) -> None:
    product = PRODUCTS[12]
    assert product.price is not None
    plain = list((await searched(stub, vector, query(5))).product_ids)
    without = list((await searched(stub, vector, query(5, ["p12"]))).product_ids)
    for asked, wanted in (
        (named("p12", excluded=("p12",)), without),
        (named("SKU-0012", excluded=("p12",)), without),
        (named("nobody"), plain),
        (named("p12", categories=["no such category"]), plain),
        (named("p12", in_stock=not product.in_stock), plain),
        (named("p12", price_min=product.price + 1), plain),
    ):
        assert list((await searched(stub, vector, asked)).product_ids) == wanted
    kept = named("p12", price_min=product.price, price_max=product.price, brands=[product.brand])
    assert (await searched(stub, vector, kept)).product_ids[0] == "p12"


async def test_a_name_is_refused_where_it_has_no_effect_and_beyond_four(stub: Stub, vector: Float32) -> None:
    with pytest.raises(InvalidInput, match=r"queries\[0\]\.named"):
        await searched(stub, vector[:, :8], named("p12"), by_text=False)
    with pytest.raises(InvalidInput, match=r"named\.ids.*5.*more than 4"):
        await searched(stub, vector, named(*"abcde"))


async def test_details_come_with_the_products_if_they_are_asked_for(stub: Stub, vector: Float32) -> None:
    asked = query(5)
    assert not (await searched(stub, vector, asked)).products
    asked.with_products = True
    hits = await searched(stub, vector, asked)
    request = retrieval_pb2.LookupRequest(product_ids=hits.product_ids, model_version="tiny-a")
    assert list(hits.products) == list((await call(stub.Lookup, request, 30, "retrieval service")).products)
    request = retrieval_pb2.PopularRequest(queries=[asked])
    [popular] = (await call(stub.Popular, request, 30, "retrieval service")).hits
    assert [one.product_id for one in popular.products] == list(popular.product_ids) and popular.products[0].title
