"""Options that several benchmarks have: the folder of real data, and settings of the trainer."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# the folder of real data sets
DATA = Path(os.environ.get("TWOTOWER_DATA") or ROOT.parent / "shared" / "data")


def data_parser(description: str | None, data_set: str) -> argparse.ArgumentParser:
    """A parser of `--data`, by default this data set, and of `--set`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA / data_set)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of our trainer")
    return parser
