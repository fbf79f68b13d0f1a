"""`check`: what a run would make of the files, what is lost and why, and what would lose less."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.small_shop import EVENT_COLUMNS, PRODUCT_COLUMNS, Shop, write_csv, write_shop
from trainer.__main__ import main

Capture = pytest.CaptureFixture[str]
KEYS = [
    *("products", "buyers", "events", "fields", "in_stock", "first_time", "last_time", "rejected", "dropped"),
    *("warnings", "error"),
]


def checked(capsys: Capture, shop: Shop, *options: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and the one object that is printed."""
    code = main(["check", *shop.arguments, *options, "--json"])
    output = capsys.readouterr()
    assert output.err == ""
    return code, json.loads(output.out)


def two_products(folder: Path, events: list[list[str]], columns: list[str] = EVENT_COLUMNS) -> Shop:
    products = [["p0", "خاتم", "", '{"brand": "ب", "availability": "out of stock"}'], ["p1", "عود", "", ""]]
    return Shop(
        write_csv(folder / "events.csv", columns, events), write_csv(folder / "products.csv", PRODUCT_COLUMNS, products)
    )


def test_a_sound_shop_is_understood_whole(tmp_path: Path, capsys: Capture) -> None:
    code, found = checked(capsys, write_shop(tmp_path))
    assert code == 0 and list(found) == KEYS
    assert (found["products"], found["buyers"], found["events"], found["error"]) == (60, 80, 900, None)
    assert found["fields"]["title"] == 60 and found["fields"]["category"] == 60
    assert found["in_stock"] == 60 - 8  # every seventh product is sold out
    assert found["first_time"] == "2025-08-10T08:53:20+00:00"
    assert (found["rejected"], found["dropped"]) == ({}, {})


def test_what_is_lost_is_counted_and_nothing_is_written(tmp_path: Path, capsys: Capture) -> None:
    good = ["b1", "p0", "View", "2025-01-01"]
    shop = two_products(
        tmp_path, [good, good, ["b2", "p1", "Purchase", "2025-01-02"], ["b2", "p1", "refund", "2025-01-03"]]
    )
    before = sorted(tmp_path.rglob("*"))
    code, found = checked(capsys, shop)
    assert code == 2
    assert (found["events"], found["buyers"], found["last_time"]) == (2, 2, "2025-01-02T00:00:00+00:00")
    assert found["rejected"] == {"unknown event name": 1} and found["dropped"] == {"exact duplicate": 1}
    assert found["error"] == (
        "1 of 4 rows of events (25.0%) were rejected, the limit is 5.0% (data.max_reject_share): 1 unknown event name"
    )
    advice = [one for one in found["warnings"] if "--set" in one]
    assert "--set 'data.event_names={refund: null}'" in advice[0]
    assert "--set 'data.metadata_paths.in_stock=$.availability'" in advice[1]
    assert sorted(tmp_path.rglob("*")) == before
    code, found = checked(capsys, shop, "--set", "data.event_names={refund: null}", "data.max_reject_share=0.05")
    assert (code, found["dropped"]["refund, left out by data.event_names"]) == (0, 1)


def test_a_missing_column_is_answered_with_the_setting_that_names_it(tmp_path: Path, capsys: Capture) -> None:
    shop = two_products(tmp_path, [["b1", "p0", "v", "1735689600"]], ["user_id", "item_id", "event", "timestamp"])
    code, found = checked(capsys, shop)
    assert code == 2 and "lacks the columns distinct_id, product_id, event_name, created_at" in found["error"]
    assert (
        "--set data.event_columns.buyer=user_id data.event_columns.product=item_id data.event_columns.event=event "
        "data.event_columns.time=timestamp" in found["warnings"][0]
    )


def test_an_unknown_setting_is_an_object_too(tmp_path: Path, capsys: Capture) -> None:
    code, found = checked(capsys, write_shop(tmp_path), "--set", "data.nonsense=1")
    assert code == 2 and "unknown key data.nonsense" in found["error"] and found["products"] == 0
    code, found = checked(capsys, Shop(tmp_path / "none.csv", tmp_path / "products.csv"))
    assert code == 2 and f"--events {tmp_path}/none.csv: no such file" in found["error"]


def test_without_json_it_reads_as_sentences(tmp_path: Path, capsys: Capture) -> None:
    shop = two_products(tmp_path, [["b1", "p0", "View", "2025-01-01"], ["b1", "p7", "View", "2025-01-02"]])
    assert main(["check", *shop.arguments]) == 2
    output = capsys.readouterr()
    assert "products: 2 of 2 rows are read" in output.out
    assert "rejected: 1 product is not in the catalogue, as 'p7' (line 3 of events.csv)" in output.out
    assert output.err.startswith("error: 1 of 2 rows of events (50.0%)")
