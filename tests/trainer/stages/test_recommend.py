"""`recommend` against brute force over the published vectors and graph."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.helpers.fused import Parts, fused_scores, publish_fused, stored_parts
from tests.helpers.marginal_relevance import rank_by_marginal_relevance
from tests.helpers.small_shop import (
    DAY,
    EVENT_COLUMNS,
    copy_artifacts,
    event_rows,
    run_arguments,
    small_run,
    write_csv,
    write_shop,
)
from trainer.__main__ import main
from twotower.artifact.layout import Layout
from twotower.artifact.manifest import Fusion
from twotower.artifact.pointer import read_pointer
from twotower.artifact.version import Version, open_version
from twotower.events import EventSchema, Interaction
from twotower.graphs.towers import BuyerTower
from twotower.history import BuyerSequence, latest, to_inputs

Table = dict[str, list[tuple[int, str, float]]]


def recommended(out: Path) -> Table:
    frame = (
        pl.read_parquet(out) if out.suffix == ".parquet" else pl.read_csv(out, schema_overrides={"buyer_id": pl.String})
    )
    assert frame.columns == ["buyer_id", "rank", "product_id", "score"]
    found: Table = {}
    for buyer, rank, product, score in frame.rows():
        found.setdefault(buyer, []).append((rank, product, score))
    return found


def current(artifacts: Path) -> Version:
    pointer = read_pointer(Layout(artifacts).current)
    assert pointer is not None
    return open_version(Layout(artifacts), pointer.version)


def brute_force(artifacts: Path, rows: list[list[str]], k: int, exclude: bool) -> Table:
    """Every product scored for every buyer, the way the services would: latest events, buyer graph, fused score."""
    version = current(artifacts)
    parts = stored_parts(version)
    ids = np.load(version.layout.ids).tolist()
    items = np.load(version.layout.embeddings)
    row_of = {product: row for row, product in enumerate(ids)}
    schema = EventSchema(version.manifest.event_weights)
    tower = BuyerTower(version.layout.buyer_tower, 1)
    histories: dict[str, list[Interaction]] = {}
    for buyer, product, kind, second in rows:
        if product in row_of:
            histories.setdefault(buyer, []).append(Interaction(product, kind, int(second) * 1000))
    found: Table = {}
    for buyer, events in histories.items():
        kept = latest(events, version.manifest.max_history)
        sequence = BuyerSequence(
            np.array([row_of[one.product_id] for one in kept]),
            np.array([schema.codes[one.event_type] for one in kept]),
            np.array([one.timestamp_ms for one in kept]),
        )
        batch = to_inputs([sequence], schema)
        vector = tower.encode(items[batch.rows], batch)[0]
        newest_first = [row_of[one.product_id] for one in latest(events, len(events))[::-1]]
        scores = fused_scores(parts, items, vector, newest_first)
        if exclude:
            scores[[row_of[one.product_id] for one in events]] = -np.inf
        best = [row for row in np.argsort(-scores, kind="stable")[:k] if np.isfinite(scores[row])]
        found[buyer] = [(place, ids[row], float(scores[row])) for place, row in enumerate(best, start=1)]
    return found


def check(found: Table, wanted: Table) -> None:
    assert list(found) == sorted(wanted)
    for buyer, rows in wanted.items():
        assert [row[0] for row in found[buyer]] == [row[0] for row in rows]
        np.testing.assert_allclose([row[2] for row in found[buyer]], [row[2] for row in rows], atol=1e-5)
        scores = np.array([row[2] for row in rows])
        if len(scores) < 2 or np.abs(np.diff(scores)).min() > 1e-5:
            assert [row[1] for row in found[buyer]] == [row[1] for row in rows]


@pytest.fixture
def history(tmp_path: Path) -> tuple[Path, list[list[str]]]:
    rows = event_rows(buyers=30, events=300, seed=9)
    # a buyer of one event, and one with more events than the model reads
    rows += [["single", "p5", "View", "1760000000"]]
    rows += [["busy", f"p{one % 50}", "Purchase", str(1_750_000_000 + one)] for one in range(70)]
    return write_csv(tmp_path / "history.csv", EVENT_COLUMNS, rows), rows


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
@pytest.mark.parametrize("seen", ["--exclude-seen", "--keep-seen"])
def test_the_top_products_equal_brute_force(
    tmp_path: Path, history: tuple[Path, list[list[str]]], suffix: str, seen: str
) -> None:
    _, artifacts = small_run()
    out = tmp_path / f"out.{suffix}"
    command = ["recommend", "--artifacts", str(artifacts), "--events", str(history[0]), "--out", str(out), seen]
    assert main([*command, "--k", "7", "--threads", "1"]) == 0
    check(recommended(out), brute_force(artifacts, history[1], 7, seen == "--exclude-seen"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.csv", out.name]


@pytest.mark.parametrize(
    "fusion",
    [
        Fusion(neighbour_weight=0.5, steps=3, decay=0.7, prior_weight=0.2),
        # more steps than the tower reads
        Fusion(vector_weight=0.02, neighbour_weight=1, steps=60, decay=1),
        Fusion(vector_weight=0, prior_weight=1),
    ],
    ids=str,
)
def test_lists_follow_the_fused_score(tmp_path: Path, history: tuple[Path, list[list[str]]], fusion: Fusion) -> None:
    artifacts, draw = copy_artifacts(small_run()[1], tmp_path / "artifacts"), np.random.default_rng(0)
    following = draw.random((60, 60), np.float32) * (draw.random((60, 60)) < 0.1)
    publish_fused(artifacts, "fused", Parts(fusion, following, draw.random(60, np.float32)))
    out = tmp_path / "out.csv"
    command = ["recommend", "--artifacts", str(artifacts), "--events", str(history[0]), "--out", str(out)]
    assert main([*command, "--k", "7"]) == 0
    check(recommended(out), brute_force(artifacts, history[1], 7, True))


def test_a_diverse_list_is_the_one_that_services_give(tmp_path: Path, history: tuple[Path, list[list[str]]]) -> None:
    _, artifacts = small_run()
    out = tmp_path / "out.csv"
    command = ["recommend", "--artifacts", str(artifacts), "--events", str(history[0]), "--out", str(out)]
    assert main([*command, "--k", "28"]) == 0
    candidates = recommended(out)
    assert main([*command, "--k", "7", "--diversity", "0.6"]) == 0
    files = current(artifacts).layout
    rows = {one: row for row, one in enumerate(np.load(files.ids).tolist())}
    vectors = np.load(files.embeddings)
    for buyer, found in recommended(out).items():
        asked = candidates[buyer]
        own = vectors[[rows[product] for _, product, _ in asked]]
        chosen = rank_by_marginal_relevance([score for *_, score in asked], own, 7, 0.6)
        assert [product for _, product, _ in found] == [asked[place][1] for place in chosen]
        assert [rank for rank, *_ in found] == list(range(1, 8))


@pytest.mark.parametrize("value", ["-0.1", "1.5", "nan"])
def test_a_diversity_out_of_range_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], value: str) -> None:
    out = tmp_path / "out.csv"
    command = ["recommend", "--artifacts", str(tmp_path), "--events", "none.csv", "--out", str(out)]
    assert main([*command, f"--diversity={value}"]) == 2
    assert f"--diversity {value}: must be 0 to 1" in capsys.readouterr().err


def test_seen_products_are_left_out_unless_kept(tmp_path: Path, history: tuple[Path, list[list[str]]]) -> None:
    _, artifacts = small_run()
    seen: dict[str, set[str]] = {}
    for buyer, product, *_ in history[1]:
        seen.setdefault(buyer, set()).add(product)
    for option, allowed in ((None, False), ("--keep-seen", True)):
        out = tmp_path / "out.csv"
        command = ["recommend", "--artifacts", str(artifacts), "--events", str(history[0]), "--out", str(out)]
        assert main([*command, *([option] if option else [])]) == 0
        shown = any(product in seen[buyer] for buyer, rows in recommended(out).items() for _, product, _ in rows)
        assert shown == allowed


def test_where_buyers_come_back_seen_products_are_kept(
    tmp_path: Path, history: tuple[Path, list[list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    # each event is a purchase, and is made again a day later
    rows = [[buyer, product, "Purchase", time] for buyer, product, _, time in event_rows(buyers=40, events=240)]
    again = [[*row[:3], str(int(row[3]) + DAY)] for row in rows]
    shop = write_shop(tmp_path / "shop")
    write_csv(shop.events, EVENT_COLUMNS, rows + again)
    artifacts = tmp_path / "artifacts"
    assert main(run_arguments(shop, artifacts, settings=["evaluation.split=leave_last_out"])) == 0
    version = current(artifacts)
    metrics = json.loads(version.layout.metrics.read_text(encoding="utf-8"))
    protocol = metrics["protocol"]
    assert not protocol["exclude_seen"]
    assert "bought_before" in metrics["test"]
    assert protocol["repeats"]["kind"] == "Purchase"
    assert protocol["repeats"]["share"] > 0.3
    assert not version.manifest.exclude_seen
    assert version.manifest.configuration["training"]["repeat_targets"] is True
    command = ["recommend", "--artifacts", str(artifacts), "--events", str(history[0])]
    for option, kept in ((None, "kept"), ("--exclude-seen", "excluded")):
        assert main([*command, "--out", str(tmp_path / "out.csv"), *([option] if option else [])]) == 0
        assert f"products in their history {kept}" in capsys.readouterr().out


def test_k_above_the_catalogue_gives_what_there_is(tmp_path: Path, history: tuple[Path, list[list[str]]]) -> None:
    _, artifacts = small_run()
    out = tmp_path / "out.csv"
    command = ["recommend", "--artifacts", str(artifacts), "--events", str(history[0]), "--out", str(out)]
    assert main([*command, "--k", "1000"]) == 0
    found = recommended(out)
    assert len(found["single"]) == 59  # 60 products less the one seen
    assert len(found["busy"]) == 10
    assert [row[0] for row in found["single"]] == list(range(1, 60))
    assert main([*command, "--k", "1000", "--keep-seen"]) == 0
    assert len(recommended(out)["single"]) == 60


def test_unknown_products_are_counted_and_written_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, artifacts = small_run()
    rows = [
        ["b", "p1", "View", "5"],
        ["b", "gone", "View", "6"],
        ["lost", "gone", "View", "6"],
        ["c", "p2", "Look", "7"],
    ]
    path, out = write_csv(tmp_path / "h.csv", EVENT_COLUMNS, rows), tmp_path / "out.csv"
    assert main(["recommend", "--artifacts", str(artifacts), "--events", str(path), "--out", str(out)]) == 0
    assert list(recommended(out)) == ["b"]
    said = capsys.readouterr().out
    assert "3 rows rejected (2 product is not in the catalogue, 1 unknown event name)" in said
    with (tmp_path / "out.csv.rejects.csv").open(newline="") as file:
        rejects = list(csv.DictReader(file))
    assert [(row["line"], row["value"]) for row in rejects] == [("3", "gone"), ("4", "gone"), ("5", "Look")]


def test_a_history_of_unknown_products_alone_writes_an_empty_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, artifacts = small_run()
    path, out = write_csv(tmp_path / "h.csv", EVENT_COLUMNS, [["b", "gone", "View", "6"]]), tmp_path / "out.parquet"
    assert main(["recommend", "--artifacts", str(artifacts), "--events", str(path), "--out", str(out)]) == 0
    assert recommended(out) == {}
    assert "0 rows for 0 buyers" in capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 2) -> str:
    assert main(["recommend", *arguments]) == code
    output = capsys.readouterr().err
    assert output.startswith("error: ") and output.count("\n") == 1
    return output


def test_what_cannot_be_done_is_told_in_one_line(
    tmp_path: Path, history: tuple[Path, list[list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    _, artifacts = small_run()
    usual = ["--artifacts", str(artifacts), "--events", str(history[0])]
    out = ["--out", str(tmp_path / "out.csv")]
    for k in ("0", "1001", "-1"):
        assert f"--k {k}: must be 1 to 1000" in refused(capsys, *usual, *out, "--k", k)
    assert "must end in .csv or .parquet" in refused(capsys, *usual, "--out", str(tmp_path / "out.txt"))
    assert "there is no version 'nope'" in refused(capsys, *usual, *out, "--version", "nope")
    empty = ["--artifacts", str(tmp_path / "empty"), "--events", str(history[0])]
    assert "has no published version; run" in refused(capsys, *empty, *out)
    nowhere = str(tmp_path / "no" / "out.csv")
    assert nowhere.rsplit("/", 1)[0] in refused(capsys, *usual, "--out", nowhere, code=1)
    missing = ["--artifacts", str(artifacts), "--events", str(tmp_path / "none.csv")]
    assert "no such file" in refused(capsys, *missing, *out)
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    "name", ["product_index.faiss", "product_embeddings.npy", "product_ids.npy", "buyer_tower.onnx", "config.yaml"]
)
def test_a_damaged_file_is_named_and_nothing_is_written(
    tmp_path: Path, history: tuple[Path, list[list[str]]], capsys: pytest.CaptureFixture[str], name: str
) -> None:
    _, made = small_run()
    artifacts = copy_artifacts(made, tmp_path / "artifacts")
    (path,) = artifacts.glob(f"versions/*/{name}")
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    out = tmp_path / "out.csv"
    output = refused(capsys, "--artifacts", str(artifacts), "--events", str(history[0]), "--out", str(out))
    assert f"{path} has sha256" in output
    assert not out.exists()
