"""Parses the blocks of a CSV file into text columns; checks delimiter, width and quotes."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl

from trainer.data.fingerprint import CHUNK
from trainer.data.tables.columns import (
    ColumnNames,
    check_columns,
    first_line,
    match_header,
    wanted_columns,
    with_source,
)
from trainer.data.tables.csv_blocks import (
    BLOCK_BYTES,
    Block,
    checked_block,
    read_blocks,
    read_chunks,
    whole_records,
)
from trainer.errors import DataError
from twotower.events import AROUND_ID

_DELIMITERS = (",", ";", "\t", "|")


# An unclosed quote makes one field of the rest of a block: the error must name the quote, not the size of the field.
_LONGEST_FIELD = 1 << 30


_QUOTES = "a field that holds quotation marks must stand in quotes itself, with each of them doubled"


class _Format(NamedTuple):
    """How the records of one file are read."""

    path: Path
    delimiter: str
    header: list[str]


def read_csv(
    path: Path,
    columns: ColumnNames,
    optional: frozenset[str],
    delimiter: str,
    block_bytes: int = BLOCK_BYTES,
    chunks: Iterable[bytes] | None = None,
) -> Iterator[pl.DataFrame]:
    """Yields the rows of a CSV file, packed or not, block by block, in one pass.

    `columns` maps our names to those of the file; `chunks` are its bytes, if they are being read already. Raises
    DataError, which names the line if a record is malformed.
    """
    csv_format: _Format | None = None
    records = 0
    for block in read_blocks(path, block_bytes, chunks):
        if csv_format is None:
            delimiter, block = _read_delimiter(block, delimiter)
            if not block.text:
                continue
            csv_format, block = _split_header(path, block, columns, optional, delimiter)
        if block.text:
            rows = _read_block(block, csv_format, columns)
            records += rows.height
            yield rows
    if not records:
        raise DataError(_no_rows(path))


@dataclass(frozen=True)
class CsvSection:
    """Whole records of a CSV file that is not packed: the bytes from `start` to `stop`, from the line `line` on."""

    csv_format: _Format
    start: int
    stop: int
    line: int
    is_only: bool

    def read(self, columns: ColumnNames, _optional: frozenset[str], _delimiter: str) -> Iterator[pl.DataFrame]:
        """Yields the rows as `read_csv` does. Raises DataError if they cannot be read."""
        path = self.csv_format.path
        try:
            with path.open("rb") as file:
                file.seek(self.start)
                raw = file.read(self.stop - self.start)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
        if len(raw) < self.stop - self.start:
            raise DataError(f"{path} has become shorter while it was read")
        rows = _read_block(checked_block(path, self.line, raw), self.csv_format, columns)
        if self.is_only and not rows.height:
            raise DataError(_no_rows(path))
        yield rows


def csv_sections(
    path: Path, columns: ColumnNames, optional: frozenset[str], delimiter: str, block_bytes: int = BLOCK_BYTES
) -> list[CsvSection]:
    """All records of a CSV file below its header, cut where `read_csv` cuts them. Raises DataError as it does."""
    csv_format: _Format | None = None
    bounds: list[tuple[int, int, int]] = []
    line, stop = 1, 0
    for raw in whole_records(read_chunks(path, min(CHUNK, block_bytes)), block_bytes):
        start, stop, first = stop, stop + len(raw), line
        line += raw.count(b"\n")
        if csv_format is None:
            delimiter, block = _read_delimiter(checked_block(path, first, raw), delimiter)
            if not block.text:
                continue
            csv_format, block = _split_header(path, block, columns, optional, delimiter)
            start, first = stop - len(block.text), block.line
        if start < stop:
            bounds.append((start, stop, first))
    if csv_format is None or not bounds:
        raise DataError(_no_rows(path))
    return [CsvSection(csv_format, *bound, is_only=len(bounds) == 1) for bound in bounds]


def _no_rows(path: Path) -> str:
    return f"{path} has a header and no rows"


def _read_block(block: Block, csv_format: _Format, columns: ColumnNames) -> pl.DataFrame:
    rows = _parse(block, csv_format)
    return with_source(rows.select("line", *wanted_columns(csv_format.header, columns)), csv_format.path, columns)


def _read_delimiter(block: Block, delimiter: str) -> tuple[str, Block]:
    """The delimiter that Excel writes into a line of its own before the header, as `sep=;`, and what follows it."""
    first, _, rest = block.text.partition(b"\n")
    found = re.fullmatch(rb'"?[Ss][Ee][Pp]=([\x01-\x7f])"?\r?', first)
    return (found[1].decode(), Block(block.line + 1, rest)) if found else (delimiter, block)


def _split_header(
    path: Path, block: Block, columns: ColumnNames, optional: frozenset[str], delimiter: str
) -> tuple[_Format, Block]:
    """Reads and checks the header; returns it with the rest of the first block.

    A header that is one column is read with the delimiter that parts it into most columns.
    """
    header, lines = _read_header(path, block.text, delimiter)
    if len(header) == 1:
        # no table of ours has one column
        for other in _DELIMITERS:
            parts, count = _read_header(path, block.text, other)
            if len(parts) > len(header):
                delimiter, header, lines = other, parts, count
    header = match_header(path, header, columns)
    check_columns(path, header, columns, optional)
    rest = block.text.split(b"\n", lines)[lines:]
    return _Format(path, delimiter, header), Block(block.line + lines, b"".join(rest))


def _read_header(path: Path, text: bytes, delimiter: str) -> tuple[list[str], int]:
    """The names of the columns, and how many lines they take."""
    reader = csv.reader(io.StringIO(text.decode(), newline=""), delimiter=delimiter)
    try:
        return [name.strip(AROUND_ID) for name in next(reader, [])], reader.line_num
    except csv.Error as error:
        raise DataError(f"{path}: the header cannot be read: {error}") from None


def _parse(block: Block, csv_format: _Format) -> pl.DataFrame:
    """The rows of a block: columns `line`, `_0`, `_1`, ..., all text. Blank lines are dropped."""
    # Columns are named by their places: a name of the file may be one of ours, or look like a pattern.
    places = [f"_{place}" for place in range(len(csv_format.header))]
    named = csv_format.delimiter.join(places).encode() + b"\n" + block.text
    try:
        rows = pl.read_csv(
            named,
            separator=csv_format.delimiter,
            infer_schema=False,
            row_index_name="line",
            row_index_offset=block.line,
        )
    except pl.exceptions.PolarsError as error:
        problem = _find_malformed(block, csv_format, None)
        raise DataError(problem or f"{csv_format.path}, after line {block.line}: {first_line(error)}") from None
    lines = block.text.count(b"\n") + (not block.text.endswith(b"\n"))
    if lines != rows.height or block.text.count(b'"') % 2:
        if problem := _find_malformed(block, csv_format, rows.height):
            raise DataError(problem)
        # A quoted field may hold line breaks: the line of a record is its number plus the breaks before it.
        breaks = pl.sum_horizontal(pl.col(name).str.count_matches("\n").fill_null(0) for name in places)
        rows = rows.with_columns(line=pl.col("line") + breaks.cum_sum().shift(1, fill_value=0))
    return rows.filter(pl.any_horizontal(pl.col(places).is_not_null()))


def _find_malformed(block: Block, csv_format: _Format, rows: int | None) -> str:
    """What is wrong with the records of a block, by the line where it starts; "" if nothing is wrong.

    A stray quote makes Polars join lines: the csv module then reads a number of records other than `rows`.
    """
    path, delimiter, width = csv_format.path, csv_format.delimiter, len(csv_format.header)
    limit = csv.field_size_limit(_LONGEST_FIELD)
    first_stray, records, start, raw = 0, 0, block.line, [""]
    try:
        lines = io.StringIO(block.text.decode(), newline="")
        reader = csv.reader(_keep(lines, raw), delimiter=delimiter, strict=True)
        for fields in reader:
            if len(fields) > width:
                return (
                    f"{path}, line {start}: {len(fields)} fields, the header has {width}; "
                    f"a field that holds {delimiter!r} must stand in quotes"
                )
            if not first_stray and raw[0].count('"') % 2:
                first_stray = start
            records, start, raw[0] = records + 1, block.line + reader.line_num, ""
    except csv.Error as error:
        return f"{path}, line {start}: {error}; {_QUOTES}"
    finally:
        csv.field_size_limit(limit)
    if first_stray:
        return f"{path}, line {first_stray}: a quotation mark inside a field; {_QUOTES}"
    if rows is not None and records != rows:
        return (
            f"{path}, lines {block.line} to {start - 1}: {records:,} rows or {rows:,}, as its quotes are read; "
            f"a quotation mark inside a field; {_QUOTES}"
        )
    return ""


def _keep(lines: Iterable[str], raw: list[str]) -> Iterator[str]:
    """The same lines; `raw` gathers those of the record that is being read."""
    for line in lines:
        raw[0] += line
        yield line
