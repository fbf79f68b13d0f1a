"""Reads Excel workbooks (.xlsx, .xlsm) as text columns."""

from __future__ import annotations

import logging
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from datetime import time as clock
from pathlib import Path
from typing import Any

import openpyxl
import polars as pl

from trainer.data.tables.columns import ColumnNames, check_columns, match_header, wanted_columns, with_source
from trainer.data.tables.json_rows import as_text
from trainer.errors import DataError
from twotower.events import AROUND_ID

_BATCH_ROWS = 50_000
# unpacked: texts of all cells are held in memory
_MAX_BYTES = 2 << 30
_WORKBOOK = "xl/workbook.xml"
log = logging.getLogger(__name__)


def read_excel(path: Path, columns: ColumnNames, optional: frozenset[str]) -> Iterator[pl.DataFrame]:
    """Yields the rows of a workbook's first sheet that has any, batch by batch; `line` is the row in the sheet.

    Formulas count with the value that Excel stored. `columns` maps our names to those of the header. Raises DataError
    if the file is another kind of zip archive, is damaged, or has no rows.
    """
    _check_archive(path)
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            # of styles and extensions, which are not read
            warnings.simplefilter("ignore")
            book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
            try:
                yield from _read(path, book, columns, optional)
            finally:
                book.close()
    except DataError:
        raise
    # openpyxl raises errors of many kinds for a damaged workbook
    except (
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        AttributeError,
        SyntaxError,
        OSError,
        zipfile.BadZipFile,
    ) as error:
        raise DataError(f"{path} is not a sound Excel file: {type(error).__name__}: {str(error)[:200]}") from None


def _check_archive(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path} is not a sound zip or Excel file: {error}") from None
    names = {one.filename for one in members}
    if _WORKBOOK not in names:
        what = "an OpenDocument file: save it as .xlsx or CSV" if "content.xml" in names else "a zip archive: unpack it"
        raise DataError(f"{path} is {what}")
    size = sum(one.file_size for one in members)
    if size > _MAX_BYTES:
        raise DataError(f"{path} unpacks to {size:,} bytes, the limit is {_MAX_BYTES:,}; export it as CSV")


def _read(path: Path, book: Any, columns: ColumnNames, optional: frozenset[str]) -> Iterator[pl.DataFrame]:
    for place, sheet in enumerate(book.worksheets):
        # some programs write a wrong size, and then cells beyond it would be lost
        sheet.reset_dimensions()
        rows = (
            (line, row) for line, row in enumerate(sheet.iter_rows(values_only=True), start=1) if any(map(_says, row))
        )
        first = next(rows, None)
        if first is None:
            continue
        if others := [other.title for other in book.worksheets[place + 1 :]]:
            log.info(f"{path}: the sheet {sheet.title!r} is read, not {', '.join(map(repr, others))}")
        yield from _read_sheet(path, first[1], rows, columns, optional)
        return
    raise DataError(f"{path} is empty")


def _read_sheet(
    path: Path,
    header_row: Sequence[Any],
    rows: Iterator[tuple[int, Sequence[Any]]],
    columns: ColumnNames,
    optional: frozenset[str],
) -> Iterator[pl.DataFrame]:
    header = match_header(path, [(_cell(one) or "").strip(AROUND_ID) for one in header_row], columns)
    check_columns(path, header, columns, optional)
    schema = {"line": pl.Int64, **{f"_{place}": pl.String for place in range(len(header))}}
    is_empty, batch = True, list[list[Any]]()
    for line, row in rows:
        cells = [_cell(one) for one in row[: len(header)]]
        batch.append([line, *cells, *[None] * (len(header) - len(cells))])
        if len(batch) >= _BATCH_ROWS:
            yield _table(path, batch, schema, header, columns)
            is_empty, batch = False, []
    if batch:
        yield _table(path, batch, schema, header, columns)
    elif is_empty:
        raise DataError(f"{path} has a header and no rows")


def _table(
    path: Path, batch: list[list[Any]], schema: dict[str, Any], header: Sequence[str], columns: ColumnNames
) -> pl.DataFrame:
    rows = pl.DataFrame(batch, schema, orient="row")
    return with_source(rows.select("line", *wanted_columns(header, columns)), path, columns)


def _says(value: Any) -> bool:
    return value is not None and value != ""


def _cell(value: Any) -> str | None:
    """A cell as a CSV file would hold it; times as ISO text."""
    if isinstance(value, (datetime, date, clock)):
        return value.isoformat()
    return as_text(value)
