"""Input files to lazy tables of text columns with the file and line that each row came from."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from trainer.data.csv_file import open_csv
from trainer.data.parquet_file import open_parquet
from trainer.errors import DataError


class Table(NamedTuple):
    """Rows of all files, lazily: `file`, `line` (1 = the header), and the wanted columns as text."""

    frame: pl.LazyFrame
    files: list[Path]


def find_files(patterns: Sequence[str], what: str) -> list[Path]:
    """The files that paths and globs name, in order, each once. DataError where a pattern names none."""
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


def open_table(
    files: Sequence[Path], columns: Mapping[str, str], optional: frozenset[str], delimiter: str, scratch: Path
) -> Table:
    """Opens CSV, CSV.gz and Parquet files as one table. `columns` maps our name to the files'.

    Each file is read once from end to end first, so that a wrong encoding, a truncated archive, a wrong delimiter or a
    missing column is told by name before any work; `scratch` gets the unpacked form of .gz files. Raises DataError.
    """
    parts = []
    for number, path in enumerate(files):
        if path.suffix == ".parquet":
            parts.append(open_parquet(path, columns, optional))
        else:
            parts.append(open_csv(path, columns, optional, delimiter, scratch / f"{number}-{path.name}.csv"))
    return Table(pl.concat(parts), list(files))
