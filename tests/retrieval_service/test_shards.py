"""Shards answer as the whole does: their merged answers are the whole's, to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from retrieval_service.index import ProductIndex
from retrieval_service.loading import load
from retrieval_service.messages import calls, lists
from retrieval_service.messages.queries import read_queries
from retrieval_service.settings import RetrievalSettings
from tests.helpers.complements import tiny_complements
from tests.helpers.lists import write_lists
from tests.helpers.shards import ivf, merge, open_shards, publish_sharded
from tests.helpers.tiny_version import BRANDS, CATEGORIES, NOON, TEXT_DIMENSION, build_version
from twotower.artifact.manifest import Fusion, IndexSpec
from twotower.artifact.version import Version
from twotower.errors import CorruptArtifact, SettingsError
from twotower.events import Interaction
from twotower.live.records import Content, LiveVectors, State, pack_vectors
from twotower.pb import common_pb2, retrieval_pb2
from twotower.search.vector_index import FLAT
from twotower.serving import wire
from twotower.serving.settings import read_settings
from twotower.sharding import Shard

PRODUCTS, DIMENSION = 240, 8
FUSION = Fusion(
    vector_weight=0.5, neighbour_weight=0.8, steps=2, decay=0.5, prior_weight=0.2, own_weight=0.3, own_steps=2
)
JEWELLERY, PERFUME, CARS, _ = CATEGORIES
HISTORY = wire.pack_history([Interaction(f"p{row}", "View", row * 1000) for row in (4, 9, 121, 230)])
BOUGHT = wire.pack_history([Interaction(f"p{row}", "Purchase", NOON - row * 86_400_000) for row in (201, 120, 50, 3)])
# few lists and few candidates, so that the index misses much
NARROW = ivf(2, 1.5)
DRAW = np.random.default_rng(3)
VECTORS = DRAW.normal(size=(4, DIMENSION)).astype(np.float32)
TEXTS = DRAW.normal(size=(4, TEXT_DIMENSION)).astype(np.float32)


class Case(NamedTuple):
    whole: ProductIndex
    shards: Sequence[ProductIndex]


def _built(folder: Path) -> Version:
    return build_version(
        folder,
        "base",
        products=PRODUCTS,
        dimension=DIMENSION,
        fusion=FUSION,
        complements=tiny_complements(PRODUCTS),
        lists=lambda files: write_lists(files, PRODUCTS),
    )


def _opened(base: Version, shards: int, spec: IndexSpec) -> Case:
    version = publish_sharded(base, f"{spec.kind}-{shards}", shards, spec)
    return Case(load(version, RetrievalSettings()), open_shards(version))


@pytest.fixture(scope="module", params=[(2, FLAT), (4, FLAT), (3, NARROW)], ids=["flat-2", "flat-4", "ivf-3"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    return _opened(_built(tmp_path_factory.mktemp("shards")), *request.param)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Case:
    """The same with live products; the shards have taken their changes in another order."""
    case = _opened(_built(tmp_path_factory.mktemp("live")), 2, FLAT)
    states, vectors = _changes()
    case.whole.live.apply(states, vectors, "epoch")
    for shard in case.shards:
        shard.live.apply(states[::-1], vectors, "epoch")
    return case


def _changes() -> tuple[list[State], dict[str, bytes]]:
    """New products, one with a word that no other has; products of new content; new prices; hidden and deleted ones."""
    states, vectors = list[State](), dict[str, bytes]()

    def change(product_id: str, title: str, brand: str, row: int) -> None:
        fields = {"title": title, "brand": brand, "category": JEWELLERY, "price": 7.0 + row, "in_stock": True}
        states.append(State(product_id, len(states) + 1, fields, is_whole=True))
        content = Content(title, "", brand, JEWELLERY)
        # two have the same vectors, so the same scores
        own = np.random.default_rng(row // 2)
        item, text = (own.normal(size=size).astype(np.float32) for size in (DIMENSION, TEXT_DIMENSION))
        unit = item / np.linalg.norm(item)
        vectors[product_id] = pack_vectors(LiveVectors(content.digest(), unit, text))

    for row in range(12):
        change(f"new{row}", "خاتم فريد" if row == 5 else "خاتم ذهب", ["جديد", "أحدث", BRANDS[0]][row % 3], row)
    for row in (3, 10, 130, 200):
        change(f"p{row}", f"سلسال نادر {row}", BRANDS[1], row)
    for row in (20, 140):
        states.append(State(f"p{row}", len(states) + 1, {"price": 1.5, "in_stock": False}))
    for row in (4, 122, 180):
        states.append(State(f"p{row}", len(states) + 1, {}, is_deleted=True))
    states.append(State("p33", len(states) + 1, {}, is_hidden=True))
    return states, vectors


def _query(k: int = 10, *, wanted: dict[str, Any] | None = None, **fields: Any) -> retrieval_pb2.Query:
    return retrieval_pb2.Query(k=k, filter=retrieval_pb2.Filter(**wanted) if wanted else None, **fields)


def _parts() -> common_pb2.Parts:
    rows = DRAW.normal(size=(3, DIMENSION)).astype("<f4")
    return common_pb2.Parts(product_ids=["p9", "p4"], data=rows.tobytes())


ALSO = wire.pack_ids(["p7", "p200", "nobody", "p61", "new3", "p4", "p130"])
BY_VECTOR = {
    "plain": _query(),
    "deep": _query(200),
    "all of them": _query(1000),
    "excluded": _query(excluded_ids=[f"p{row}" for row in range(0, 200, 2)] + ["new1"]),
    "filtered": _query(30, wanted={"categories": [JEWELLERY, CARS], "in_stock": True}),
    "of one shard": _query(30, wanted={"where": 'product_id in ["p1", "p2", "p7"]'}),
    "unknown brand": _query(wanted={"brands": ["جديد", "لا أحد", BRANDS[0]]}),
    "without words": _query(wanted={"excluded_words": ["ذهب"]}),
    "cheapest": _query(sort=retrieval_pb2.PRICE_ASC),
    "dearest": _query(40, sort=retrieval_pb2.PRICE_DESC, wanted={"price_min": 20.0}),
    "diverse": _query(diversity=0.4),
    "diverse and by price": _query(7, diversity=0.7, sort=retrieval_pb2.PRICE_ASC),
    "history": _query(20, history=HISTORY),
    "history, filtered and diverse": _query(
        12, history=HISTORY, diversity=0.3, wanted={"categories": [JEWELLERY, PERFUME]}
    ),
    "reasons": _query(15, history=HISTORY, parts=_parts()),
    "reasons of a diverse list, and more": _query(9, history=HISTORY, parts=_parts(), diversity=0.2, also=ALSO),
    "follows": _query(20, follows="p9"),
    "marks and codes": _query(
        20,
        marks=f'price < 100\nbrand = "{BRANDS[1]}"\nin_stock = true',
        with_brand_codes=True,
        with_category_codes=True,
        also=ALSO,
        with_products=True,
        excluded_ids=["p61"],
    ),
}


def _words(*texts: str) -> list[retrieval_pb2.Word]:
    return [
        retrieval_pb2.Word(text=one, weight=1, is_number=one.isdigit(), group=group) for group, one in enumerate(texts)
    ]


BY_TEXT = {
    "text alone": _query(),
    "words": _query(words=_words("خاتم", "ذهب")),
    "words and a number": _query(30, words=_words("خاتم", "120")),
    "the beginning of a word": _query(words=_words("سلس")),
    "a word of live products alone": _query(words=_words("فريد", "خاتم")),
    "unknown words": _query(words=_words("قققق")),
    "words, filtered": _query(40, words=_words("عطر"), wanted={"in_stock": True}),
    "words, diverse": _query(words=_words("ذهب"), diversity=0.5),
    "a named product": _query(
        words=_words("خاتم"), named=retrieval_pb2.Named(ids=["nobody", "SKU-0121"]), with_brand_codes=True
    ),
    "a named product by price": _query(
        5, words=_words("خاتم"), named=retrieval_pb2.Named(ids=["p5"]), sort=retrieval_pb2.PRICE_ASC, also=ALSO
    ),
    "an excluded named product": _query(excluded_ids=["p5"], named=retrieval_pb2.Named(ids=["p5"])),
}


def _for_merge(query: retrieval_pb2.Query) -> retrieval_pb2.Query:
    asked = retrieval_pb2.Query()
    asked.CopyFrom(query)
    asked.for_merge = True
    return asked


def _search(index: ProductIndex, query: retrieval_pb2.Query, by_text: bool) -> list[retrieval_pb2.Hits]:
    vectors = TEXTS if by_text else VECTORS
    request = retrieval_pb2.SearchRequest(
        vectors=wire.pack(vectors, "v"), queries=[query] * len(vectors), packed=True, by_text=by_text
    )
    return list(calls.search(index, "v", request).hits)


def _check_search(case: Case, query: retrieval_pb2.Query, by_text: bool) -> None:
    wanted = _search(case.whole, query, by_text)
    answers = [_search(shard, _for_merge(query), by_text) for shard in case.shards]
    merged = [merge(query, parts, diversity=query.diversity) for parts in zip(*answers, strict=True)]
    # the bits of the answers of one call are as many as the largest needs, or none
    assert [_without_false_marks(one) for one in merged] == [_without_false_marks(one) for one in wanted]
    assert any(wire.unpack_ids(one.packed_product_ids) for one in wanted)


def _without_false_marks(hits: retrieval_pb2.Hits) -> retrieval_pb2.Hits:
    if not any(hits.marks):
        hits.marks = b""
    return hits


@pytest.mark.parametrize("name", BY_VECTOR)
def test_merged_searches_by_vector_are_the_whole_s(case: Case, name: str) -> None:
    _check_search(case, BY_VECTOR[name], by_text=False)


@pytest.mark.parametrize("name", BY_TEXT)
def test_merged_searches_by_text_are_the_whole_s(case: Case, name: str) -> None:
    _check_search(case, BY_TEXT[name], by_text=True)


@pytest.mark.parametrize("name", BY_VECTOR)
def test_live_products_merge_by_vector(live: Case, name: str) -> None:
    _check_search(live, BY_VECTOR[name], by_text=False)


@pytest.mark.parametrize("name", BY_TEXT)
def test_live_products_merge_by_text(live: Case, name: str) -> None:
    _check_search(live, BY_TEXT[name], by_text=True)


LISTS = {
    "plain": _query(30),
    "all": _query(1000),
    "filtered": _query(20, wanted={"categories": [JEWELLERY]}, excluded_ids=["p3", "new2"]),
    "by price": _query(20, sort=retrieval_pb2.PRICE_DESC),
}


def _popular(index: ProductIndex, query: retrieval_pb2.Query) -> retrieval_pb2.Hits:
    request = retrieval_pb2.PopularRequest(queries=[query], packed=True)
    return calls.popular(index, "v", request).hits[0]


def _together(index: ProductIndex, query: retrieval_pb2.Query) -> retrieval_pb2.Hits:
    asked = [retrieval_pb2.TogetherQuery(query=query, product_ids=["p0", "p1", "p33", "nobody"])]
    return calls.together(index, "v", retrieval_pb2.TogetherRequest(queries=asked, packed=True)).hits[0].hits


def _again(index: ProductIndex, query: retrieval_pb2.Query) -> retrieval_pb2.Hits:
    asked = retrieval_pb2.Query()
    asked.CopyFrom(query)
    asked.history = BOUGHT
    return _ask_again(index, asked).hits


def _ask_again(index: ProductIndex, query: retrieval_pb2.Query) -> retrieval_pb2.AgainHits:
    request = retrieval_pb2.AgainRequest(queries=[retrieval_pb2.AgainQuery(query=query, now_ms=NOON)])
    return lists.again(index, "v", request, read_queries([query])).hits[0]


def _trending(index: ProductIndex, query: retrieval_pb2.Query) -> retrieval_pb2.Hits:
    ids = ["p7", "p130", "new4", "p4", "p200", "p3", "p12"]
    figures = np.array([[3, 2, 2, 2, 2, 1, 1], range(7), range(7)], "<f4").tobytes()
    table = retrieval_pb2.RisingTable(packed_product_ids=wire.pack_ids(ids), figures=figures)
    request = retrieval_pb2.TrendingRequest(queries=[query], rising=table)
    return lists.trending(index, "v", request, read_queries([query])).hits[0].hits


Ask = Callable[[ProductIndex, retrieval_pb2.Query], retrieval_pb2.Hits]


def _check_list(case: Case, ask: Ask, query: retrieval_pb2.Query) -> None:
    wanted = ask(case.whole, query)
    assert merge(query, [ask(shard, _for_merge(query)) for shard in case.shards]) == wanted
    assert len(wanted.scores)


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("ask", [_popular, _together, _again, _trending])
def test_merged_lists_are_the_whole_s(case: Case, ask: Ask, name: str) -> None:
    _check_list(case, ask, LISTS[name])


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("ask", [_popular, _together, _again, _trending])
def test_live_products_merge_in_lists(live: Case, ask: Ask, name: str) -> None:
    _check_list(live, ask, LISTS[name])


def test_each_shard_says_the_same_of_its_products_and_of_the_request(live: Case) -> None:
    """What stands beside the hits: reasons of a completed cart, purchases that are due, counts of buyers."""
    cart = [retrieval_pb2.TogetherQuery(query=_query(300, for_merge=True), product_ids=["p0", "p1", "p33", "nobody"])]
    request = retrieval_pb2.TogetherRequest(queries=cart)
    whole, *parts = (calls.together(one, "v", request).hits[0] for one in (live.whole, *live.shards))
    assert _by_id(whole.hits, whole.because) == {
        one: because for part in parts for one, because in _by_id(part.hits, part.because).items()
    }
    assert 0 in whole.because and -1 in whole.because
    assert {tuple(part.unknown_product_ids) for part in parts} == {("p33", "nobody")}
    asked = _query(10, history=BOUGHT, for_merge=True)
    regular, *parts_of_it = (_ask_again(one, asked) for one in (live.whole, *live.shards))
    due = {one: when for part in parts_of_it for one, when in _by_id(part.hits, part.due).items()}
    assert due == _by_id(regular.hits, regular.due) and len(due) == 4
    assert {part.missing for part in parts_of_it} == {regular.missing}


def _by_id(hits: retrieval_pb2.Hits, values: Sequence[Any]) -> dict[str, Any]:
    ids = list(hits.product_ids) or wire.unpack_ids(hits.packed_product_ids)
    return dict(zip(ids, values, strict=True))


def test_an_answer_names_its_shard(case: Case) -> None:
    request = retrieval_pb2.PopularRequest(queries=[_query(1)])
    assert not calls.popular(case.whole, "v", request).HasField("shard")
    count = len(case.shards)
    for number, shard in enumerate(case.shards):
        assert calls.popular(shard, "v", request).shard == retrieval_pb2.Shard(number=number, count=count)


def test_each_product_is_looked_up_in_one_shard(live: Case) -> None:
    ids = [f"p{row}" for row in range(PRODUCTS)] + [f"new{row}" for row in range(12)] + ["nobody"]
    request = retrieval_pb2.LookupRequest(product_ids=ids)
    whole = calls.lookup(live.whole, "v", request).products
    parts = [calls.lookup(shard, "v", request).products for shard in live.shards]
    for wanted, *found in zip(whole, *parts, strict=True):
        assert [one for one in found if one.found] == ([wanted] if wanted.found else [])


def test_each_vector_is_in_one_shard(live: Case) -> None:
    ids = [f"p{row}" for row in range(PRODUCTS)] + [f"new{row}" for row in range(12)] + ["nobody"]
    whole, parts = live.whole.vectors(ids), [shard.vectors(ids) for shard in live.shards]
    np.testing.assert_array_equal(sum(one.vectors for one in parts), whole.vectors)
    unknown = [set(one.unknown_product_ids) for one in parts]
    assert set.intersection(*unknown) == set(whole.unknown_product_ids)
    assert set.intersection(*(set(shard.unknown(ids)) for shard in live.shards)) == set(live.whole.unknown(ids))


def test_shards_miss_nothing_that_one_approximate_index_finds(tmp_path: Path) -> None:
    base = _built(tmp_path)
    case = Case(_opened(base, 1, NARROW).whole, _opened(base, 4, NARROW).shards)
    narrow = [_query(), _query(60), _query(20, wanted={"categories": [JEWELLERY, CARS]})]
    for query, by_text in [(one, by_text) for one in narrow for by_text in (False, True)]:
        wanted = _search(case.whole, query, by_text)
        answers = [_search(shard, _for_merge(query), by_text) for shard in case.shards]
        for whole, parts in zip(wanted, zip(*answers, strict=True), strict=True):
            merged = merge(query, parts)
            scores, ours = wire.unpack_scores(whole.scores), wire.unpack_scores(merged.scores)
            assert (ours >= scores).all()
            kept = np.array(wire.unpack_ids(whole.packed_product_ids))[scores > ours[-1]]
            assert set(kept) <= set(wire.unpack_ids(merged.packed_product_ids))


def test_rows_are_ranges_that_cover_all_products() -> None:
    rows = [Shard(one, 3).rows(10) for one in range(3)]
    assert [tuple(one) for one in rows] == [(0, 3), (3, 6), (6, 10)]


def test_a_version_for_other_shards_is_refused(tmp_path: Path) -> None:
    version = publish_sharded(build_version(tmp_path, "base"), "two", 2)
    with pytest.raises(CorruptArtifact, match=r"is for 2 shards .* this is shard 0 of 3: set .*SHARD_COUNT=2"):
        load(version, RetrievalSettings(shard_index=0, shard_count=3))


def test_the_shard_comes_from_the_environment() -> None:
    def read(index: str, count: str = "4") -> Shard:
        names = {"TWOTOWER_RETRIEVAL_SHARD_INDEX": index, "TWOTOWER_RETRIEVAL_SHARD_COUNT": count}
        return read_settings(RetrievalSettings, "retrieval", names).shard

    assert read("3") == Shard(3, 4)
    with pytest.raises(SettingsError, match=r"SHARD_COUNT='2': .*shard 2 is none of 2"):
        read("2", "2")
