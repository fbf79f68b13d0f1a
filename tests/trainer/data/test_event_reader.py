"""What the checks give is packed into one flat table, and read back."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pyarrow as pa

from tests.helpers.small_shop import write_csv
from trainer.config.loading import load_config
from trainer.data.event_checks import Checked
from trainer.data.event_reader import EventReader
from trainer.data.tables.sections import WholeFiles

COLUMNS = ["distinct_id", "product_id", "event_name", "created_at", "query", "device"]
NOW_MS = 1_800_000_000_000


def check(folder: Path, rows: list[list[str]]) -> Checked:
    path = write_csv(folder / "events.csv", COLUMNS, rows)
    settings = ["data.event_columns.anonymous=device", "data.unknown_buyers=['guest']"]
    reader = EventReader(["p0", "p1"], load_config([], settings).data, NOW_MS)
    (checked,) = reader(WholeFiles((path,)))
    return checked


def assert_same(one: Checked, other: Checked) -> None:
    assert one.rows == other.rows
    for ours, theirs in zip(one[1:], other[1:], strict=True):
        assert ours.height == theirs.height
        # a part without rows has no columns after the way through a table
        if ours.height:
            assert theirs.equals(ours.select(theirs.columns))
            assert [name for name in ours.columns if name in theirs.columns] == theirs.columns or ours is one.undecided
            absent = [ours[name] for name in ours.columns if name not in theirs.columns]
            assert all(column.null_count() == len(column) for column in absent)


def test_every_part_comes_back(tmp_path: Path) -> None:
    rows = [
        ["b1", "p1", "View", "300", "خاتم", "d1"],
        ["b2", "p9", "View", "301", "", ""],
        ["b3", "p0", "View", "31/12/2024", "", ""],
        ["guest", "p0", "View", "302", "", ""],
        ["", "p0", "Purchase", "303", "", "d2"],
    ]
    checked = check(tmp_path, rows)
    assert checked.rows == 5
    assert checked.accepted["buyer"].to_list() == ["b1", "d2"]
    assert checked.rejected.select("line", "value").rows() == [(3, "p9")]
    assert checked.undecided["time"].to_list() == ["31/12/2024"]
    assert checked.dropped.rows() == [("buyer guest, left out by data.unknown_buyers", 1)]
    assert checked.visitors.rows() == [("d1", "b1")]
    assert_same(checked, EventReader.unpack(EventReader.pack(checked)))


def test_tables_one_below_the_other_are_one_result(tmp_path: Path) -> None:
    first = check(tmp_path, [["b1", "p1", "View", "300", "", ""]])
    second = check(tmp_path, [["b2", "p9", "View", "301", "", ""]])
    tables = [EventReader.pack(first), EventReader.pack(second)]
    found = EventReader.unpack(pa.concat_tables(tables, promote_options="default"))
    assert found.rows == 2
    assert found.accepted.rows() == first.accepted.rows()
    assert found.rejected.rows() == second.rejected.rows()


def test_rows_without_a_problem_carry_no_empty_columns(tmp_path: Path) -> None:
    packed = EventReader.pack(check(tmp_path, [["b1", "p1", "View", "300", "", ""]] * 3))
    assert sorted(packed.column_names) == ["buyer", "count", "kind", "ms", "part", "row"]
    assert packed.num_rows == 4


def test_nothing_but_rejects(tmp_path: Path) -> None:
    found = EventReader.unpack(EventReader.pack(check(tmp_path, [["b2", "p9", "View", "301", "", ""]])))
    assert found.accepted.is_empty() and isinstance(found.accepted, pl.DataFrame)
    assert found.rejected.height == 1
