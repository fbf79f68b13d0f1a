"""The built index: of the configured kind, tuned to the recall target, measured against exact search."""

from __future__ import annotations

import functools
from pathlib import Path

import faiss
import numpy as np
import pytest

from trainer.config.schema import Index
from trainer.errors import DataError
from trainer.index import build, tuning
from twotower.arrays import Float32, Mask
from twotower.artifact.manifest import IndexSpec
from twotower.errors import CorruptArtifact
from twotower.search.vector_index import VectorIndex

NONE = np.empty(0, np.int64)
COUNT, DIMENSION = 3000, 16
APPROXIMATE = ["hnsw", "ivf", "pq", "compact"]


def shop(count: int = COUNT, seed: int = 0) -> Float32:
    """Unit vectors around 30 centres."""
    draw = np.random.default_rng(seed)
    vectors = draw.normal(size=(30, DIMENSION))[draw.integers(0, 30, count)] + draw.normal(size=(count, DIMENSION))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def buyers(count: int = 60) -> build.Queries:
    return build.Queries(shop(count, 1), f"{count} buyers")


def build_anew(kind: str) -> build.BuiltIndex:
    return build.build(shop(), buyers(), Index(kind=kind, target_recall=0.95), 7, 1)


@functools.cache
def built(kind: str) -> build.BuiltIndex:
    """The index of a kind, built once for all tests: search it, never change it."""
    return build_anew(kind)


@pytest.fixture(params=APPROXIMATE)
def made(request: pytest.FixtureRequest) -> build.BuiltIndex:
    return built(request.param)


def recall(searcher: VectorIndex, queries: Float32, k: int) -> float:
    """By numpy alone."""
    exact = np.argsort(-(queries @ searcher.vectors.T), axis=1)[:, :k]
    hits = searcher.search(queries, [k] * len(queries), [NONE] * len(queries))
    return float(np.mean([len(np.intersect1d(one.rows, best)) / k for one, best in zip(hits, exact, strict=True)]))


def test_every_kind_finds_what_its_manifest_says(made: build.BuiltIndex) -> None:
    searcher = VectorIndex(made.index, shop(), made.spec)
    first = made.spec.steps[1]
    assert (first.depth, made.spec.target_recall) == (100, 0.95)
    assert first.recall >= 0.95
    assert recall(searcher, buyers().vectors, 100) == pytest.approx(first.recall, abs=1e-3)


def test_recall_holds_for_buyers_that_it_was_not_tuned_on_and_for_more_than_a_hundred(made: build.BuiltIndex) -> None:
    searcher = VectorIndex(made.index, shop(), made.spec)
    strangers = shop(60, 2)
    for k in (10, 50, 100, 400, 1000):
        assert recall(searcher, strangers, k) > 0.93


def test_the_curve_and_the_choice_are_recorded(made: build.BuiltIndex) -> None:
    spec = IndexSpec.model_validate_json(made.spec.model_dump_json())
    assert spec == made.spec
    assert spec.queries == "60 buyers"
    assert spec.bytes_per_vector is not None and spec.build_seconds is not None and spec.build_seconds > 0
    for step in spec.steps:
        tried = [one for one in spec.curve if one.depth == step.depth and one.recall >= 0.95]
        assert step.microseconds == min(one.microseconds for one in tried) > 0
    assert [one.depth for one in spec.steps] == sorted(one.depth for one in spec.steps)


def test_codes_take_a_small_part_of_the_vectors() -> None:
    # 8 bits for each number and 8 bytes of id, and the centres of its 128 lists
    spec = built("compact").spec
    lists = int(spec.factory.split(",")[0][3:])
    assert spec.bytes_per_vector == pytest.approx(DIMENSION + 8 + lists * DIMENSION * 4 / COUNT, rel=0.15)


def test_an_index_below_its_target_is_refused_with_both_figures() -> None:
    with pytest.raises(
        DataError, match=r"index.kind=hnsw finds at most 0\.9\d+ of the 100 nearest .*target_recall is 0.99999"
    ):
        build.build(shop(), build.Queries(shop(300, 3), ""), Index(kind="hnsw", target_recall=0.99999), 7, 1)


def test_auto_logs_a_kind_that_misses_the_target_and_scans_exactly_instead(
    monkeypatch: pytest.MonkeyPatch, logged: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(build, "_kinds", lambda products: ["hnsw", "flat"])
    config = Index(kind="auto", target_recall=0.99999)
    found = build.build(shop(), build.Queries(shop(300, 3), ""), config, 7, 1)
    assert found.spec.kind == "flat"
    assert logged.messages[0].startswith("index.kind=hnsw finds at most 0.9")


def test_auto_chooses_flat_for_small_catalogues_and_ivf_for_large_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert build_anew("auto").spec == IndexSpec()
    monkeypatch.setattr(build, "_FLAT_BELOW", COUNT)
    assert build_anew("auto").spec.kind == "ivf"


def test_the_same_data_and_seed_give_the_same_index(made: build.BuiltIndex) -> None:
    again = build_anew(made.spec.kind)
    assert (faiss.serialize_index(again.index) == faiss.serialize_index(made.index)).all()


def test_product_quantisation_refuses_an_odd_dimension() -> None:
    vectors = shop()[:, :15].copy()
    with pytest.raises(DataError, match=r"index.kind=pq needs an even model.dimension, got 15"):
        build.build(vectors, buyers(), Index(kind="pq", target_recall=0.9), 7, 1)


@pytest.mark.parametrize("kind", ["flat", *APPROXIMATE])
def test_a_written_index_answers_as_the_one_in_memory(kind: str, tmp_path: Path) -> None:
    vectors, found = shop(), built(kind)
    np.save(tmp_path / "v.npy", vectors)
    build.write(found, tmp_path / "i.faiss")
    loaded = VectorIndex.load(tmp_path / "i.faiss", tmp_path / "v.npy", found.spec)
    inside = VectorIndex(found.index, vectors, found.spec)
    queries = shop(5, 4)
    for one, other in zip(*(each.search(queries, [50] * 5, [NONE] * 5) for each in (loaded, inside)), strict=True):
        np.testing.assert_array_equal(one.rows, other.rows)
        np.testing.assert_array_equal(one.scores, other.scores)


def test_an_index_of_another_kind_than_the_manifest_says_is_corrupt(tmp_path: Path) -> None:
    vectors, found = shop(), built("ivf")
    np.save(tmp_path / "v.npy", vectors)
    build.write(found, tmp_path / "i.faiss")
    with pytest.raises(CorruptArtifact, match=r"is an IndexIVFPQFastScan, the manifest says Flat"):
        VectorIndex.load(tmp_path / "i.faiss", tmp_path / "v.npy")


def test_queries_of_a_shop_without_buyers_lie_around_its_products() -> None:
    vectors = shop()
    made = build.item_queries(vectors, 7, 200)
    assert made.description == "200 item vectors with noise: there are no buyers"
    np.testing.assert_allclose(np.linalg.norm(made.vectors, axis=1), 1, atol=1e-5)
    nearest = (made.vectors @ vectors.T).max(axis=1)
    assert 0.6 < nearest.mean() < 0.95
    np.testing.assert_array_equal(made.vectors, build.item_queries(vectors, 7, 200).vectors)


@pytest.mark.parametrize(("index_time", "share"), [(1.0, 0.5), (0.95, 0.5), (0.5, 0.0)])
def test_a_filter_is_scanned_exactly_unless_the_index_is_clearly_faster(
    index_time: float, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def microseconds(searcher: VectorIndex, queries: Float32, allowed: Mask, exact_rows: int) -> float:
        return 100.0 if exact_rows else 100.0 * index_time

    monkeypatch.setattr(tuning, "_filtered", microseconds)
    searcher = VectorIndex(built("ivf").index, shop(), built("ivf").spec)
    assert tuning.exact_rows(searcher, buyers().vectors, 7) == pytest.approx(share * COUNT, rel=0.1)


def test_the_limit_of_the_exact_scan_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "exact_rows", lambda searcher, queries, seed: 1234)
    assert build_anew("ivf").spec.exact_rows == 1234
