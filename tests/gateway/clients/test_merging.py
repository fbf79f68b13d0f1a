"""The merge of shards' answers against values worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from gateway.clients.answers import Hits, RegularHits, RisingHits, Together, unpack_hits
from gateway.clients.merging import merge_found, merge_hits, merge_regular, merge_rising, merge_together
from twotower.pb import retrieval_pb2
from twotower.serving import wire


def part(ids: str, scores: list[float], orders: list[int], **fields: Any) -> Hits:
    """The hits of one shard, as the client reads them; product ids are single letters."""
    message = retrieval_pb2.Hits(
        packed_product_ids=wire.pack_ids(list(ids)),
        scores=np.array(scores, "<f4").tobytes(),
        orders=np.array(orders, "<i8").tobytes(),
        **fields,
    )
    return unpack_hits(message, "v")


def query(k: int, **fields: Any) -> retrieval_pb2.Query:
    return retrieval_pb2.Query(k=k, **fields)


def listed(hits: Hits) -> str:
    return "".join(wire.unpack_ids(hits.packed_ids))


def test_the_best_of_all_shards_come_first_and_the_lower_order_among_equal_scores() -> None:
    # b and d are equal: d has the lower order, although its shard comes last
    merged = merge_hits(query(3), [part("ab", [0.9, 0.5], [4, 7]), part("cd", [0.7, 0.5], [9, 2])])
    assert listed(merged) == "acd"
    np.testing.assert_allclose(merged.scores, [0.9, 0.7, 0.5])
    assert merged.version == "v"


def test_a_shard_without_products_adds_none() -> None:
    empty = part("", [], [])
    assert listed(merge_hits(query(3), [empty, part("a", [0.1], [0])])) == "a"
    assert listed(merge_hits(query(3), [empty, empty])) == ""


def test_the_best_products_are_put_in_the_order_of_their_prices() -> None:
    """d is the cheapest, but none of the three best; without a price, c comes last in both orders."""
    nan = float("nan")
    parts = [
        part("ab", [0.9, 0.5], [0, 1], prices=np.array([7.0, 5.0], "<f8").tobytes()),
        part("cd", [0.7, 0.1], [2, 3], prices=np.array([nan, 1.0], "<f8").tobytes()),
    ]
    assert listed(merge_hits(query(3, sort=retrieval_pb2.PRICE_ASC), parts)) == "bac"
    assert listed(merge_hits(query(3, sort=retrieval_pb2.PRICE_DESC), parts)) == "abc"


def test_a_diverse_list_is_chosen_from_the_pool_of_all_shards() -> None:
    """a first; then, at diversity 0.5, b has .45 - .5 x 1 and c .3 - .5 x 0: c."""
    rows = [[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0]]
    parts = [
        part("ab", [1.0, 0.9], [0, 1], vectors=np.array(rows[0], "<f4").tobytes()),
        part("c", [0.6], [2], vectors=np.array(rows[1], "<f4").tobytes()),
    ]
    assert listed(merge_hits(query(2, diversity=0.5), parts, 0.5)) == "ac"
    assert listed(merge_hits(query(2), parts)) == "ab"


def test_a_named_product_comes_first_once_and_scores_no_less_than_the_others() -> None:
    # "c" stands in its shard's list and, named, behind it
    parts = [part("ab", [1.5, 0.5], [0, 1], is_below_noise=True), part("cc", [0.7, 0.0], [2, 0], named=1)]
    merged = merge_hits(query(2), parts)
    assert (listed(merged), merged.is_below_noise) == ("ca", False)
    np.testing.assert_allclose(merged.scores, [1.5, 1.5])


def test_products_of_also_follow_in_the_order_of_the_query() -> None:
    # of `also` "x\0y": y lies in the first shard and x in the second
    parts = [part("ay", [0.3, 0.0], [5, 1], also=1), part("bx", [0.4, 0.0], [6, 0], also=1)]
    merged = merge_hits(query(1, also="x\0y"), parts)
    assert (listed(merged), merged.also) == ("bxy", 2)


def test_the_shard_of_the_best_product_says_whether_it_answers_and_followers_are_counted_in_the_list() -> None:
    parts = [
        part("ab", [0.2, 0.1], [0, 1], is_below_noise=True, follower_flags=b"\1\1", followers=2),
        part("c", [0.3], [2], is_below_noise=False, follower_flags=b"\0"),
    ]
    merged = merge_hits(query(2), parts)
    assert (listed(merged), merged.is_below_noise, merged.followers) == ("ca", False, 1)
    assert merge_hits(query(2), parts[:1]).is_below_noise


def test_what_belongs_to_a_product_moves_with_it() -> None:
    """Bits of marks, codes, details and a row of reasons; a shard whose marks are all false leaves them out."""

    def reasons(*rows: list[float]) -> retrieval_pb2.Reasons:
        return retrieval_pb2.Reasons(product_ids=["h"], contributions=np.array(rows, "<f4").tobytes())

    parts = [
        part(
            "a",
            [0.1],
            [0],
            brand_codes=np.array([7], "<i4").tobytes(),
            products=[retrieval_pb2.Product(product_id="a", found=True)],
            reasons=reasons([0.1, 0, 0]),
        ),
        part(
            "b",
            [0.2],
            [1],
            marks=b"\2",
            brand_codes=np.array([8], "<i4").tobytes(),
            products=[retrieval_pb2.Product(product_id="b", found=True)],
            reasons=reasons([0, 0.2, 0]),
        ),
    ]
    merged = merge_hits(query(2), parts)
    assert (listed(merged), merged.marks) == ("ba", b"\2\0")
    assert np.frombuffer(merged.brand_codes, "<i4").tolist() == [8, 7]
    assert [one.product_id for one in merged.products] == ["b", "a"]
    assert merged.reasons is not None
    rows = np.frombuffer(merged.reasons.contributions, "<f4").reshape(2, 3)
    np.testing.assert_allclose(rows, [[0, 0.2, 0], [0.1, 0, 0]])


def test_lists_with_columns_of_their_own() -> None:
    first, second = part("ab", [0.9, 0.1], [0, 1]), part("c", [0.5], [2])
    due = [retrieval_pb2.Due(times=times) for times in (1, 2, 3)]
    regular = merge_regular(
        query(2),
        [RegularHits(first, due[:2], retrieval_pb2.NOTHING), RegularHits(second, due[2:], retrieval_pb2.NOTHING)],
    )
    assert (listed(regular.hits), [one.times for one in regular.due]) == ("ac", [1, 3])
    counts = np.array([10, 20], np.float32), np.array([30], np.float32)
    rising = merge_rising(
        query(2),
        [RisingHits(one, count, count + 1, None) for one, count in zip((first, second), counts, strict=True)],
    )
    assert (rising.buyers.tolist(), rising.expected.tolist()) == ([10, 30], [11, 31])
    together = merge_together(
        query(2), [Together(first, [0, -1], [True, False], ["u"]), Together(second, [1], [False], ["u"])]
    )
    assert (together.because, together.is_known, together.unknown) == ([0, 1], [True, False], ["u"])


def test_details_come_from_the_shard_that_holds_the_product() -> None:
    def row(*found: bool) -> list[retrieval_pb2.Product]:
        return [retrieval_pb2.Product(product_id=f"p{place}", found=one) for place, one in enumerate(found)]

    assert [one.found for one in merge_found([row(True, False, False), row(False, True, False)])] == [True, True, False]
