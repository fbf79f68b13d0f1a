"""Input files as tables of text columns, with the file and line of every row."""

from __future__ import annotations

import glob
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl

from trainer.data.tables.columns import ColumnNames
from trainer.data.tables.csv_blocks import is_zip, read_chunks, starts_as_html, starts_as_json, starts_as_xml
from trainer.data.tables.csv_file import read_csv
from trainer.data.tables.excel_file import read_excel
from trainer.data.tables.json_file import read_json
from trainer.data.tables.parquet_file import read_parquet
from trainer.data.tables.xml_file import read_xml
from trainer.errors import DataError


def find_files(patterns: Sequence[str], what: str) -> list[Path]:
    """The files that paths and globs name, in order, each once. Raises DataError if a pattern names none."""
    found: dict[Path, None] = {}
    for pattern in patterns:
        matches = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
        if not matches:
            raise DataError(f"--{what} {pattern}: no such file")
        for match in matches:
            if Path(match).is_dir():
                raise DataError(f"--{what} {match}: is a folder; name its files, for example '{match}/*.csv'")
            found[Path(match)] = None
    if not found:
        raise DataError(f"--{what}: no file is named")
    return list(found)


def read_tables(
    files: Sequence[Path], columns: ColumnNames, optional: frozenset[str], delimiter: str
) -> Iterator[pl.DataFrame]:
    """Yields the rows of CSV, JSON and XML files, packed or not, Parquet and Excel files; each file is read once.

    A batch has `file`, `line` (of a CSV file, 1 is the header) and our columns as text. `columns` maps our names to
    those of the files, or to paths in their records. Raises DataError if a file cannot be read.
    """
    for path in files:
        if path.suffix.lower() == ".parquet":
            yield from read_parquet(path, columns, optional)
        elif is_zip(path):
            yield from read_excel(path, columns, optional)
        else:
            yield from _read_text(path, columns, optional, delimiter)


def _read_text(path: Path, columns: ColumnNames, optional: frozenset[str], delimiter: str) -> Iterator[pl.DataFrame]:
    """The rows of a text file; what it begins with tells JSON, XML and CSV apart."""
    chunks = read_chunks(path)
    first = next(chunks, b"")
    chunks = itertools.chain([first], chunks)
    if starts_as_json(first):
        return read_json(path, chunks, columns, optional)
    if starts_as_html(first):
        raise DataError(f"{path} is an HTML page, as of a login or an error; download the file itself")
    if starts_as_xml(first):
        return read_xml(path, chunks, columns, optional)
    return read_csv(path, columns, optional, delimiter_of(path, delimiter), chunks=chunks)


def delimiter_of(path: Path, delimiter: str) -> str:
    """What separates the fields of a file: tabs in a .tsv, packed or not, the given character in others."""
    return "\t" if ".tsv" in [one.lower() for one in path.suffixes] else delimiter
