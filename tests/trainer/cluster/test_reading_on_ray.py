"""Events read on a Ray cluster are those read on one machine: accepted rows, rejects, counts and notes."""

from __future__ import annotations

import gzip
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from tests.helpers.small_shop import PRODUCT_COLUMNS, write_csv
from trainer.cluster.parts import Engine, OneMachine, open_engine
from trainer.config.loading import load_config
from trainer.data.dataset import Dataset, data_facts, load_dataset
from trainer.data.tables import sections
from trainer.data.tables.csv_file import csv_sections
from trainer.errors import DataError

COLUMNS = ["distinct_id", "product_id", "event_name", "created_at", "query", "device", "country"]
SETTINGS = [
    "data.max_reject_share=1",
    "data.max_unknown_share=1",
    "data.event_columns.anonymous=device",
    "data.event_filter={country: [sa, ae]}",
    "data.event_names={click: View, ping: null}",
    "data.unknown_buyers=['guest']",
]
# one of everything that can happen to a row
KINDS = [
    ["b1", "p0", "Purchase", "200", "gold ring", "", "sa"],
    ["b2", "p9", "View", "301", "", "", "sa"],
    ["b2", "p1", "click", "300", "", "d1", "ae"],
    ["", "p2", "View", "250", "", "d1", "ae"],
    ["b3", "p3", "View", "31/12/2024", "", "", "sa"],
    ["b3", "p0", "View", "yesterday", "", "", "sa"],
    ["b3", "p0", "hover", "400", "", "", "sa"],
    ["b3", "p0", "ping", "401", "", "", "sa"],
    ["guest", "p0", "View", "402", "", "", "sa"],
    ["b4", "p0", "View", "403", "", "", "eg"],
    ["b1", "p0", "Purchase", "200", "", "", "sa"],
]


def write_files(folder: Path) -> list[str]:
    """The rows in files of every kind, more and other buyers in each."""
    rows = [[row[0] and f"{row[0]}-{place % 3}", *row[1:]] for place in range(12) for row in KINDS]
    third = len(rows) // 3
    plain = write_csv(folder / "a.csv", COLUMNS, rows[:third])
    packed = folder / "b.csv.gz"
    packed.write_bytes(gzip.compress(write_csv(folder / "packed", COLUMNS, rows[third : 2 * third]).read_bytes()))
    table = pl.DataFrame(rows[2 * third :], dict.fromkeys(COLUMNS, pl.String), orient="row")
    table.write_parquet(folder / "c.parquet", row_group_size=5)
    return [str(plain), str(packed), str(folder / "c.parquet")]


def load(folder: Path, events: list[str], engine: Engine) -> tuple[Dataset, str]:
    folder.mkdir()
    products = write_csv(folder / "p.csv", PRODUCT_COLUMNS, [[f"p{n}", f"t{n}", "", ""] for n in range(4)])
    data = load_dataset(events, [str(products)], load_config([], SETTINGS).data, 7, folder / "work", engine)
    return data, (folder / "work" / "rejects.csv").read_text(encoding="utf-8")


def test_rows_of_every_kind_are_read_as_on_one_machine(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sections, "csv_sections", partial(csv_sections, block_bytes=300))
    monkeypatch.setattr(sections, "_PARQUET_ROWS", 10)
    events = write_files(tmp_path)
    here, rejects_here = load(tmp_path / "here", events, OneMachine())
    said = [one.message for one in caplog.records if one.levelname == "WARNING"]
    caplog.clear()
    there, rejects_there = load(tmp_path / "there", events, open_engine("auto"))
    assert [one.message for one in caplog.records if one.levelname == "WARNING"] == said
    assert rejects_there == rejects_here
    assert data_facts(there) == data_facts(here)
    assert there.buyers == here.buyers
    for ours, theirs in zip(here.events, there.events, strict=True):
        assert (ours.dtype, ours.tobytes()) == (theirs.dtype, theirs.tobytes())
    assert there.searches.pairs.rows() == here.searches.pairs.rows()
    # 12 rows of each kind: three kinds are rejected, three left out, and b1 buys the same thing twice at one moment
    assert here.summary.rejected_events == {
        "product is not in the catalogue": 12,
        "unknown event name": 12,
        next(reason for reason in here.summary.rejected_events if reason.startswith("unreadable time")): 12,
    }
    assert sum(here.summary.dropped_events.values()) > 36


def test_an_error_in_a_file_is_the_same_error(ray_cluster: None, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", COLUMNS, KINDS)
    path.write_text(path.read_text(encoding="utf-8") + "too,few\na,b,c,d,e,f,g,h\n", encoding="utf-8")
    messages = []
    for name, engine in (("here", OneMachine()), ("there", open_engine("auto"))):
        with pytest.raises(DataError) as error:
            load(tmp_path / name, [str(path)], engine)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert "line 14: 8 fields, the header has 7" in messages[0]
