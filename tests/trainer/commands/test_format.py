"""--format: the same files under other names, read by every command that reads files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.helpers.small_shop import OFFLINE, SMALL, Shop, current, write_shop
from trainer.__main__ import main
from trainer.config.loading import load_config

Capture = pytest.CaptureFixture[str]


def renamed(folder: Path, shop: Shop, mark: str) -> tuple[Shop, Path]:
    """The shop's files with `mark` before the names of the columns, and the file that says so."""
    events, products = (folder / f"{mark} {path.name}" for path in shop)
    for path, target in zip(shop, (events, products), strict=True):
        header, rest = path.read_text(encoding="utf-8").split("\n", 1)
        target.write_text(f"{','.join(mark + name for name in header.split(','))}\n{rest}", encoding="utf-8")
    columns = {"buyer": "distinct_id", "product": "product_id", "event": "event_name", "time": "created_at"}
    fields = {"id": "product_id", "title": "title", "description": "description", "metadata": "metadata"}
    content = {
        "event_columns": {ours: mark + theirs for ours, theirs in columns.items()},
        "product_columns": {ours: mark + theirs for ours, theirs in fields.items()},
    }
    preset = folder / f"{mark}.yaml"
    preset.write_text(json.dumps({"data": content}), encoding="utf-8")
    return Shop(events, products), preset


def test_every_command_reads_files_in_the_form(tmp_path: Path, capsys: Capture) -> None:
    plain = write_shop(tmp_path)
    (shop, preset), (later, other) = renamed(tmp_path, plain, "متجر "), renamed(tmp_path, plain, "x_")
    assert main(["check", *shop.arguments]) == 2
    capsys.readouterr()
    assert main(["check", *shop.arguments, "--format", str(preset), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["events"] == 900
    artifacts = tmp_path / "نماذج [1] a?b #2"
    where, lists = ["--artifacts", str(artifacts)], tmp_path / "lists.csv"
    assert main(["run", *shop.arguments, *where, "--format", str(preset), "--config", OFFLINE, "--set", *SMALL]) == 0
    # a version keeps the form that it was trained with
    for files, form in ((shop, []), (later, ["--format", str(other)])):
        events, products = ["--events", str(files.events)], ["--products", str(files.products)]
        assert main(["recommend", *where, *events, *form, "--out", str(lists), "--k", "3"]) == 0
        with lists.open(encoding="utf-8") as file:
            assert len({row["buyer_id"] for row in csv.DictReader(file)}) == 80
        assert main(["refresh", *where, *products, *form, "--force"]) == 0
    assert load_config([current(artifacts).layout.config]).data.product_columns.id == "x_product_id"


def test_an_unknown_form_is_named(tmp_path: Path, capsys: Capture) -> None:
    assert main(["check", "--events", "a.csv", "--products", "b.csv", "--format", "shopfiy"]) == 2
    assert "--format shopfiy: must be one of ga4, google-merchant, magento," in capsys.readouterr().err
    assert main(["check", "--events", "a.csv", "--products", "b.csv", "--format", "none.yaml"]) == 2
    assert "configuration none.yaml cannot be read" in capsys.readouterr().err
