"""Times that the whole column decides: read in UTC, or refused with the setting that says how they are written."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tests.helpers.small_shop import EVENT_COLUMNS, write_csv
from trainer.config.loading import load_config
from trainer.data.dataset import Dataset, load_dataset
from trainer.data.time_forms import AMBIGUOUS_TIME, find_form
from trainer.errors import DataError


def utc(times: Sequence[str]) -> list[str | None]:
    """Minutes and seconds in UTC of a column."""
    column = pl.Series("time", times)
    read = column.to_frame().select(find_form(column).read(pl.col("time"))).to_series()
    return [None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S") for ms in read]


@pytest.mark.parametrize(
    ("times", "wanted"),
    [
        (["31/12/2024 10:30", "01/02/2025 23:59:58"], ["2024-12-31 10:30:00", "2025-02-01 23:59:58"]),
        (["12/31/2024, 9:05:07 AM", "1/2/2025 12:00 PM"], ["2024-12-31 09:05:07", "2025-01-02 12:00:00"]),
        (["1/2/2025 12:30 am", "12/31/2024 12:30 p.m."], ["2025-01-02 00:30:00", "2024-12-31 12:30:00"]),
        (["31.12.2024", "01-02-2025"], ["2024-12-31 00:00:00", "2025-02-01 00:00:00"]),
        (["٣١/١٢/٢٠٢٤ ١٠:٣٠ ص", "٠١/٠٢/٢٠٢٥ ١٠:٣٠ م"], ["2024-12-31 10:30:00", "2025-02-01 22:30:00"]),
        (["\u200f31\u200f/12\u200f/2024\u060c 10:30:00 م"], ["2024-12-31 22:30:00"]),
        (["12-09-2025 02:58 ص", "13-09-2025 02:58 مساءً"], ["2025-09-12 02:58:00", "2025-09-13 14:58:00"]),
    ],
)
def test_a_column_tells_whether_the_day_or_the_month_comes_first(times: list[str], wanted: list[str]) -> None:
    assert utc(times) == wanted


@pytest.mark.parametrize(
    ("time", "wanted"),
    [
        ("Wed, 01 Jan 2025 10:30:00 +0300", "2025-01-01 07:30:00"),
        ("Wed, 01 Jan 2025 10:30:00 GMT", "2025-01-01 10:30:00"),
        ("1 Jan 2025 10:30 EST", "2025-01-01 15:30:00"),
        ("01-Jan-2025", "2025-01-01 00:00:00"),
        ("January 5, 2025 3:04 PM", "2025-01-05 15:04:00"),
        ("Sept. 5th, 2025", "2025-09-05 00:00:00"),
        ("Wed Jan 01 2025 10:30:00 GMT+0300 (Arabian Standard Time)", "2025-01-01 07:30:00"),
        ("Wed Jan  1 10:30:00 2025", "2025-01-01 10:30:00"),
        ("Wed Jan  1 10:30:00 UTC 2025", "2025-01-01 10:30:00"),
        ("2025/01/31 10:30", "2025-01-31 10:30:00"),
        ("2025-1-5 7:03", "2025-01-05 07:03:00"),
        ("2025-01-31 10:30 PM", "2025-01-31 22:30:00"),
        ("2025-01-31 10:30 Asia/Riyadh", "2025-01-31 07:30:00"),
        ("2025-07-31 10:30:00 Africa/Cairo", "2025-07-31 07:30:00"),
        ("2025-01-31T10:30:00+03:00[Asia/Riyadh]", "2025-01-31 07:30:00"),
        ("2025-01-31 10:30:00.987 +03", "2025-01-31 07:30:00"),
        ("٥ يناير ٢٠٢٥ ٣:٠٤ م", "2025-01-05 15:04:00"),
        ("الأحد، 5 كانون الثاني 2025", "2025-01-05 00:00:00"),
    ],
)
def test_times_that_can_mean_one_thing_only(time: str, wanted: str) -> None:
    assert utc([time]) == [wanted]


@pytest.mark.parametrize(
    "time",
    # a zone's name of several zones, days that do not exist, an hour of neither clock, years of two digits
    [
        "2025-01-31 10:30:00 AST",
        "Jan 32, 2025",
        "31/12/2025 13:05 PM",
        "30/02/2025",
        "31/12/25",
        "2025-01-31 10:30 Asia/X",
    ],
)
def test_what_is_no_time_stays_none(time: str) -> None:
    assert utc([time]) == [None]


@pytest.mark.parametrize(
    ("times", "said"),
    [
        (["01/02/2025", "03/04/2025"], "2 times may be day-first or month-first, and none tells which"),
        (["13/02/2025", "02/14/2025"], "1 times can only be day-first and 1 only month-first"),
    ],
)
def test_an_ambiguous_column_is_refused(times: list[str], said: str) -> None:
    form = find_form(pl.Series("time", times))
    assert utc(times) == [None, None] and form.problem == AMBIGUOUS_TIME
    assert form.hints == [f"{said}: set data.time_format"]


def load(folder: Path, times: Sequence[str], *sets: str) -> Dataset:
    events = write_csv(
        folder / "e.csv", EVENT_COLUMNS, [[f"b{row}", "p", "View", one] for row, one in enumerate(times)]
    )
    products = write_csv(folder / "p.csv", ["product_id", "title"], [["p", "خاتم"]])
    return load_dataset([str(events)], [str(products)], load_config([], sets).data, 7, folder / "work")


def test_a_log_of_such_times_is_read_whole_and_says_how(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made = load(tmp_path, ["01/02/2025 10:00", "13/02/2025 10:00", "2025-03-01"])
    assert [datetime.fromtimestamp(ms / 1000, UTC).day for ms in made.events.time.tolist()] == [1, 13, 1]
    assert "2 times are read day-first: 1 of them can be nothing else" in caplog.text
    assert "times are written in two ways: 1 as ISO-8601 or epoch time, 2 in another form" in caplog.text


def test_an_ambiguous_log_is_refused_and_the_setting_reads_it(tmp_path: Path) -> None:
    times = ["01/02/2025 10:00", "03/04/2025 10:00"]
    with pytest.raises(DataError, match=r"2 ambiguous time: day or month first\? set data\.time_format, as %d/%m/%Y"):
        load(tmp_path, times)
    made = load(tmp_path, times, "data.time_format=%d/%m/%Y %H:%M")
    assert [datetime.fromtimestamp(ms / 1000, UTC).month for ms in made.events.time.tolist()] == [2, 4]
