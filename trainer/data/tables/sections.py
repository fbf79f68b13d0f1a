"""Sections of input files that can be read apart, by other processes and machines too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import polars as pl

from trainer.data.tables.columns import ColumnNames
from trainer.data.tables.csv_blocks import is_packed, is_zip, read_chunks, starts_as_table
from trainer.data.tables.csv_file import csv_sections
from trainer.data.tables.files import delimiter_of, read_tables
from trainer.data.tables.parquet_file import parquet_rows, read_parquet
from trainer.errors import DataError

_PARQUET_ROWS = 1_000_000


class Section(Protocol):
    """Some rows of the input files."""

    def read(self, columns: ColumnNames, optional: frozenset[str], delimiter: str) -> Iterator[pl.DataFrame]:
        """Yields the rows as `read_tables` does. Raises DataError if they cannot be read."""


@dataclass(frozen=True)
class WholeFiles:
    """All rows of some files."""

    paths: tuple[Path, ...]

    def read(self, columns: ColumnNames, optional: frozenset[str], delimiter: str) -> Iterator[pl.DataFrame]:
        return read_tables(self.paths, columns, optional, delimiter)


@dataclass(frozen=True)
class ParquetRange:
    """The rows of a Parquet file from `start` on, at most `count`."""

    path: Path
    start: int
    count: int

    def read(self, columns: ColumnNames, optional: frozenset[str], _delimiter: str) -> Iterator[pl.DataFrame]:
        return read_parquet(self.path, columns, optional, self.start, self.count)


def split_files(
    files: Sequence[Path], columns: ColumnNames, optional: frozenset[str], delimiter: str
) -> Iterator[Section]:
    """The sections of files, in the order of their rows: about 8 MiB of a CSV file, a million rows of a Parquet file.

    A CSV file is read once for it, to find the ends of its records. What cannot be cut is one section: a packed file,
    JSON, XML, Excel. Raises DataError if a file cannot be read, or is none that can be read twice.
    """
    for path in files:
        if not path.is_file():
            raise DataError(f"{path} is not a regular file: the workers of a Ray cluster cannot read it")
        if path.suffix.lower() == ".parquet":
            rows = parquet_rows(path, columns)
            yield from (ParquetRange(path, start, _PARQUET_ROWS) for start in range(0, rows, _PARQUET_ROWS))
            if not rows:
                yield WholeFiles((path,))
        elif is_packed(path) or is_zip(path) or not starts_as_table(next(read_chunks(path), b"")):
            yield WholeFiles((path,))
        else:
            yield from csv_sections(path, columns, optional, delimiter_of(path, delimiter))
