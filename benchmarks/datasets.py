"""The data of benchmarks.training and benchmarks.quality: files of events and products."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from benchmarks.options import DATA
from demo.market.generate import generate


class DataSet(NamedTuple):
    """Files of events and products, a name for them, and whether they are synthetic."""

    events: Path
    products: Path
    name: str
    synthetic: bool


def open_data(folder: Path | None, scratch: Path) -> DataSet:
    """The files in `folder`; by default those of s3rec_beauty, or of a demo market in `scratch` if it is absent.

    Raises SystemExit if the folder lacks one of the two.
    """
    chosen = folder or DATA / "s3rec_beauty"
    synthetic = not chosen.is_dir()
    if synthetic:
        print(f"{chosen} is not there: the SYNTHETIC demo market is measured instead", flush=True)
        chosen = scratch / "demo market"
        generate(chosen)
    return DataSet(_find(chosen, "events"), _find(chosen, "products"), chosen.name, synthetic)


def _find(folder: Path, table: str) -> Path:
    for name in (f"{table}.csv.gz", f"{table}.csv", f"{table}.parquet"):
        if (folder / name).is_file():
            return folder / name
    raise SystemExit(f"{folder} holds no {table}.csv.gz, {table}.csv or {table}.parquet")
