"""The entry point of the trainer's container, run without one: the trainer command that it builds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from docker import train

Calls = list[list[str]]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Calls:
    """The trainer's command lines, recorded instead of run. /input is a folder of the test with both files."""
    recorded: Calls = []

    def keep(words: Sequence[str]) -> int:
        recorded.append(list(words))
        return 0

    monkeypatch.setattr(train, "trainer", keep)
    monkeypatch.setattr(train, "INPUT", tmp_path / "input")
    monkeypatch.setattr(train, "LINKS", tmp_path / "links")
    (tmp_path / "input").mkdir()
    for name in ("events", "products"):
        (tmp_path / "input" / name).touch()
    return recorded


def main(*words: str, artifacts: Path, **environ: str) -> int:
    values: Mapping[str, str] = {"TWOTOWER_ARTIFACTS": str(artifacts), **environ}
    return train.main(words, values)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["publish", "--list"], ["publish", "--artifacts", "/a", "--list"]),
        (["report"], ["report", "--artifacts", "/a"]),
        (["report", "20260101T120000Z-0a1b2c3d"], ["report", "--artifacts", "/a", "20260101T120000Z-0a1b2c3d"]),
    ],
)
def test_the_artifact_folder_is_filled_in(words: list[str], wanted: list[str], calls: Calls) -> None:
    assert main(*words, artifacts=Path("/a")) == 0
    assert calls == [wanted]


def test_refresh_reads_the_products_and_recommend_the_events(tmp_path: Path, calls: Calls) -> None:
    assert main("refresh", "--force", artifacts=Path("/a"), PRODUCTS="/data/today.csv") == 0
    assert main("recommend", "--k", "5", artifacts=Path("/a"), EVENTS="/data/history.csv.gz") == 0
    products, events = tmp_path / "links" / "products" / "today.csv", tmp_path / "links" / "events" / "history.csv.gz"
    assert calls == [
        ["refresh", "--products", str(products), "--artifacts", "/a", "--force"],
        ["recommend", "--events", str(events), "--out", "/a/recommendations.csv", "--artifacts", "/a", "--k", "5"],
    ]
    assert products.resolve() == (tmp_path / "input" / "products").resolve()


def test_tune_reads_both_files_and_writes_into_the_volume(tmp_path: Path, calls: Calls, capsys: Capture) -> None:
    files = {"EVENTS": "/data/e.csv", "PRODUCTS": "/data/p.csv"}
    assert main("tune", "--minutes", "30", artifacts=Path("/a"), TRAINER_ARGS="--set seed=8", **files) == 0
    events, products = tmp_path / "links" / "events" / "e.csv", tmp_path / "links" / "products" / "p.csv"
    paths = ["--events", str(events), "--products", str(products), "--artifacts", "/a", "--out", "/a/tuned.yaml"]
    assert calls == [["tune", *paths, "--config", str(train.CONFIG), "--set", "seed=8", "--minutes", "30"]]
    assert main("tune", "--minutes", "30", artifacts=Path("/a"), EVENTS="/data/e.csv") == 2
    assert capsys.readouterr().err == "error: PRODUCTS is not set: set both EVENTS and PRODUCTS\n"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("refresh", "error: PRODUCTS is not set: set it to today's products\n"),
        ("recommend", "error: EVENTS is not set: set it to the buyers' histories\n"),
    ],
)
def test_a_missing_variable_is_named(command: str, message: str, calls: Calls, capsys: Capture) -> None:
    assert main(command, artifacts=Path("/a")) == 2
    assert (calls, capsys.readouterr().err) == ([], message)


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--help"], ["--help"]),
        (["-h"], ["-h"]),
        (["run", "--help"], ["run", "--help"]),
        (["refresh", "-h"], ["refresh", "-h"]),
        (["recommend", "--help"], ["recommend", "--help"]),
    ],
)
def test_help_runs_nothing_else(
    words: list[str], wanted: list[str], tmp_path: Path, calls: Calls, capsys: Capture
) -> None:
    assert main(*words, artifacts=tmp_path) == 0
    assert calls == [wanted]
    assert "with the container's paths filled in" in capsys.readouterr().out


def test_a_stage_has_the_offline_configuration_and_both_files(tmp_path: Path, calls: Calls) -> None:
    files = {"EVENTS": "/data/e.csv", "PRODUCTS": "/data/p.parquet"}
    assert main("--set", "seed=1", artifacts=Path("/a"), **files, TRAINER_ARGS="--set model.dimension=64") == 0
    links = tmp_path / "links"
    paths = ["--events", str(links / "events" / "e.csv"), "--products", str(links / "products" / "p.parquet")]
    options = ["--config", "/app/trainer/config/offline.yaml", "--set", "model.dimension=64", "--set", "seed=1"]
    assert calls == [["run", *paths, "--artifacts", "/a", *options]]


def test_the_event_log_is_read_beside_the_files_if_asked_for(tmp_path: Path, calls: Calls, capsys: Capture) -> None:
    files = {"EVENTS": "/data/e.csv", "PRODUCTS": "/data/p.csv"}
    assert main(artifacts=Path("/a"), **files, WITH_LOG="true") == 0
    assert main("recommend", artifacts=Path("/a"), **files, WITH_LOG="true") == 0
    given = ["--events", str(tmp_path / "links" / "events" / "e.csv"), "log:/a/private/log"]
    assert [call[1:4] for call in calls] == [given, given]
    assert main(artifacts=Path("/a"), **files, WITH_LOG="yes") == 2
    assert capsys.readouterr().err == "error: WITH_LOG=yes: must be true or false\n"


def test_the_scheduler_has_both_files_the_log_and_the_times_of_schedule(tmp_path: Path, calls: Calls) -> None:
    files = {"EVENTS": "/data/e.csv", "PRODUCTS": "/data/p.csv"}
    times = '--train 03:00 --scratch "Sun 04:00"'
    assert main("schedule", "--port", "9100", artifacts=Path("/a"), **files, WITH_LOG="true", SCHEDULE=times) == 0
    links = tmp_path / "links"
    wanted = ["schedule", "--events", str(links / "events" / "e.csv"), "log:/a/private/log"]
    wanted += ["--products", str(links / "products" / "p.csv"), "--artifacts", "/a", "--config", str(train.CONFIG)]
    assert calls == [[*wanted, "--train", "03:00", "--scratch", "Sun 04:00", "--port", "9100"]]
