"""`trainer refresh`: the served model with today's products, nothing trained."""

from __future__ import annotations

import csv
import errno
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trainer.stages.refresh
from item_service.encoder import Item, load
from item_service.settings import ItemSettings
from tests.helpers.fused import Parts, publish_fused
from tests.helpers.small_shop import (
    OFFLINE,
    PRODUCT_COLUMNS,
    ROOT,
    Shop,
    copy_artifacts,
    current,
    product_rows,
    run_arguments,
    small_run,
    write_csv,
    write_shop,
)
from trainer.__main__ import main
from trainer.schedule.changes import ChangeCounter
from twotower.arrays import Float32
from twotower.artifact.catalogue import Catalogue, Product, read_product_rows
from twotower.artifact.layout import Layout
from twotower.artifact.manifest import Fusion
from twotower.artifact.pointer import read_pointer
from twotower.artifact.retention import list_versions
from twotower.artifact.version import Version
from twotower.artifact.vocab import Vocab
from twotower.graphs.text_encoder import TextEncoder
from twotower.graphs.towers import ItemTower
from twotower.live.records import Position, State
from twotower.live.snapshot import snapshot_file, write_snapshot
from twotower.search.neighbours import NeighbourTable
from twotower.search.vector_index import VectorIndex
from twotower.search.word_index import WordIndex
from twotower.text.normalise import item_text

Rows = list[list[str]]


Capture = pytest.CaptureFixture[str]


def refresh(artifacts: Path, rows: Rows, *extra: str) -> int:
    path = write_csv(artifacts.parent / "today.csv", PRODUCT_COLUMNS, rows)
    return main(["refresh", "--products", str(path), "--artifacts", str(artifacts), *extra])


def vectors(version: Version) -> dict[str, Float32]:
    made = np.load(version.layout.embeddings, allow_pickle=False)
    return dict(zip(np.load(version.layout.ids, allow_pickle=False).tolist(), made, strict=True))


def product(version: Version, ident: str) -> Product:
    found = Catalogue(version.layout.products).lookup([ident])[0]
    assert found is not None
    return found


def changed(row: Sequence[str], **metadata: object) -> list[str]:
    return [*row[:3], json.dumps({**json.loads(row[3]), **metadata}, ensure_ascii=False)]


@pytest.fixture
def artifacts(tmp_path: Path) -> Path:
    return copy_artifacts(small_run()[1], tmp_path / "artifacts")


def test_the_same_products_make_no_version(artifacts: Path, capsys: Capture) -> None:
    before = current(artifacts)
    shuffled = product_rows()[::-1]
    assert refresh(artifacts, shuffled) == 0
    output = capsys.readouterr().out
    assert f"60 products, 60 in the served version {before.name}: 0 new, 0 gone, 0 changed" in output
    assert "up to date: no product is new, gone or changed" in output
    assert list_versions(Layout(artifacts)) == [before.name]
    assert refresh(artifacts, shuffled, "--force") == 0
    assert current(artifacts).name != before.name


def test_price_and_stock_change_and_the_vectors_do_not(artifacts: Path, capsys: Capture) -> None:
    before, rows = current(artifacts), product_rows()
    rows[3] = changed(rows[3], price=999.5, in_stock=False)
    assert refresh(artifacts, rows) == 0
    after = current(artifacts)
    assert "0 new, 0 gone, 1 changed" in capsys.readouterr().out
    assert (product(after, "p3").price, product(after, "p3").in_stock) == (999.5, False)
    assert product(after, "p4") == product(before, "p4")
    old = vectors(before)
    for ident, vector in vectors(after).items():
        np.testing.assert_allclose(vector, old[ident], atol=1e-6)
    assert after.layout.buyer_tower.read_bytes() == before.layout.buyer_tower.read_bytes()
    assert read_pointer(Layout(artifacts).previous).version == before.name  # type: ignore[union-attr]


def test_a_product_of_which_nothing_is_known_is_published_and_told(artifacts: Path, capsys: Capture) -> None:
    assert refresh(artifacts, [["nothing", "", "", ""], *product_rows()]) == 0
    assert "warning: 1 of 61 products cannot be found: they have no text" in capsys.readouterr().out
    made = vectors(current(artifacts))
    assert [ident for ident, vector in made.items() if not vector.any()] == ["nothing"]
    assert np.isfinite(np.stack(list(made.values()))).all()


def test_new_products_are_found_and_gone_ones_are_not(artifacts: Path) -> None:
    before, rows = current(artifacts), product_rows(62)
    rows = [rows[61], *rows[10:60][::-1], rows[60]]
    assert refresh(artifacts, rows) == 0
    after = current(artifacts)
    assert list(read_product_rows(after.layout.ids)) == [row[0] for row in rows]
    assert (after.manifest.products, after.manifest.buyers) == (52, before.manifest.buyers)
    old, new = vectors(before), vectors(after)
    for ident in new.keys() & old.keys():
        np.testing.assert_allclose(new[ident], old[ident], atol=1e-6)
        assert product(after, ident)._replace(row=0) == product(before, ident)._replace(row=0)
    added = product(after, "p61")
    assert (added.row, added.title, added.popularity) == (0, rows[0][1], 0.0)
    index = VectorIndex.load(after.layout.index, after.layout.embeddings, after.manifest.index, nearest=after.nearest)
    hits = index.search(new["p61"][None], [4], [np.empty(0, np.int64)])[0]
    nearest = [rows[row][0] for row in hits.rows]
    assert nearest[0] == "p61"
    # the categories come in turn: products with similar texts are of the second one
    assert {int(ident[1:]) % 4 for ident in nearest} == {1}
    found = after.manifest.text_search
    assert found is not None
    texts = VectorIndex.load(after.layout.text_index, after.layout.text_embeddings, found.index)
    asked = TextEncoder.load(after.encoder, 1).encode([rows[0][1]])
    assert rows[texts.search(asked, [1], [np.empty(0, np.int64)])[0].rows[0]][1] == rows[0][1]


def test_a_catalogue_row_is_what_the_item_service_computes(artifacts: Path) -> None:
    rows = product_rows(64)[4:]
    assert refresh(artifacts, rows) == 0
    after = current(artifacts)
    encoder, tower = TextEncoder.load(after.encoder, 1), ItemTower(after.layout, 1)
    vocab, row_of = Vocab.load(after.layout.vocab), read_product_rows(after.layout.ids)
    text = encoder.encode([item_text(row[1], row[2]) for row in rows])
    named = [json.loads(row[3]) for row in rows]
    made = tower.encode(
        text,
        np.array([vocab.brand_index(one["brand"]) for one in named]),
        np.array([vocab.category_index(one["category"]) for one in named]),
        np.array([row_of[row[0]] + 1 for row in rows]),
    )
    np.testing.assert_allclose(made, list(vectors(after).values()), atol=1e-4)


def test_neighbours_and_prior_move_to_todays_rows(artifacts: Path) -> None:
    following, prior = np.zeros((60, 60), np.float32), np.arange(1, 61, dtype=np.float32) / 60
    # p10 is followed by p3, which goes, by itself, p12 and p59; p3 by p10; p59 by p3 alone; p20 by p58
    following[10, [3, 10, 12, 59]] = [1.0, 2.0, 0.5, 0.25]
    following[3, 10], following[59, 3], following[20, 58] = 3.0, 4.0, 5.0
    fusion = Fusion(neighbour_weight=0.5, steps=4, decay=0.3, prior_weight=0.1)
    publish_fused(artifacts, "20990101T000000Z-fused", Parts(fusion, following, prior))
    rows = product_rows(61)
    # p60 is new and comes first, then p59 to p10
    assert refresh(artifacts, [rows[60], *rows[10:60][::-1]]) == 0
    after = current(artifacts)
    assert after.manifest.fusion == fusion
    table = NeighbourTable.load(after.layout)
    table.check(51)
    # p10 is row 50, p12 row 48, p59 row 1, p20 row 40, p58 row 2
    assert np.diff(table.offsets).nonzero()[0].tolist() == [40, 50]
    assert (table.following(40).tolist(), table.following(50).tolist()) == ([2], [1, 48, 50])
    assert table.scores.tolist() == [5.0, 0.25, 0.5, 2.0]
    moved = np.load(after.layout.prior)
    # the new product has the mean of the others
    np.testing.assert_allclose(moved, [prior[10:].mean(), *prior[10:][::-1]], rtol=1e-6)
    # nobody that is left has a neighbour
    assert refresh(artifacts, [*rows[:10], *rows[22:58]], "--set", "publish.max_missing_share=0.9") == 0
    NeighbourTable.load(current(artifacts).layout).check(46)
    assert np.load(current(artifacts).layout.prior).tolist() == [*prior[:10], *prior[22:58]]


def test_a_version_without_neighbours_and_prior_is_refreshed_without(artifacts: Path) -> None:
    publish_fused(artifacts, "plain", Parts(Fusion(), np.zeros((60, 60), np.float32), np.zeros(60, np.float32)))
    assert refresh(artifacts, product_rows(61)) == 0
    after = current(artifacts)
    assert after.manifest.fusion == Fusion()
    assert not after.layout.prior.exists() and not after.layout.neighbour_rows.exists()


@pytest.mark.parametrize(("kind", "least"), [("softmax", 0.9999), ("linear", 0.9), ("blend", 0.9)])
def test_a_product_that_comes_later_stands_where_training_would_have_put_it(
    tmp_path: Path, kind: str, least: float
) -> None:
    shop, artifacts = write_shop(tmp_path / "shop"), tmp_path / "artifacts"
    # four that nobody met; the linear model tries out how to place such ones, which a refresh does not
    write_csv(shop.products, PRODUCT_COLUMNS, product_rows(64))
    settings = [f"training.start={kind}", f"model.heads={1 + (kind == 'blend')}"]
    assert main(run_arguments(shop, artifacts, settings=settings)) == 0
    trained = vectors(current(artifacts))
    first = current(artifacts)
    assert refresh(artifacts, product_rows(60)) == 0
    # which would know them again
    shutil.rmtree(first.layout.root)
    assert vectors(current(artifacts)).keys() == {f"p{number}" for number in range(60)}
    assert refresh(artifacts, product_rows(64)) == 0
    came = vectors(current(artifacts))
    cosines = [float(trained[ident] @ came[ident]) for ident in (f"p{number}" for number in range(60, 64))]
    assert min(cosines) > least, cosines


def test_a_product_that_comes_back_is_what_it_was(artifacts: Path) -> None:
    before, rows = current(artifacts), product_rows()
    assert refresh(artifacts, rows[10:]) == 0
    assert refresh(artifacts, rows, "--set", "publish.keep_versions=1") == 0
    after = current(artifacts)
    assert product(after, "p0") == product(before, "p0")
    for ident, vector in vectors(before).items():
        np.testing.assert_allclose(vectors(after)[ident], vector, atol=1e-6)
    assert before.name in list_versions(Layout(artifacts))


def test_earlier_refreshes_leave_and_the_trained_model_stays(artifacts: Path) -> None:
    trained, rows, made = current(artifacts), product_rows(), []
    for price in range(4):
        rows[0] = changed(rows[0], price=price)
        assert refresh(artifacts, rows, "--set", "publish.keep_versions=3") == 0
        made.append(current(artifacts).name)
    assert list_versions(Layout(artifacts)) == [trained.name, *made[-2:]]
    assert current(artifacts).manifest.configuration["trained_as"] == trained.name
    metrics = json.loads(current(artifacts).layout.metrics.read_text(encoding="utf-8"))
    assert metrics["refresh"]["from"] == made[-2] and metrics["refresh"]["trained"] == trained.name
    assert metrics["test"] == json.loads(trained.layout.metrics.read_text(encoding="utf-8"))["test"]


def test_the_report_says_that_it_is_of_a_refresh(artifacts: Path) -> None:
    before, rows = current(artifacts), product_rows(61)[20:]
    assert refresh(artifacts, rows) == 0
    page = current(artifacts).layout.report.read_text(encoding="utf-8")
    assert f"Refreshed from <code>{before.name}</code>: 1 new, 20 removed and 0 changed products" in page


def test_a_file_that_lost_most_products_is_refused(artifacts: Path, capsys: Capture) -> None:
    before = (artifacts / "CURRENT").read_bytes()
    assert refresh(artifacts, product_rows()[:20]) == 2
    output = capsys.readouterr().err
    assert "40 of the 60 served products (66.7%) are missing in the files" in output
    assert "the limit is 50.0% (publish.max_missing_share): is the export complete?" in output
    assert (artifacts / "CURRENT").read_bytes() == before
    assert refresh(artifacts, product_rows()[:20], "--set", "publish.max_missing_share=0.7") == 0
    assert current(artifacts).manifest.products == 20


def test_a_refresh_that_fails_gives_its_caches_back(
    artifacts: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def vectors_kept() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (artifacts / "work" / "text_vectors").rglob("*")}

    def disk_is_full(*_: object) -> None:
        assert vectors_kept() != before
        raise OSError(errno.ENOSPC, "No space left on device", "product_embeddings.npy")

    before, listed = vectors_kept(), list_versions(Layout(artifacts))
    with monkeypatch.context() as patch:
        patch.setattr(trainer.stages.refresh, "save_products", disk_is_full)
        assert refresh(artifacts, product_rows(80)) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert vectors_kept() == before
    assert list_versions(Layout(artifacts)) == listed
    assert refresh(artifacts, product_rows(80)) == 0


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("model.max_history=3", "model"),
        ("training.learning_rate=1", "training"),
        ("seed=8", "seed"),
        ("data.event_weights={View: 1, AddToCart: 2, Purchase: 3}", "data.event_weights"),
    ],
)
def test_settings_that_take_a_training_are_refused_by_name(
    artifacts: Path, capsys: Capture, setting: str, named: str
) -> None:
    rows = product_rows(61)
    assert refresh(artifacts, rows, "--set", setting) == 2
    assert f"error: {named}: not what {current(artifacts).name} was trained with" in capsys.readouterr().err


def test_other_settings_hold_from_then_on(artifacts: Path) -> None:
    path = artifacts.parent / "other.csv"
    rows = [[row[0], row[2], row[1], row[3]] for row in product_rows(61)]
    write_csv(path, ["product_id", "description", "name", "metadata"], rows)
    arguments = ["refresh", "--products", str(path), "--artifacts", str(artifacts)]
    assert main([*arguments, "--set", "data.product_columns.title=name", "index.kind=hnsw"]) == 0
    after = current(artifacts)
    assert after.manifest.index.kind == "hnsw" and product(after, "p60").title == rows[60][2]
    assert main(arguments) == 0
    assert current(artifacts).name == after.name


def test_other_search_fields_make_a_version_though_no_product_has_changed(artifacts: Path) -> None:
    rows = [changed(row, sku=f"sku{place}") for place, row in enumerate(product_rows())]
    before = current(artifacts)
    assert refresh(artifacts, rows, "--set", "data.search_fields=[$.sku]") == 0
    after = current(artifacts)
    assert after.name != before.name
    assert WordIndex.load(after.layout, 60).rows_of("sku7").tolist() == [read_product_rows(after.layout.ids)["p7"]]
    assert refresh(artifacts, rows) == 0
    assert current(artifacts).name == after.name


def test_a_damaged_version_is_not_refreshed(artifacts: Path, capsys: Capture) -> None:
    path = current(artifacts).layout.weights
    path.write_bytes(path.read_bytes()[:-1])
    assert refresh(artifacts, product_rows(61)) == 2
    assert f"{path} has " in capsys.readouterr().err


def test_nothing_served_is_nothing_to_refresh(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "artifacts").mkdir()
    assert refresh(tmp_path / "artifacts", product_rows()) == 2
    assert "has no published version; run `python -m trainer run` first" in capsys.readouterr().err


def test_bad_rows_are_rejected_as_in_a_run_and_kept(artifacts: Path, capsys: Capture) -> None:
    rows = [*product_rows(61), ["p0", "again", "", ""]]
    assert refresh(artifacts, rows) == 0
    rejects = artifacts / "work" / "refresh" / "rejects.csv"
    assert f"1 new, 0 gone, 0 changed; 1 rejected rows: {rejects}" in capsys.readouterr().out
    assert refresh(artifacts, [*rows, *[["p1", "again", "", ""]] * 9]) == 2
    rejects = Path(re.search(r"see (.*)", capsys.readouterr().err).group(1))  # type: ignore[union-attr]
    assert len(rejects.read_text(encoding="utf-8").splitlines()) == 11
    with current(artifacts).layout.rejects.open(encoding="utf-8") as file:
        (reject,) = csv.DictReader(file)
    assert (reject["line"], reject["value"], reject["reason"]) == ("63", "p0", "duplicate product id")


def test_recommendations_are_made_of_a_refreshed_version(artifacts: Path, tmp_path: Path) -> None:
    shop: Shop = small_run()[0]
    assert refresh(artifacts, product_rows(61)[5:]) == 0
    out = tmp_path / "lists.csv"
    assert main(["recommend", "--artifacts", str(artifacts), "--events", str(shop.events), "--out", str(out)]) == 0
    with out.open(encoding="utf-8") as file:
        found = {row["product_id"] for row in csv.DictReader(file)}
    assert found and not found & {f"p{number}" for number in range(5)}


def test_a_run_on_the_data_of_the_training_does_not_undo_its_refresh(artifacts: Path, capsys: Capture) -> None:
    shop, trained = small_run()[0], current(artifacts).name
    assert refresh(artifacts, product_rows(61)) == 0
    refreshed = current(artifacts).name
    capsys.readouterr()
    assert main(run_arguments(shop, artifacts)) == 0
    message = f"up to date: {trained} was trained on this data and configuration, {refreshed} is a refresh of it"
    assert capsys.readouterr().out.startswith(message)
    assert current(artifacts).name == refreshed
    assert main(run_arguments(shop, artifacts, "--force")) == 0
    assert current(artifacts).manifest.products == 60


def test_a_refresh_does_not_undo_a_rollback_that_came_meanwhile(
    artifacts: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    layout, good = Layout(artifacts), current(artifacts).name
    assert refresh(artifacts, product_rows(61)) == 0
    bad, write = current(artifacts).name, trainer.stages.refresh.write_release

    def slow(*arguments: Any) -> Version:
        version: Version = write(*arguments)
        assert main(["publish", good, "--artifacts", str(artifacts)]) == 0
        return version

    monkeypatch.setattr(trainer.stages.refresh, "write_release", slow)
    assert refresh(artifacts, product_rows(62)) == 2
    assert f"CURRENT names {good} by now, not {bad}: " in capsys.readouterr().err
    assert current(artifacts).name == good
    assert len(list_versions(layout)) == 3


def test_what_is_read_of_a_product_is_the_same_in_training_refresh_and_service(tmp_path: Path) -> None:
    artifacts = copy_artifacts(small_run("encoder.descriptions=false")[1], tmp_path / "artifacts")
    trained, rows = current(artifacts), product_rows(61)
    assert trained.manifest.configuration["encoder"]["descriptions"] is False
    rows[60][2] = rows[10][2] = "وصف طويل لا يقول شيئا عن المنتج"
    assert refresh(artifacts, rows) == 0
    after = current(artifacts)
    encoder = load(after, ItemSettings(artifacts=artifacts)).items
    texts = np.load(after.layout.text_embeddings)
    for number in (10, 60):
        _, title, description, metadata = rows[number]
        content = json.loads(metadata)
        item = Item(title, description, content["brand"], content["category"], f"p{number}")
        for given in (item, item._replace(description="")):
            np.testing.assert_allclose(encoder.encode([given]).vectors[0], vectors(after)[f"p{number}"], atol=1e-4)
            np.testing.assert_allclose(encoder.encode_texts([given]).vectors[0], texts[number], atol=1e-5)
    np.testing.assert_allclose(vectors(after)["p10"], vectors(trained)["p10"], atol=1e-5)


def _live(ident: str, change: int) -> State:
    return State(ident, change, {"title": f"خلخال {change}", "price": 9.0}, is_whole=True)


def test_the_scheduler_folds_in_what_has_changed(artifacts: Path) -> None:
    shop = small_run()[0]
    before, layout = current(artifacts).name, Layout(artifacts)
    layout.log.mkdir(parents=True, exist_ok=True)
    write_snapshot(snapshot_file(layout.log), Position("e1", 1), [_live("n1", 1)])
    arguments = [*shop.arguments, f"log:{layout.log}", "--artifacts", str(artifacts), "--config", OFFLINE]
    command = [sys.executable, "-m", "trainer", "schedule", *arguments, "--refresh", "every 2 changes"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            assert "scheduling refresh" in process.stdout.readline()
            write_snapshot(snapshot_file(layout.log), Position("e1", 2), [_live("n1", 1), _live("n2", 2)])
            lines = []
            for line in process.stdout:
                lines.append(line)
                if "refresh: done, exit code 0" in line:
                    break
        finally:
            process.terminate()
            process.communicate(timeout=60)
    served = current(artifacts)
    assert served.name != before, "".join(lines)
    assert served.manifest.catalogue == ("e1", 2)
    assert None not in Catalogue(served.layout.products).lookup(["n1", "n2"])
    assert ChangeCounter(snapshot_file(layout.log), layout).count(Position()).products == 0
