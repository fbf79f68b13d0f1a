"""A whole run on a small shop: what a version holds, what is done again and what is not, and rolling back."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from safetensors.numpy import load_file

from tests.helpers.small_shop import (
    EVENT_COLUMNS,
    PRODUCT_COLUMNS,
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
from trainer.config.loading import load_config
from trainer.data.split import draw_hidden
from trainer.index import tuning
from trainer.release.locks import working_alone
from trainer.stages import prepare
from trainer.stages import publish as publish_stage
from twotower.artifact.layout import Layout
from twotower.artifact.retention import list_versions
from twotower.artifact.version import Version, open_version, verify
from twotower.artifact.vocab import Vocab
from twotower.graphs.text_encoder import TextEncoder
from twotower.graphs.towers import ItemTower
from twotower.history import read_recent
from twotower.search.vector_index import VectorIndex
from twotower.text.normalise import item_text

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def version() -> Version:
    return current(small_run()[1])


FILES = {
    "product_embeddings.npy", "product_ids.npy", "product_index.faiss", "item_tower.onnx", "buyer_tower.onnx",
    "vocab.json", "products.sqlite", "recent_interactions.jsonl.gz", "model.safetensors", "config.yaml", "metrics.json",
    "report.html",
}  # fmt: skip


# beside what the design lists
MORE = {"rejects.csv", "nearest_products.onnx", "text_embeddings.npy", "text_index.faiss"}


def test_a_version_holds_the_files_of_the_design_and_their_hashes(version: Version) -> None:
    found = {path.name for path in version.layout.root.iterdir()}
    assert found - MORE == FILES | {"manifest.json"}
    assert set(version.manifest.files) == found - {"manifest.json"}
    for folder, entries in (
        (version.layout.root, version.manifest.files),
        (version.encoder.root, version.manifest.encoder_files),
    ):
        for name, entry in entries.items():
            raw = (folder / name).read_bytes()
            assert (entry.sha256, entry.size) == (hashlib.sha256(raw).hexdigest(), len(raw))
    assert set(version.manifest.encoder_files) == {"encoder.json", "encoder.onnx"}


def test_the_manifest_says_what_the_version_is(version: Version) -> None:
    manifest = version.manifest
    assert (manifest.products, manifest.buyers, manifest.events) == (60, 80, 900)
    assert (manifest.dimension, manifest.text_dimension, manifest.max_history) == (16, 32, 50)
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
    found = ItemTower(version.layout.item_tower, 1).encode(
        encoder.encode([item_text(row[1], row[2]) for row in rows]),
        np.array([vocab.brand_index(one["brand"]) for one in content]),
        np.array([vocab.category_index(one["category"]) for one in content]),
        np.arange(1, 61),
    )
    np.testing.assert_allclose(found, np.load(version.layout.embeddings), atol=1e-4)


def test_configured_pairs_of_titles_are_as_alike_as_the_exported_graphs_say(tmp_path: Path) -> None:
    pairs = "[{one: خاتم ذهب, two: سلسال ذهب}, {one: خاتم ذهب, two: خاتم ذهب, below: 0.5}]"
    # published as evaluated: the graphs are of the tested model
    settings = [f"evaluation.text_pairs={pairs}", "training.refit=false", "training.max_epochs=1"]
    assert main(run_arguments(write_shop(tmp_path), tmp_path / "artifacts", settings=settings)) == 0
    version = current(tmp_path / "artifacts")
    found = json.loads(version.layout.metrics.read_text())["similarity"]["texts"]
    texts = TextEncoder.load(version.encoder, 1).encode(["خاتم ذهب", "سلسال ذهب"])
    unknown = np.zeros(2, np.int64)
    one, two = ItemTower(version.layout.item_tower, 1).encode(texts, unknown, unknown, unknown)
    assert [pair["cosine"] for pair in found] == pytest.approx([float(one @ two), 1.0], abs=1e-4)
    assert [pair["holds"] for pair in found] == [True, False]
    missed = "'خاتم ذهب' and 'خاتم ذهب' have a cosine of 1.00, wanted below 0.5"
    assert missed in version.manifest.notes and missed in version.layout.report.read_text().replace("&#39;", "'")


def test_products_are_stored_raw_with_their_share_of_all_events(version: Version) -> None:
    rows = sqlite3.connect(version.layout.products).execute("SELECT * FROM products ORDER BY row").fetchall()
    weights = {"View": 1, "AddToCart": 5, "Purchase": 10}
    total = {f"p{row}": 0 for row in range(60)}
    for _, product, kind, _ in event_rows():
        total[product] += weights[kind]
    for place, (row, source) in enumerate(zip(rows, product_rows(), strict=True)):
        content = json.loads(source[3])
        assert row[:9] == (
            source[0], place, source[1], source[2], content["brand"], content["category"], content["price"], "SAR",
            int(content.get("in_stock", True)),
        )  # fmt: skip
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
    assert set(report["test"]) >= {"model", "popularity", "item_knn"}
    for name in report["test"]:
        assert {"recall@10", "recall@20", "ndcg@10", "mrr@10", "coverage@10"} <= set(report["test"][name])
    assert {"popularity@10", "new@10", "cases"} <= set(report["test"]["ease"])
    assert report["protocol"]["split"] == "leave_last_out"
    assert report["protocol"]["tested_model"] == "refitted on every event that the test does not ask for"
    assert report["protocol"]["published_model"] == "refitted on all events"
    assert report["data"]["event_rows"] == 900 and report["data"]["buyers"] == 80


def test_metrics_hold_intervals_slices_similarity_and_the_gate(version: Version) -> None:
    report = json.loads(version.layout.metrics.read_text())
    for name, found in report["test"].items():
        for metric in ("recall@10", "ndcg@100", "mrr@20", "popularity@10", "new@10"):
            low, high = report["intervals"][name][metric]
            assert low <= found[metric] <= high
    assert set(report["compared"]) == {"popularity", "item_knn", "ease"}
    one = report["compared"]["item_knn"]["ndcg@10"]
    wanted = report["test"]["model"]["ndcg@10"] - report["test"]["item_knn"]["ndcg@10"]
    assert one["difference"] == pytest.approx(wanted) and one["low"] <= one["difference"] <= one["high"]
    assert {"history length", "target popularity", "category", "script", "products", "buyers"} == set(report["slices"])
    for labels in report["slices"].values():
        assert sum(label["targets"] for label in labels.values()) == report["test"]["model"]["cases"]
    assert set(report["slices"]["category"]) == {"مجوهرات", "عطور", "سيارات", "تمور"}
    label = report["slices"]["script"]["Arabic"]
    assert set(label) == {"cases", "targets", "model", "interval", "popularity", "item_knn", "ease"}
    for found in (report["similarity"], report["similarity"]["text_only"]):
        assert found["same_category_mean"] > found["cross_category_mean"] and 0.5 < found["auc"] <= 1
    assert report["gate"] == {"verdict": "off", "metric": "ndcg@10", "reasons": [], "served": None}
    assert version.manifest.gate == "off"


def test_the_tested_model_learned_from_all_but_what_the_test_asks_for(version: Version) -> None:
    (run,) = (small_run()[1] / "work" / "runs").iterdir()
    facts = json.loads((run / "training.json").read_text())
    # 900 events of 80 buyers, each with three and more: one is asked for in the test, two while validating
    assert len(facts["tested_curve"]) == len(facts["refit_curve"]) == facts["best_epoch"]
    newest = max(int(row[3]) for row in event_rows()) * 1000
    assert facts["newest_event_ms"] == version.manifest.newest_event_ms == newest


def half_of_the_nearest(
    version: Version, table: NDArray[np.float32], known: NDArray[np.bool_], product: int
) -> NDArray[np.float32]:
    """Half of the weighted mean of the rows of the thirty known products whose texts are nearest to a product's."""
    texts = TextEncoder.load(version.encoder, 1).encode([item_text(row[1], row[2]) for row in product_rows()])
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    cosines = texts @ texts[product]
    nearest = [one for one in np.argsort(-cosines, kind="stable") if known[one]][:30]
    weights = np.exp(8 * (cosines[nearest] - 1))
    half: NDArray[np.float32] = 0.5 * weights @ table[1:][nearest] / weights.sum()
    return half


def test_a_product_without_training_events_has_no_vector_of_its_own(tmp_path: Path) -> None:
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
        expected = half_of_the_nearest(version, table, known, product)
        np.testing.assert_allclose(table[1 + product], expected, atol=1e-4)
    report = json.loads(version.layout.metrics.read_text())
    assert report["test"]["popularity"]["new@10"] == 0.0


def test_hidden_products_are_tested_as_new_ones_and_published_as_known(tmp_path: Path) -> None:
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
    for name, own in (("evaluated", False), ("model", True)):
        table = load_file(run / f"{name}.safetensors")["item.product.weight"]
        for product in np.flatnonzero(drawn):
            expected = half_of_the_nearest(version, table, ~drawn, product)
            assert np.allclose(table[1 + product], expected, atol=1e-4) != own, (name, product)


def test_hidden_products_need_a_refit(tmp_path: Path, capsys: Capture) -> None:
    settings = ["evaluation.hidden_products=0.1", "training.refit=false"]
    assert main(run_arguments(small_run()[0], tmp_path, settings=settings)) == 2
    assert "evaluation.hidden_products=0.1 with training.refit=false" in capsys.readouterr().err


def test_the_published_weights_are_the_refitted_ones(version: Version) -> None:
    (run,) = (small_run()[1] / "work" / "runs").iterdir()
    assert version.layout.weights.read_bytes() == (run / "model.safetensors").read_bytes()
    evaluated, final = load_file(run / "evaluated.safetensors"), load_file(run / "model.safetensors")
    assert any(not np.array_equal(evaluated[name], final[name]) for name in final)


def test_nothing_in_a_version_is_pickled(version: Version) -> None:
    for path in version.layout.root.iterdir():
        assert path.suffix not in {".pkl", ".pt", ".bin", ".pickle"}
        assert not path.read_bytes().startswith((b"\x80\x04", b"\x80\x05"))


def test_a_second_run_says_that_it_is_up_to_date(tmp_path: Path, capsys: Capture) -> None:
    shop, made = small_run()
    artifacts = copy_artifacts(made, tmp_path / "artifacts")
    before = (artifacts / "CURRENT").read_text()
    assert main(run_arguments(shop, artifacts)) == 0
    assert capsys.readouterr().out.startswith(f"up to date: {before.split()[0]} was made from this data")
    # the contents count, not the names
    other = write_shop(tmp_path / "elsewhere")
    assert main(run_arguments(other, artifacts)) == 0
    assert "up to date" in capsys.readouterr().out
    assert (artifacts / "CURRENT").read_text() == before
    assert len(list_versions(Layout(artifacts))) == 1


def damage_pointer(version: Version) -> None:
    (version.layout.root.parent.parent / "CURRENT").write_text("rubbish")


def damage_manifest(version: Version) -> None:
    version.layout.manifest.write_text("{}")


def lose_version(version: Version) -> None:
    shutil.rmtree(version.layout.root)


def lose_index(version: Version) -> None:
    version.layout.index.unlink()


def damage_encoder(version: Version) -> None:
    version.encoder.graph.write_bytes(b"x")


@pytest.mark.parametrize("damage", [damage_pointer, damage_manifest, lose_version, lose_index, damage_encoder])
def test_what_is_damaged_is_not_up_to_date_and_a_run_repairs_it(
    tmp_path: Path, capsys: Capture, damage: Callable[[Version], None]
) -> None:
    shop, made = small_run()
    artifacts = copy_artifacts(made, tmp_path / "artifacts")
    damage(current(artifacts))
    assert main(run_arguments(shop, artifacts)) == 0
    told = capsys.readouterr().out
    assert "up to date" not in told and "published" in told
    verify(current(artifacts))


def test_the_command_of_a_version_that_was_rolled_back_from_does_not_undo_that(tmp_path: Path, capsys: Capture) -> None:
    shop, made = small_run()
    artifacts = copy_artifacts(made, tmp_path / "artifacts")
    good = current(artifacts).name
    command = run_arguments(shop, artifacts, settings=["seed=8", "training.max_epochs=1"])
    assert main(command) == 0
    bad = current(artifacts).name
    assert main(["publish", good, "--artifacts", str(artifacts)]) == 0
    capsys.readouterr()
    assert main(command) == 0
    wanted = f"{bad} was made from this data and configuration, but CURRENT names {good}: it stays"
    assert capsys.readouterr().out == f"{wanted} (publish {bad}, or --force trains again)\n"
    assert current(artifacts).name == good
    # what cannot be published is not advised
    lose_index(open_version(Layout(artifacts), bad))
    assert main(command) == 0
    assert current(artifacts).name not in (good, bad)


def test_a_run_that_died_before_it_published_is_not_one_that_was_rolled_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, made = small_run()
    artifacts = copy_artifacts(made, tmp_path / "artifacts")
    before = current(artifacts).name
    command = run_arguments(shop, artifacts, settings=["seed=8", "training.max_epochs=1"])

    def die(layout: Layout, name: str) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(publish_stage, "publish", die)
        assert main(command) == 130
    assert current(artifacts).name == before and len(list_versions(Layout(artifacts))) == 2
    assert main(command) == 0
    assert current(artifacts).name != before


def test_a_run_says_that_somebody_has_published_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    shop, made = small_run()
    artifacts = copy_artifacts(made, tmp_path / "artifacts")
    first, write = current(artifacts).name, publish_stage.write_version
    other = made_again(artifacts, "v-01")

    def slow(*arguments: Any, **named: Any) -> Version:
        assert main(["publish", other, "--artifacts", str(artifacts)]) == 0
        return write(*arguments, **named)

    monkeypatch.setattr(publish_stage, "write_version", slow)
    assert main(run_arguments(shop, artifacts, command="publish")) == 0
    wanted = f"warning: CURRENT named {first} when this began and {other} now, which this version replaces"
    assert wanted in capsys.readouterr().out


def test_a_changed_title_encodes_that_text_alone_and_makes_a_new_version(tmp_path: Path, capsys: Capture) -> None:
    shop, made = small_run()
    artifacts = copy_artifacts(made, tmp_path / "artifacts")
    before = (artifacts / "CURRENT").read_text()
    encoder = next((artifacts / "work" / "encoders").iterdir())
    rows = product_rows()
    rows[5][1] = "خاتم جديد"
    products = write_csv(tmp_path / "products.csv", PRODUCT_COLUMNS, rows)
    # the catalogue encoder would be trained anew: a frozen one is used here
    arguments = run_arguments(shop._replace(products=products), artifacts, settings=[f"encoder.name={encoder}"])
    assert main(arguments) == 0
    said = capsys.readouterr().out
    # 60 texts, and the titles of the 40 products that have more text than that; another encoder for the cache
    assert "text vectors: 100 encoded" in said
    assert (artifacts / "CURRENT").read_text() != before
    assert (artifacts / "PREVIOUS").read_text() == before
    rows[6][1] = "خاتم آخر"
    write_csv(products, PRODUCT_COLUMNS, rows)
    assert main(arguments) == 0
    assert "text vectors: 1 encoded, 99 from the cache" in capsys.readouterr().out


def test_a_run_made_again_by_force_gives_the_same_model(tmp_path: Path) -> None:
    shop, made = small_run()
    artifacts = tmp_path / "artifacts"
    assert main(run_arguments(shop, artifacts)) == 0
    one, two = current(made), current(artifacts)
    for name in ("product_embeddings.npy", "model.safetensors", "recent_interactions.jsonl.gz", "vocab.json"):
        assert one.manifest.files[name].sha256 == two.manifest.files[name].sha256, name
    assert one.manifest.encoder_digest == two.manifest.encoder_digest
    time.sleep(1.0)  # versions are named by the second
    assert main(run_arguments(shop, artifacts, "--force")) == 0
    assert len(list_versions(Layout(artifacts))) == 2


def test_each_stage_is_a_command_and_says_which_comes_before_it(tmp_path: Path, capsys: Capture) -> None:
    shop, artifacts = small_run()[0], tmp_path / "artifacts"

    def stage(name: str) -> int:
        return main(run_arguments(shop, artifacts, command=name))

    for name, before in (("evaluate", "train"), ("embed", "train"), ("index", "embed"), ("publish", "index")):
        assert stage(name) == 2
        told = capsys.readouterr().err
        assert f"run `python -m trainer {before}` first" in told and told.count("\n") == 1
    assert stage("train") == 0
    assert stage("embed") == 0
    assert stage("index") == 0
    capsys.readouterr()
    assert stage("publish") == 2
    assert "run `python -m trainer evaluate` first" in capsys.readouterr().err
    assert stage("evaluate") == 0
    assert not (artifacts / "CURRENT").exists()
    assert stage("publish") == 0
    one, two = current(small_run()[1]), current(artifacts)
    for name in ("product_embeddings.npy", "model.safetensors"):
        assert one.manifest.files[name].sha256 == two.manifest.files[name].sha256


def test_without_refit_the_evaluated_model_is_published(tmp_path: Path) -> None:
    shop = small_run()[0]
    artifacts = tmp_path / "artifacts"
    assert main(run_arguments(shop, artifacts, settings=["training.refit=false"])) == 0
    (run,) = (artifacts / "work" / "runs").iterdir()
    version = current(artifacts)
    assert version.layout.weights.read_bytes() == (run / "evaluated.safetensors").read_bytes()
    report = json.loads(version.layout.metrics.read_text())
    assert report["protocol"]["published_model"] == "the evaluated one"


def made_again(artifacts: Path, name: str) -> str:
    """A copy of the only version under another name, a little newer each time."""
    layout = Layout(artifacts)
    first = current(artifacts)
    folder = layout.version(name)
    if not folder.root.exists():
        shutil.copytree(first.layout.root, folder.root)
        manifest = first.manifest.model_copy(update={"version": name, "created_at": f"2099-{name[-2:]}"})
        folder.manifest.write_text(manifest.model_dump_json())
    return name


def test_publish_rolls_back_and_forward_and_lists(tmp_path: Path, capsys: Capture) -> None:
    artifacts = copy_artifacts(small_run()[1], tmp_path / "artifacts")
    old = current(artifacts).name
    new = made_again(artifacts, "v-01")

    def listed() -> list[str]:
        capsys.readouterr()
        assert main(["publish", "--list", "--artifacts", str(artifacts)]) == 0
        return capsys.readouterr().out.splitlines()

    assert listed() == [f"{old} CURRENT", new]
    assert main(["publish", new, "--artifacts", str(artifacts)]) == 0
    assert capsys.readouterr().out == f"published {new}\n"
    assert listed() == [f"{old} PREVIOUS", f"{new} CURRENT"]
    assert main(["publish", old, "--artifacts", str(artifacts)]) == 0
    assert listed() == [f"{old} CURRENT", f"{new} PREVIOUS"]
    before = (artifacts / "CURRENT").read_text()
    capsys.readouterr()
    assert main(["publish", "nope", "--artifacts", str(artifacts)]) == 2
    assert "there is no version 'nope'" in capsys.readouterr().err
    (artifacts / "versions" / new / "item_tower.onnx").write_bytes(b"x")
    assert main(["publish", new, "--artifacts", str(artifacts)]) == 2
    assert "item_tower.onnx has 1 bytes, its manifest says" in capsys.readouterr().err
    assert (artifacts / "CURRENT").read_text() == before
    assert main(["publish", "--artifacts", str(artifacts)]) == 2
    assert "publish needs a VERSION, or --events and --products" in capsys.readouterr().err


def test_old_versions_are_pruned_but_never_current_or_previous(tmp_path: Path) -> None:
    shop, made = small_run()
    artifacts = copy_artifacts(made, tmp_path / "artifacts")
    first = current(artifacts).name
    path = artifacts / "versions" / first / "manifest.json"
    # made a second time within the second or not: the oldest ones go
    for name in ("v-01", "v-02", "v-03"):
        made_again(artifacts, name)
        manifest = artifacts / "versions" / name / "manifest.json"
        content = json.loads(manifest.read_text()) | {"created_at": f"1999-{name[-2:]}"}
        manifest.write_text(json.dumps(content))
    assert path.is_file()
    assert main(run_arguments(shop, artifacts, "--force", settings=["publish.keep_versions=2", "seed=8"])) == 0
    left = list_versions(Layout(artifacts))
    newest = current(artifacts).name
    assert left == [first, newest]
    assert (artifacts / "PREVIOUS").read_text().split()[0] == first
    encoders = {path.name for path in (artifacts / "encoders").iterdir()}
    assert encoders == {open_version(Layout(artifacts), name).manifest.encoder_digest for name in left}


def test_services_load_what_was_published(version: Version) -> None:
    from buyer_service.encoder import load as load_buyer
    from buyer_service.settings import BuyerSettings
    from item_service.encoder import load as load_item
    from item_service.settings import ItemSettings
    from retrieval_service.index import load as load_index
    from retrieval_service.settings import RetrievalSettings

    load_item(version, ItemSettings())
    load_buyer(version, BuyerSettings())
    load_index(version, RetrievalSettings())


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
)  # fmt: skip
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
    one, two = current(small_run()[1]), current(tmp_path / "artifacts")
    for name in ("product_embeddings.npy", "model.safetensors", "recent_interactions.jsonl.gz"):
        assert one.manifest.files[name].sha256 == two.manifest.files[name].sha256, name


def test_force_trains_anew(tmp_path: Path, capsys: Capture) -> None:
    shop, artifacts = write_shop(tmp_path / "shop"), copy_artifacts(small_run()[1], tmp_path / "artifacts")
    assert main(run_arguments(shop, artifacts, "--force")) == 0
    said = capsys.readouterr().out
    assert "epoch 1:" in said
    assert "resuming" not in said


def test_two_versions_of_one_second_have_two_names(tmp_path: Path) -> None:
    shop, artifacts = write_shop(tmp_path / "shop"), copy_artifacts(small_run()[1], tmp_path / "artifacts")
    before = list_versions(Layout(artifacts))
    for _ in range(2):
        assert main(run_arguments(shop, artifacts, command="publish")) == 0
    assert len(list_versions(Layout(artifacts))) == len(before) + 2


def test_a_second_trainer_in_the_same_folder_is_refused(tmp_path: Path, capsys: Capture) -> None:
    shop, artifacts = write_shop(tmp_path / "shop"), tmp_path / "artifacts"
    with working_alone(Layout(artifacts)):
        assert main(run_arguments(shop, artifacts)) == 2
    assert f"another trainer is working in {artifacts}" in capsys.readouterr().err


def test_a_version_that_services_could_not_load_never_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    shop, artifacts = write_shop(tmp_path / "shop"), copy_artifacts(small_run()[1], tmp_path / "artifacts")
    layout = Layout(artifacts)
    before, pointer = list_versions(layout), layout.current.read_text()
    add = faiss.IndexFlatIP.add
    # of the towers' vectors one is left out; the texts' have 32 dimensions
    monkeypatch.setattr(faiss.IndexFlatIP, "add", lambda index, rows: add(index, rows[rows.shape[1] == 16 :]))
    assert main(run_arguments(shop, artifacts, command="index")) == 0
    assert main(run_arguments(shop, artifacts, command="publish")) == 2
    assert "the index holds 59 x 16" in capsys.readouterr().err
    assert (list_versions(layout), layout.current.read_text()) == (before, pointer)
    assert not [path for path in layout.work.iterdir() if path.name.startswith("version-")]


@pytest.mark.parametrize("kind", ["compact", "hnsw"])
def test_an_index_of_codes_is_tuned_on_real_buyers_and_told_in_the_manifest(kind: str, tmp_path: Path) -> None:
    from retrieval_service.index import Query
    from retrieval_service.index import load as load_index
    from retrieval_service.settings import RetrievalSettings

    shop, artifacts = write_shop(tmp_path / "shop"), tmp_path / "artifacts"
    settings = [f"index.kind={kind}", "index.target_recall=0.9", "training.max_epochs=1"]
    assert main(run_arguments(shop, artifacts, settings=settings)) == 0
    layout = Layout(artifacts)
    version = open_version(layout, list_versions(layout)[0])
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
    shop, artifacts = write_shop(tmp_path / "shop"), copy_artifacts(small_run()[1], tmp_path / "artifacts")
    before = Layout(artifacts).current.read_text()
    monkeypatch.setattr(tuning, "_recalls", lambda *arguments: {1.0: 0.75})
    settings = ["index.kind=compact", "training.max_epochs=1"]
    assert main(run_arguments(shop, artifacts, settings=settings)) == 2
    assert "index.kind=compact finds 0.7500 of the 60 nearest products at the most" in capsys.readouterr().err
    assert Layout(artifacts).current.read_text() == before


def test_a_damaged_old_version_does_not_fail_a_run(tmp_path: Path) -> None:
    shop, artifacts = write_shop(tmp_path / "shop"), copy_artifacts(small_run()[1], tmp_path / "artifacts")
    layout = Layout(artifacts)
    old = list_versions(layout)[0]
    assert main(run_arguments(shop, artifacts, command="publish")) == 0
    layout.version(old).manifest.write_text("{}")
    assert main(run_arguments(shop, artifacts, command="publish")) == 0


def test_the_trainers_own_folders_do_not_grow_for_ever(tmp_path: Path) -> None:
    shop, artifacts = write_shop(tmp_path / "shop"), tmp_path / "artifacts"
    for seed in range(4):
        settings = [f"seed={seed}", "publish.keep_versions=2", "training.max_epochs=1"]
        assert main(run_arguments(shop, artifacts, settings=settings)) == 0
    work = Layout(artifacts).work
    assert [len(list((work / name).iterdir())) for name in ("runs", "encoders", "text_vectors")] == [2, 2, 2]


def test_a_model_with_little_to_learn_from_says_so(version: Version) -> None:
    # the small shop has some hundred pairs
    assert any("training pairs: products are placed by their text" in note for note in version.manifest.notes)


def test_buyers_of_one_event_each_teach_nothing_and_a_version_is_published_all_the_same(tmp_path: Path) -> None:
    shop, artifacts = write_shop(tmp_path), tmp_path / "artifacts"
    write_csv(shop.events, EVENT_COLUMNS, [[f"b{row}", *event[1:]] for row, event in enumerate(event_rows()[:100])])
    assert main(run_arguments(shop, artifacts, settings=["training.min_steps=20"])) == 0
    version = current(artifacts)
    training = json.loads(version.layout.metrics.read_text())["training"]
    assert (training["best_epoch"], training["curve"], training["tested_curve"], training["refit_curve"]) == (
        0, [], [], [],
    )  # fmt: skip
    assert version.manifest.notes[:2] == [
        "only 0 training pairs: products are placed by their text, and hardly by what buyers did",
        "no buyer has enough events to validate on",
    ]


def test_new_code_makes_a_new_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = write_shop(tmp_path)
    asked = load_config(), [str(shop.events)], [str(shop.products)]
    before = prepare.run_fingerprint(*asked)
    assert prepare.run_fingerprint(*asked) == before
    monkeypatch.setattr(prepare, "_code", lambda: "of another release")
    assert prepare.run_fingerprint(*asked) != before


def test_a_blend_is_exported_and_published_like_any_model(tmp_path: Path) -> None:
    shop, artifacts = write_shop(tmp_path), tmp_path / "artifacts"
    settings = ["training.start=blend", "model.heads=2", "linear.blend_weights=[0.7]", "linear.half_lives_days=[10]"]
    assert main(run_arguments(shop, artifacts, settings=settings)) == 0
    version = current(artifacts)
    training = json.loads(version.layout.metrics.read_text())["training"]
    assert (training["kind"], training["share"]) == ("blend", 0.7)
    assert set(training["candidates"]) == {"linear", "softmax", "blend"}
    # one head is refitted, for as many epochs as were best of two
    assert len(training["tested_curve"]) == len(training["refit_curve"]) == training["best_epoch"] > 0
    vectors = np.load(version.layout.embeddings, allow_pickle=False)
    assert vectors.shape == (60, 16)
    # seven tenths of a product of vectors are the linear model's, in the first of two heads
    np.testing.assert_allclose(np.linalg.norm(vectors[:, :8], axis=1), 0.7**0.5, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors[:, 8:], axis=1), 0.3**0.5, atol=1e-5)
    out = tmp_path / "out.csv"
    assert main(["recommend", "--artifacts", str(artifacts), "--events", str(shop.events), "--out", str(out)]) == 0
    assert len(out.read_text().splitlines()) == 1 + 80 * 10
