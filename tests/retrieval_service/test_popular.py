"""The popular products, with and without a filter."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval_service.query import Filter
from tests.helpers.retrieval import (
    FILTERS,
    PRODUCTS,
    Stub,
    passes,
    popular,
    query,
)
from twotower.serving import wire


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
