"""Input files as tables of text columns, with the file and line of every row."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl

from trainer.data.tables.csv_file import read_csv
from trainer.data.tables.parquet_file import read_parquet
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
    files: Sequence[Path], columns: Mapping[str, str], optional: frozenset[str], delimiter: str
) -> Iterator[pl.DataFrame]:
    """Yields the rows of CSV files, packed or not, and Parquet files in batches; each file is read once.

    A batch has `file`, `line` (of a CSV file, 1 is the header) and our columns as text. `columns` maps our names to
    those of the files. Raises DataError if a file cannot be read.
    """
    for path in files:
        if path.suffix.lower() == ".parquet":
            yield from read_parquet(path, columns, optional)
        else:
            is_tsv = ".tsv" in [one.lower() for one in path.suffixes]
            yield from read_csv(path, columns, optional, "\t" if is_tsv else delimiter)
