"""A whole run on a small shop, and what the version holds."""

from __future__ import annotations

import gzip
import hashlib
import json
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from tests.helpers.small_shop import (
    EVENT_COLUMNS,
    PRODUCT_COLUMNS,
    assert_same_model,
    copy_artifacts,
    current,
    event_rows,
    product_rows,
    run_arguments,
    small_run,
    write_csv,
    write_shop,
)
from trainer.__main__ import main
from trainer.data.split import draw_hidden
from trainer.fit import text_neighbours
from trainer.index import tuning
from trainer.text.words import word_vectors
from twotower.arrays import Float32, Mask
from twotower.artifact.layout import Layout
from twotower.artifact.version import Version
from twotower.artifact.vocab import Vocab
from twotower.graphs.text_encoder import TextEncoder
from twotower.graphs.towers import ItemTower
from twotower.history import read_recent
from twotower.search.vector_index import VectorIndex
from twotower.text.normalise import item_text

Capture = pytest.CaptureFixture[str]

BASELINES = {"popularity", "recent_popularity", "item_knn", "transitions", "ease"}


@pytest.fixture
def version() -> Version:
    return current(small_run()[1])


FILES = {
    "neighbour_offsets.npy",
    "neighbour_rows.npy",
    "neighbour_scores.npy",
    "product_embeddings.npy",
    "product_ids.npy",
    "product_index.faiss",
    "trending_figures.npy",
    "trending_rows.npy",
    "item_tower.onnx",
    "item_tower_rows.npy",
    "buyer_parts.onnx",
    "buyer_tower.onnx",
    "vocab.json",
    "search_words.json",
    "words.npy",
    "word_offsets.npy",
    "word_rows.npy",
    "word_scores.npy",
    "word_starts.npy",
    "word_weights.npy",
    "products.sqlite",
    "model.safetensors",
    "config.yaml",
    "metrics.json",
    "report.html",
}


# beside what the design lists
MORE = {"nearest_products.onnx", "nearest_texts.onnx", "text_embeddings.npy", "text_index.faiss"}


def test_a_version_holds_the_files_of_the_design_and_their_hashes(version: Version) -> None:
    found = {path.name for path in version.layout.root.iterdir()}
    assert found - MORE == FILES | {"manifest.json"}
    assert set(version.manifest.files) == found - {"manifest.json"}
    for folder, entries in (
        (version.layout.root, version.manifest.files),
        (version.layout.private, version.manifest.private_files),
        (version.encoder.root, version.manifest.encoder_files),
    ):
        for name, entry in entries.items():
            raw = (folder / name).read_bytes()
            assert (entry.sha256, entry.size) == (hashlib.sha256(raw).hexdigest(), len(raw))
    assert set(version.manifest.encoder_files) == {"encoder.json", "encoder.onnx", "encoder.onnx.data"}


def test_what_names_buyers_is_for_its_owner_alone(version: Version) -> None:
    private = version.layout.private
    assert {path.name for path in private.iterdir()} == {"recent_interactions.jsonl.gz", "rejects.csv"}
    assert set(version.manifest.private_files) == {"recent_interactions.jsonl.gz", "rejects.csv"}
    assert {path.stat().st_mode & 0o777 for path in private.iterdir()} == {0o600}
    assert {folder.stat().st_mode & 0o777 for folder in (private, private.parent)} == {0o700}
    buyers = [buyer.encode() for buyer, _ in read_recent(version.layout.recent)]
    assert len(buyers) == 80
    for path in version.layout.root.iterdir():
        content = path.read_bytes()
        # a short id may stand in a picture or a weight by chance; in text it stands between quotes or brackets
        assert not any(b'"' + buyer + b'"' in content or b">" + buyer + b"<" in content for buyer in buyers), path.name


def test_the_manifest_says_what_the_version_is(version: Version) -> None:
    manifest = version.manifest
    assert (manifest.products, manifest.buyers, manifest.events) == (60, 80, 900)
    assert (manifest.dimension, manifest.text_dimension, manifest.max_history) == (16, 32, 50)
    assert manifest.exclude_seen is True
    assert manifest.encoder == "catalogue"
    assert manifest.event_weights == {"View": 1.0, "AddToCart": 5.0, "Purchase": 10.0}
    assert 0 <= manifest.metrics["model"]["recall@10"] <= 1
    assert yaml.safe_load(version.layout.config.read_text())["model"]["dimension"] == 16
    assert manifest.configuration["training"]["max_epochs"] == 2


def test_vectors_ids_and_index_share_their_rows(version: Version) -> None:
    ids = np.load(version.layout.ids, allow_pickle=False)
    vectors = np.load(version.layout.embeddings, allow_pickle=False)
    assert ids.tolist() == [f"p{row}" for row in range(60)]
    assert vectors.dtype == np.float32 and vectors.shape == (60, 16)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    index = VectorIndex.load(version.layout.index, version.layout.embeddings, version.manifest.index)
    hits = index.search(vectors, [1] * 60, [np.empty(0, np.int64)] * 60)
    for row, hit in enumerate(hits):
        np.testing.assert_allclose(vectors[hit.rows[0]], vectors[row], atol=1e-6)


def test_the_item_tower_gives_the_stored_vector_of_every_row(version: Version) -> None:
    encoder = TextEncoder.load(version.encoder, 1)
    vocab = Vocab.load(version.layout.vocab)
    rows = product_rows()
    content = [json.loads(row[3]) for row in rows]
    found = ItemTower(version.layout, 1).encode(
        encoder.encode([item_text(row[1], row[2]) for row in rows]),
        np.array([vocab.brand_index(one["brand"]) for one in content]),
        np.array([vocab.category_index(one["category"]) for one in content]),
        np.arange(1, 61),
    )
    np.testing.assert_allclose(found, np.load(version.layout.embeddings), atol=1e-4)


@pytest.fixture
def unrefitted() -> Version:
    """A version that is published as it was tested."""
    pairs = "[{one: خاتم ذهب, two: سلسال ذهب}, {one: خاتم ذهب, two: خاتم ذهب, below: 0.5}]"
    settings = (f"evaluation.text_pairs={pairs}", "training.refit=false", "training.max_epochs=1")
    return current(small_run(*settings)[1])


def test_configured_pairs_of_titles_are_as_similar_as_the_exported_graphs_say(unrefitted: Version) -> None:
    pairs = json.loads(unrefitted.layout.metrics.read_text())["similarity"]["texts"]
    texts = TextEncoder.load(unrefitted.encoder, 1).encode(["خاتم ذهب", "سلسال ذهب"])
    unknown = np.zeros(2, np.int64)
    # the graphs are of the tested model
    one, two = ItemTower(unrefitted.layout, 1).encode(texts, unknown, unknown, unknown)
    assert [pair["cosine"] for pair in pairs] == pytest.approx([float(one @ two), 1.0], abs=1e-4)
    assert [pair["holds"] for pair in pairs] == [True, False]
    missed = "'خاتم ذهب' and 'خاتم ذهب' have a cosine of 1.00, wanted below 0.5"
    assert missed in unrefitted.manifest.notes
    assert missed in unrefitted.layout.report.read_text().replace("&#39;", "'")


def test_without_refit_the_tested_model_is_published(unrefitted: Version) -> None:
    (run,) = (unrefitted.layout.root.parents[1] / "work" / "runs").iterdir()
    assert unrefitted.layout.weights.read_bytes() == (run / "tested" / "model.safetensors").read_bytes()
    report = json.loads(unrefitted.layout.metrics.read_text())
    assert report["protocol"]["published_model"] == "the tested one"


def test_products_are_stored_raw_with_their_share_of_all_events(version: Version) -> None:
    rows = sqlite3.connect(version.layout.products).execute("SELECT * FROM products ORDER BY row").fetchall()
    weights = {"View": 1, "AddToCart": 5, "Purchase": 10}
    total = {f"p{row}": 0 for row in range(60)}
    heaviest: dict[tuple[str, str], int] = {}
    for buyer, product, kind, _ in event_rows():
        heaviest[buyer, product] = max(heaviest.get((buyer, product), 0), weights[kind])
    for (_, product), weight in heaviest.items():
        total[product] += weight
    for place, (row, source) in enumerate(zip(rows, product_rows(), strict=True)):
        content = json.loads(source[3])
        assert row[:9] == (
            source[0],
            place,
            source[1],
            source[2],
            content["brand"],
            content["category"],
            content["price"],
            "SAR",
            int(content.get("in_stock", True)),
        )
        assert row[9] == pytest.approx(total[source[0]] / sum(total.values()), rel=1e-5)


def test_recent_interactions_are_each_buyers_last(version: Version) -> None:
    found = dict(read_recent(version.layout.recent))
    assert set(found) == {f"b{buyer}" for buyer in range(80)}
    for buyer in ("b0", "b79"):
        wanted = sorted((int(r[3]) * 1000, r[1], r[2]) for r in event_rows() if r[0] == buyer)[-50:]
        assert [(one.timestamp_ms, one.product_id, one.event_type) for one in found[buyer]] == wanted
    with gzip.open(version.layout.recent) as file:
        assert len(file.readlines()) == 80


def test_metrics_compare_the_model_with_baselines_and_name_the_protocol(version: Version) -> None:
    report = json.loads(version.layout.metrics.read_text())
    assert set(report["test"]) == BASELINES | {"model"}
    for name in report["test"]:
        assert {"recall@10", "recall@20", "ndcg@10", "mrr@10", "coverage@10"} <= set(report["test"][name])
    assert {"popularity@10", "new@10", "cases"} <= set(report["test"]["ease"])
    assert report["protocol"]["split"] == "leave_last_out"
    assert report["protocol"]["protocol"] == "published"
    assert report["protocol"]["tested_model"] == "trained once, without the events of validation and test"
    assert report["protocol"]["published_model"] == "refitted on all events"
    assert report["data"]["event_rows"] == 900 and report["data"]["buyers"] == 80


def test_metrics_hold_intervals_slices_similarity_and_the_gate(version: Version) -> None:
    report = json.loads(version.layout.metrics.read_text())
    for name, found in report["test"].items():
        for metric in ("recall@10", "ndcg@100", "mrr@20", "popularity@10", "new@10"):
            low, high = report["intervals"][name][metric]
            assert low <= found[metric] <= high
    assert set(report["differences"]) == BASELINES
    one = report["differences"]["item_knn"]["ndcg@10"]
    wanted = report["test"]["model"]["ndcg@10"] - report["test"]["item_knn"]["ndcg@10"]
    assert one["difference"] == pytest.approx(wanted) and one["low"] <= one["difference"] <= one["high"]
    assert {"history length", "target popularity", "category", "script", "products", "buyers"} == set(report["slices"])
    for labels in report["slices"].values():
        assert sum(label["targets"] for label in labels.values()) == report["test"]["model"]["cases"]
    assert set(report["slices"]["category"]) == {"مجوهرات", "عطور", "سيارات", "تمور"}
    label = report["slices"]["script"]["Arabic"]
    assert set(label) == BASELINES | {"cases", "targets", "model", "interval"}
    for found in (report["similarity"], report["similarity"]["text_only"]):
        assert found["same_category_mean"] > found["cross_category_mean"] and 0.5 < found["auc"] <= 1
    assert report["gate"] == {"verdict": "off", "metric": "ndcg@10", "reasons": [], "served": None}
    assert version.manifest.gate == "off"


def test_the_published_model_learned_from_all_events(version: Version) -> None:
    (run,) = (small_run()[1] / "work" / "runs").iterdir()
    facts = json.loads((run / "training.json").read_text())
    assert len(facts["refit_curve"]) == facts["best_epoch"] and "tested_curve" not in facts
    newest = max(int(row[3]) for row in event_rows()) * 1000
    assert facts["newest_event_ms"] == version.manifest.newest_event_ms == newest


def test_the_protocol_refit_tests_a_model_that_learned_from_all_but_what_the_test_asks_for(version: Version) -> None:
    artifacts = small_run("evaluation.protocol=refit")[1]
    refitted = current(artifacts)
    (run,) = (artifacts / "work" / "runs").iterdir()
    facts = json.loads((run / "training.json").read_text())
    assert len(facts["tested_curve"]) == len(facts["refit_curve"]) == facts["best_epoch"]
    report, published = (json.loads(one.layout.metrics.read_text()) for one in (refitted, version))
    assert report["protocol"]["tested_model"] == "refitted on every event that the test does not ask for"
    # 80 buyers, each with three and more events: the baselines know one more of each
    assert report["test"]["popularity"] != published["test"]["popularity"]
    assert report["test"]["popularity"]["cases"] == published["test"]["popularity"]["cases"]
    # validation and the model for all events are the same
    assert report["training"]["candidates"] == published["training"]["candidates"]
    assert refitted.layout.weights.read_bytes() == version.layout.weights.read_bytes()


def half_of_the_neighbours(table: Float32, known: Mask, product: int) -> Float32:
    """Half of what kernel ridge regression on the words of all known products gives for a product's row."""
    words = word_vectors([item_text(row[1], row[2]) for row in product_rows()]).toarray()
    cosines = words @ words.T
    others = np.flatnonzero(known)
    among = cosines[np.ix_(others, others)] + 0.3 * np.eye(len(others))
    half: Float32 = 0.5 * np.linalg.solve(among, cosines[product, others]) @ table[1:][others]
    return half


def test_a_product_without_training_events_has_no_vector_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # among thirty of sixty products, many of them are as near
    monkeypatch.setattr(text_neighbours, "NEAREST", 60)
    shop = write_shop(tmp_path)
    rows = [row for row in event_rows() if row[1] not in {"p3", "p59"}]
    write_csv(shop.events, EVENT_COLUMNS, rows)
    assert main(run_arguments(shop, tmp_path / "artifacts", settings=["training.max_epochs=1"])) == 0
    version = current(tmp_path / "artifacts")
    table = load_file(version.layout.weights)["item.product.weight"]
    known = np.ones(60, np.bool_)
    known[[3, 59]] = False
    assert (table[1:][known] != table[0]).any(axis=1).all()
    for product in (3, 59):
        expected = half_of_the_neighbours(table, known, product)
        np.testing.assert_allclose(table[1 + product], expected, atol=1e-4)
    report = json.loads(version.layout.metrics.read_text())
    assert report["test"]["popularity"]["new@10"] == 0.0


def test_hidden_products_are_tested_as_new_ones_and_published_as_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # among thirty of sixty products, many of them are as near
    monkeypatch.setattr(text_neighbours, "NEAREST", 60)
    shop = write_shop(tmp_path)
    settings = ["evaluation.hidden_products=0.1", "training.max_epochs=1"]
    assert main(run_arguments(shop, tmp_path / "artifacts", settings=settings)) == 0
    version = current(tmp_path / "artifacts")
    report = json.loads(version.layout.metrics.read_text())
    assert report["protocol"]["hidden_products"] == 6
    hidden, warm = (report["slices"]["hidden products"][label] for label in ("hidden", "warm"))
    assert hidden["targets"] + warm["targets"] == report["test"]["model"]["cases"]
    assert report["slices"]["products"]["cold: never in training"] == hidden
    # among 60 products all are within the first hundred; nothing but texts speaks for a hidden one
    assert hidden["model"]["recall@100"] == 1.0 and hidden["item_knn"]["recall@10"] < warm["item_knn"]["recall@10"]
    (run,) = (tmp_path / "artifacts" / "work" / "runs").iterdir()
    drawn = draw_hidden(60, 0.1, seed=7)
    for name, own in (("tested", False), ("version", True)):
        table = load_file(run / name / "model.safetensors")["item.product.weight"]
        for product in np.flatnonzero(drawn):
            expected = half_of_the_neighbours(table, ~drawn, product)
            assert np.allclose(table[1 + product], expected, atol=1e-4) != own, (name, product)


def test_hidden_products_need_a_refit(tmp_path: Path, capsys: Capture) -> None:
    settings = ["evaluation.hidden_products=0.1", "training.refit=false"]
    assert main(run_arguments(small_run()[0], tmp_path, settings=settings)) == 2
    assert "evaluation.hidden_products=0.1 with training.refit=false" in capsys.readouterr().err


def test_the_protocol_refit_needs_a_refit(tmp_path: Path, capsys: Capture) -> None:
    settings = ["evaluation.protocol=refit", "training.refit=false"]
    assert main(run_arguments(small_run()[0], tmp_path, settings=settings)) == 2
    assert "evaluation.protocol=refit with training.refit=false" in capsys.readouterr().err


def test_the_published_weights_are_the_refitted_ones(version: Version) -> None:
    (run,) = (small_run()[1] / "work" / "runs").iterdir()
    assert version.layout.weights.read_bytes() == (run / "version" / "model.safetensors").read_bytes()
    evaluated, final = load_file(run / "tested" / "model.safetensors"), load_file(run / "version" / "model.safetensors")
    assert any(not np.array_equal(evaluated[name], final[name]) for name in final)


def test_nothing_in_a_version_is_pickled(version: Version) -> None:
    for path in version.layout.root.iterdir():
        assert path.suffix not in {".pkl", ".pt", ".bin", ".pickle"}
        assert not path.read_bytes().startswith((b"\x80\x04", b"\x80\x05"))


def test_each_stage_is_a_command_and_says_which_comes_before_it(tmp_path: Path, capsys: Capture) -> None:
    shop, artifacts = small_run()[0], tmp_path / "artifacts"

    def stage(name: str) -> int:
        return main(run_arguments(shop, artifacts, command=name))

    for name, before in (("evaluate", "train"), ("embed", "train"), ("index", "embed"), ("publish", "index")):
        assert stage(name) == 2
        output = capsys.readouterr().err
        assert f"run `python -m trainer {before}` first" in output and output.count("\n") == 1
    assert stage("train") == 0
    assert stage("embed") == 0
    assert stage("index") == 0
    capsys.readouterr()
    assert stage("publish") == 2
    assert "run `python -m trainer evaluate` first" in capsys.readouterr().err
    assert stage("evaluate") == 0
    assert not (artifacts / "CURRENT").exists()
    assert stage("publish") == 0
    assert_same_model(current(small_run()[1]), current(artifacts))


@pytest.mark.parametrize(
    ("settings", "events"),
    [
        (["model.buyer_tower=weighted_average", "model.half_life_days=30"], 300),
        (["model.brand_embedding=false", "model.category_embedding=false", "model.product_embedding=false"], 300),
        (["model.dimension=32"], 300),
        (["evaluation.split=global_time", "evaluation.test_days=10"], 900),
        ([], 81),  # nearly every buyer has one event: there is nothing to train on
        (["training.random_negatives=0", "training.logq_strength=0.5", "training.repeat_targets=true"], 300),
    ],
)
def test_other_settings_and_poor_data_give_a_version_too(tmp_path: Path, settings: list[str], events: int) -> None:
    shop = write_shop(tmp_path, events=events)
    assert main(run_arguments(shop, tmp_path / "artifacts", settings=[*settings, "training.max_epochs=1"])) == 0
    vectors = np.load(current(tmp_path / "artifacts").layout.embeddings)
    assert np.isfinite(vectors).all()


@pytest.mark.parametrize("kind", ["softmax", "linear", "blend"])
def test_a_product_of_which_nothing_is_known_is_published_and_told(tmp_path: Path, capsys: Capture, kind: str) -> None:
    shop, artifacts = write_shop(tmp_path), tmp_path / "artifacts"
    write_csv(shop.products, PRODUCT_COLUMNS, [*product_rows(), ["nothing", "", "", ""]])
    heads = 2 if kind == "blend" else 1
    settings = [f"training.start={kind}", f"model.heads={heads}", "training.max_epochs=1"]
    assert main(run_arguments(shop, artifacts, settings=settings)) == 0
    vectors = np.load(current(artifacts).layout.embeddings)
    assert np.isfinite(vectors).all()
    assert vectors.any(axis=1).tolist() == [True] * 60 + [False]
    assert "warning: 1 of 61 products cannot be found: they have no text" in capsys.readouterr().out


def test_parquet_and_many_files_give_the_same_version(tmp_path: Path) -> None:
    import polars as pl

    rows = event_rows()
    pieces = [write_csv(tmp_path / f"events-{one}.csv.gz", EVENT_COLUMNS, rows[one::3]) for one in range(2)]
    last = tmp_path / "events-2.parquet"
    columns = dict(zip(EVENT_COLUMNS, map(list, zip(*rows[2::3], strict=True)), strict=True))
    pl.DataFrame(columns).write_parquet(last)
    products = write_csv(tmp_path / "products.csv", PRODUCT_COLUMNS, product_rows())
    shop = small_run()[0]._replace(products=products)
    arguments = run_arguments(shop, tmp_path / "artifacts")
    arguments[arguments.index("--events") + 1] = str(tmp_path / "events-*")
    assert main(arguments) == 0
    assert len(pieces) == 2 and last.exists()
    assert_same_model(current(small_run()[1]), current(tmp_path / "artifacts"))


def index_settings(kind: str) -> tuple[str, ...]:
    return f"index.kind={kind}", "index.target_recall=0.9", "training.max_epochs=1"


@pytest.mark.parametrize("kind", ["compact", "hnsw"])
def test_an_approximate_index_is_tuned_on_real_buyers_and_described_in_the_manifest(kind: str) -> None:
    from retrieval_service.loading import load as load_index
    from retrieval_service.query import Query
    from retrieval_service.settings import RetrievalSettings

    version = current(small_run(*index_settings(kind))[1])
    spec = version.manifest.index
    assert (spec.kind, spec.target_recall) == (kind, 0.9)
    assert spec.queries.endswith("buyer vectors of real histories")
    assert [step.depth for step in spec.steps] == [10, 60]  # there are sixty products
    products = load_index(version, RetrievalSettings())
    vectors = np.load(version.layout.embeddings)
    (answer,) = products.search(vectors[:1], [Query(60)])
    assert len(answer.product_ids) == 60
    np.testing.assert_allclose(answer.scores, np.sort(vectors @ vectors[0])[::-1], atol=1e-6)


def test_an_index_that_finds_too_little_is_not_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    settings = index_settings("compact")
    shop, made = small_run(*settings)
    artifacts = copy_artifacts(made, tmp_path / "artifacts")
    before = Layout(artifacts).current.read_text()
    monkeypatch.setattr(tuning, "_recalls", lambda *arguments: {1.0: 0.75})
    assert main(run_arguments(shop, artifacts, command="index", settings=settings)) == 2
    assert "index.kind=compact finds at most 0.7500 of the 60 nearest products" in capsys.readouterr().err
    assert Layout(artifacts).current.read_text() == before


def test_a_model_with_little_to_learn_from_says_so(version: Version) -> None:
    # the small shop has some hundred pairs
    assert any("training pairs: the vectors depend on the texts" in note for note in version.manifest.notes)


def test_buyers_of_one_event_each_teach_nothing_and_a_version_is_published_all_the_same(tmp_path: Path) -> None:
    shop, artifacts = write_shop(tmp_path), tmp_path / "artifacts"
    write_csv(shop.events, EVENT_COLUMNS, [[f"b{row}", *event[1:]] for row, event in enumerate(event_rows()[:100])])
    assert main(run_arguments(shop, artifacts, settings=["training.min_steps=20"])) == 0
    version = current(artifacts)
    training = json.loads(version.layout.metrics.read_text())["training"]
    assert (training["best_epoch"], training["curve"], training["refit_curve"]) == (0, [], [])
    assert version.manifest.notes[:2] == [
        "only 0 training pairs: the vectors depend on the texts, and hardly on what buyers did",
        "no buyer has enough events to validate on",
    ]


def test_a_blend_is_exported_and_published_like_any_model(tmp_path: Path) -> None:
    shop, artifacts = write_shop(tmp_path), tmp_path / "artifacts"
    settings = ["training.start=blend", "model.heads=2", "linear.blend_weights=[0.7]", "linear.half_lives_days=[10]"]
    assert main(run_arguments(shop, artifacts, settings=settings)) == 0
    version = current(artifacts)
    training = json.loads(version.layout.metrics.read_text())["training"]
    assert (training["kind"], training["share"]) == ("blend", 0.7)
    assert set(training["vectors_alone"]) == {"linear", "softmax", "blend"}
    # one head is refitted, for as many epochs as were best of two
    assert len(training["refit_curve"]) == training["best_epoch"] > 0
    vectors = np.load(version.layout.embeddings, allow_pickle=False)
    assert vectors.shape == (60, 16)
    # seven tenths of a product of vectors are the linear model's, in the first of two heads
    np.testing.assert_allclose(np.linalg.norm(vectors[:, :8], axis=1), 0.7**0.5, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors[:, 8:], axis=1), 0.3**0.5, atol=1e-5)
    out = tmp_path / "out.csv"
    assert main(["recommend", "--artifacts", str(artifacts), "--events", str(shop.events), "--out", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 1 + 80 * 10
