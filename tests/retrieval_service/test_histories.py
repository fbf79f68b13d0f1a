"""Searches with a history or after a product: the fused score, against its definition."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval_service.loading import load
from retrieval_service.messages.queries import is_short
from retrieval_service.query import NO_FILTER, Filter, Query
from retrieval_service.settings import RetrievalSettings
from tests.helpers.fused import Parts, fused_scores, tiny_parts
from tests.helpers.marginal_relevance import rank_by_marginal_relevance
from tests.helpers.retrieval import FILTERS, PRODUCTS, Stub, opened, passes, query, ranked, search
from tests.helpers.services import running
from tests.helpers.tiny_version import build_version
from twotower import errors
from twotower.arrays import Float32, Float64
from twotower.artifact.manifest import Fusion
from twotower.artifact.version import Version
from twotower.errors import CorruptArtifact
from twotower.events import Interaction
from twotower.pb import retrieval_pb2
from twotower.serving import wire
from twotower.serving.client import call, connect

FUSION = Fusion(neighbour_weight=0.5, steps=3, decay=0.5, prior_weight=0.1)
WITHOUT_VECTORS = Fusion(vector_weight=0, neighbour_weight=1, steps=3)
POPULAR = Fusion(vector_weight=0, prior_weight=1)
FUSIONS = [FUSION, Fusion(neighbour_weight=2, steps=1), Fusion(vector_weight=0.5), WITHOUT_VECTORS, POPULAR]


def packed(*rows: int | str) -> str:
    """A history of products, oldest first: one a second."""
    names = [one if isinstance(one, str) else f"p{one}" for one in rows]
    return wire.pack_history([Interaction(name, "View", 1000 * step) for step, name in enumerate(names)])


def asked(history: str = "", k: int = 10, **more: Any) -> retrieval_pb2.Query:
    one = query(k, more.pop("excluded", ()), **more.pop("wanted", Filter())._asdict())
    one.MergeFrom(retrieval_pb2.Query(history=history, **more))
    return one


def best(scores: Float64, k: int, wanted: Filter = NO_FILTER, excluded: Sequence[str] = ()) -> list[str]:
    allowed = [one for one in PRODUCTS if passes(one, wanted) and one.id not in excluded]
    return [one.id for one in sorted(allowed, key=lambda one: (-np.float32(scores[one.row]), one.row))][:k]


def check(hits: retrieval_pb2.Hits, scores: Float64, wanted: list[str]) -> None:
    assert list(hits.product_ids) == wanted
    rows = [int(one[1:]) for one in wanted]
    np.testing.assert_allclose(wire.unpack_scores(hits.scores), scores[rows], atol=1e-6)


@pytest.mark.parametrize("fusion", FUSIONS, ids=str)
async def test_products_are_ranked_by_the_fused_score(tmp_path: Path, fusion: Fusion) -> None:
    vectors = np.load(build_version(tmp_path, "a", fusion=fusion).layout.embeddings)
    parts, histories = tiny_parts(fusion, PRODUCTS), [[8, 13, 2], [1], [7, 7, 7, 7], [3, 4, 9, 11, 30, 31]]
    queries = [asked(packed(*history[::-1]), k) for history, k in zip(histories, (5, 10, 40, 1000), strict=True)]
    async with running("retrieval", tmp_path) as service, connect(service.address) as channel:
        stub = Stub(channel)
        found = await search(stub, vectors[[5, 6, 7, 8]], *queries, version="a")
        for place, hits in enumerate(found):
            scores = fused_scores(parts, vectors, vectors[5 + place], histories[place])
            check(hits, scores, best(scores, queries[place].k))
        # without a history, the vector alone
        (plain,) = await search(stub, vectors[[5]], asked(), version="a")
        assert list(plain.product_ids) == ranked(vectors, vectors[5], PRODUCTS, 10)


@pytest.fixture
def fused(tmp_path: Path) -> Version:
    return build_version(tmp_path / "fused", "a", fusion=FUSION)


@pytest.fixture
def stored(fused: Version) -> Float32:
    return np.load(fused.layout.embeddings)


def scores_of(vectors: Float32, row: int, *history: int) -> Float64:
    """The scores of FUSION for the vector of a row; the history newest first."""
    return fused_scores(tiny_parts(FUSION, PRODUCTS), vectors, vectors[row], history)


async def test_filters_exclusions_and_diversity_hold(fused: Version, stored: Float32) -> None:
    scores = scores_of(stored, 6, 4, 12)
    async with running("retrieval", fused.layout.root.parents[1]) as service, connect(service.address) as channel:
        stub, history = Stub(channel), packed(12, 4)
        queries = [asked(history, 4, wanted=wanted, excluded=["p6", "nobody"]) for wanted in FILTERS]
        for wanted, hits in zip(
            FILTERS, await search(stub, stored[[6] * len(FILTERS)], *queries, version="a"), strict=True
        ):
            check(hits, scores, best(scores, 4, wanted, ["p6"]))
        diverse = [asked(history, 5, diversity=strength) for strength in (0.3, 1.0)]
        for one, hits in zip(diverse, await search(stub, stored[[6, 6]], *diverse, version="a"), strict=True):
            rows = [int(name[1:]) for name in best(scores, 20)]
            chosen = rank_by_marginal_relevance(scores[rows], stored[rows], 5, one.diversity)
            check(hits, scores, [f"p{rows[place]}" for place in chosen])


async def test_each_query_of_a_batch_ranks_in_its_own_way(fused: Version, stored: Float32) -> None:
    async with running("retrieval", fused.layout.root.parents[1]) as service, connect(service.address) as channel:
        queries = [asked(), asked(packed(4)), asked(follows="p7"), asked(packed(4), wanted=FILTERS[0]), asked()]
        together = await search(Stub(channel), stored[:5], *queries, version="a")
        for place, one in enumerate(queries):
            assert [together[place]] == list(await search(Stub(channel), stored[[place]], one, version="a"))
        assert len({tuple(hits.product_ids) for hits in together}) == 5


@pytest.mark.parametrize(
    ("history", "rows"),
    [
        # three steps, and unknown products are none
        (packed(1, 2, 3, 4, 5), [5, 4, 3]),
        (packed(1, 2, "gone", 3, "gone", "lost", 4), [4, 3, 2]),
        (packed("gone", 2, "gone"), [2]),
        (packed("gone"), []),
        (packed(9, 9, 9, 9), [9, 9, 9]),
    ],
)
async def test_the_newest_known_products_count(fused: Version, stored: Float32, history: str, rows: list[int]) -> None:
    index = load(fused, RetrievalSettings())
    (answer,) = index.search(stored[[0]], [Query(10, history=history)])
    assert answer.product_ids == best(scores_of(stored, 0, *rows), 10)


@pytest.mark.parametrize(
    ("history", "problem"),
    [
        ("p1", "is not a packed history"),
        ("p1\0View", "is not a packed history"),
        ("p1\0View\0soon", "is not a packed history"),
        ("p1\0View\x001\x1e", "is not a packed history"),
        ("p1\x1e" + packed(1, 2, 3, 4, 5), "is not a packed history"),
        (packed(2, 1)[::-1], "is not a packed history"),
        ("p1\0View\x002\x1ep1\0View\x001", "does not hold its interactions in their order, oldest first"),
        ("p2\0View\x001\x1ep1\0View\x001", "does not hold its interactions in their order, oldest first"),
    ],
)
@pytest.mark.parametrize("version", ["a", "plain"])
async def test_a_malformed_history_is_refused_by_name(
    fused: Version, stored: Float32, history: str, problem: str, version: str
) -> None:
    artifacts = fused.layout.root.parents[1]
    build_version(artifacts, "plain")
    async with running("retrieval", artifacts) as service, connect(service.address) as channel:
        with pytest.raises(errors.InvalidInput, match=problem) as caught:
            await search(Stub(channel), stored[:2], asked(), asked(history), version=version)
        assert caught.value.field == "queries[1].history"


async def test_texts_have_no_history(fused: Version) -> None:
    texts = np.load(fused.layout.text_embeddings)
    async with running("retrieval", fused.layout.root.parents[1]) as service, connect(service.address) as channel:
        for one, field in ((asked(packed(1)), "queries[0].history"), (asked(follows="p1"), "queries[0].follows")):
            request = retrieval_pb2.SearchRequest(vectors=wire.pack(texts[:1], "a"), queries=[one], by_text=True)
            with pytest.raises(errors.InvalidInput, match="has no effect on a search by text") as caught:
                await call(Stub(channel).Search, request, 30, "retrieval service")
            assert caught.value.field == field


async def test_what_follows_a_product_comes_first(fused: Version, stored: Float32) -> None:
    following = tiny_parts(FUSION, PRODUCTS).following
    # the neighbours' scores, and a hundredth of the cosine; no prior
    parts = Parts(Fusion(vector_weight=0.01, neighbour_weight=1, steps=1), following, np.zeros(40, np.float32))
    artifacts = fused.layout.root.parents[1]
    async with running("retrieval", artifacts) as service, connect(service.address) as channel:
        stub = Stub(channel)
        for row in (1, 7, 12):
            scores, others = fused_scores(parts, stored, stored[row], [row]), [f"p{row}"]
            wanted = best(scores, 10, excluded=others)
            (hits,) = await search(stub, stored[[row]], asked(follows=f"p{row}", excluded=others), version="a")
            check(hits, scores, wanted)
            known = {f"p{one}" for one in np.flatnonzero(following[row])} - set(others)
            assert hits.followers == len(known & set(wanted)) > 0
            assert set(wanted[: len(known)]) == known
        # p0 is followed by nothing, and nobody knows the last one
        for unknown in ("p0", "nobody"):
            (hits,) = await search(stub, stored[[0]], asked(follows=unknown), version="a")
            assert hits.followers == 0
            assert list(hits.product_ids) == ranked(stored, stored[0], PRODUCTS, 10)
        with pytest.raises(errors.InvalidInput, match="must be empty if there is a history") as caught:
            await search(stub, stored[[0]], asked(packed(1), follows="p1"), version="a")
        assert caught.value.field == "queries[0].follows"


async def test_without_neighbours_nothing_follows(tmp_path: Path) -> None:
    vectors = np.load(build_version(tmp_path, "a", fusion=POPULAR).layout.embeddings)
    async with running("retrieval", tmp_path) as service, connect(service.address) as channel:
        (hits,) = await search(Stub(channel), vectors[[1]], asked(follows="p1"), version="a")
        assert hits.followers == 0
        assert list(hits.product_ids) == ranked(vectors, vectors[1], PRODUCTS, 10)


FILES = ["neighbour_offsets.npy", "neighbour_rows.npy", "neighbour_scores.npy", "prior.npy"]


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_of_the_score_is_refused(fused: Version, name: str) -> None:
    (fused.layout.root / name).write_bytes(b"\0")
    with pytest.raises(CorruptArtifact, match=name):
        load(fused, RetrievalSettings())


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (FILES[:3], "neighbour_offsets holds 40 numbers for 40 products"),
        (FILES[3:], r"the prior is float32 \[39\], wanted float32 \[40\]"),
    ],
)
def test_files_of_another_number_of_products_are_refused(
    tmp_path: Path, fused: Version, names: list[str], problem: str
) -> None:
    other = build_version(tmp_path / "other", "b", products=39, fusion=FUSION)
    for name in names:
        shutil.copyfile(other.layout.root / name, fused.layout.root / name)
    files = fused.manifest.files | {name: other.manifest.files[name] for name in names}
    mixed = Version(fused.manifest.model_copy(update={"files": files}), fused.layout, fused.encoder)
    with pytest.raises(CorruptArtifact, match=problem):
        load(mixed, RetrievalSettings())


def test_a_score_without_its_files_is_refused(artifacts: Path) -> None:
    version = opened(artifacts, "a")
    wanting = Version(version.manifest.model_copy(update={"fusion": FUSION}), version.layout, version.encoder)
    with pytest.raises(CorruptArtifact, match=r"neighbour_offsets\.npy is not listed in the manifest"):
        load(wanting, RetrievalSettings())


def test_long_histories_are_not_short() -> None:
    request = retrieval_pb2.SearchRequest(queries=[asked(packed(*range(50))) for _ in range(64)])
    assert is_short(request)
    request.queries[7].history = packed(*["x" * 128] * 4000)
    assert not is_short(request)


def test_the_estimate_of_time_knows_the_parts(tmp_path: Path) -> None:
    plain = load(build_version(tmp_path, "plain"), RetrievalSettings()).milliseconds(10)
    fused = load(build_version(tmp_path, "a", fusion=FUSION), RetrievalSettings())
    popular = load(build_version(tmp_path, "popular", fusion=POPULAR), RetrievalSettings())
    # 3 steps of some four entries each, a hundred thousandth of a millisecond an entry
    entries = 3 * len(tiny_parts(FUSION, PRODUCTS).table.rows) / 40
    assert fused.milliseconds(10) == pytest.approx(plain + 10 * entries * 1e-5)
    assert popular.milliseconds(10) == 0
