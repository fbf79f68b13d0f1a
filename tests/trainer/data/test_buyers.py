"""One buyer who is many: ids that stand for no one, robots, visitors who log in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.small_shop import write_csv
from trainer.config.loading import load_config
from trainer.data.dataset import Dataset, load_dataset

HEADER = ["distinct_id", "product_id", "event_name", "created_at", "device"]
Log = pytest.LogCaptureFixture


def load(folder: Path, events: list[list[str]], *sets: str) -> Dataset:
    rows = [[*row, ""][:5] for row in events]
    files = (
        write_csv(folder / "e.csv", HEADER, rows),
        write_csv(folder / "p.csv", ["product_id", "title"], [["p", "x"], ["q", "y"]]),
    )
    return load_dataset([str(files[0])], [str(files[1])], load_config([], sets).data, 7, folder / "work")


def test_ids_that_stand_for_no_one_are_told_and_a_setting_leaves_them_out(tmp_path: Path, caplog: Log) -> None:
    events = [
        [one, "p", "View", str(1735689600 + row)] for row, one in enumerate(["nan", "NULL", "0", "زائر", "b1", "nan"])
    ]
    made = load(tmp_path, events)
    assert len(made.buyers) == 5
    assert "buyers whose id looks like none: '0' (1 events), 'NULL' (1 events), 'nan' (2 events)" in caplog.text
    assert "data.unknown_buyers=[0, NULL, nan, زائر]" in caplog.text
    made = load(tmp_path, events, "data.unknown_buyers=[0, null, nan, زائر]")
    assert made.buyers == ["b1"]
    assert made.summary.dropped_events["buyer nan, left out by data.unknown_buyers"] == 2
    assert sum(made.summary.dropped_events.values()) == 5 and not made.summary.rejected_events


def test_a_robot_is_told(tmp_path: Path, caplog: Log) -> None:
    events = [[f"b{row % 30}", "p", "View", str(1735689600 + row)] for row in range(60)]
    load(tmp_path, events)
    assert "robot" not in caplog.text
    robot = [["bot", "q", "View", str(1735689600 + row)] for row in range(40)]
    load(tmp_path, events + robot)
    assert "one buyer, 'bot', has 40 of 100 events: a robot or a till?" in caplog.text


def test_a_visitor_is_the_buyer_who_logged_in_and_a_shared_device_is_none(tmp_path: Path, caplog: Log) -> None:
    made = load(
        tmp_path,
        [
            ["", "p", "View", "1735689600", "d1"],
            ["b1", "p", "View", "1735689660", "d1"],
            ["", "q", "View", "1735689720", "d2"],
            ["", "q", "View", "1735689780", "d3"],
            ["b1", "q", "View", "1735689840", "d3"],
            ["b2", "q", "View", "1735689900", "d3"],
        ],
        "data.event_columns.anonymous=device",
    )
    assert made.buyers == ["b1", "b2", "d2", "d3"]
    assert "1 anonymous ids are joined with the buyer that they became; 1 stand beside several" in caplog.text
