"""`python -m demo.market --out DIR`: writes events.csv and products.csv of a synthetic Arabic marketplace."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from demo.market.catalogue import CatalogueError
from demo.market.generate import generate


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the two files and prints their sizes.

    Returns 0; 1 if the folder cannot be written; 2 for a wrong size or a wrong catalogue.
    """
    parser = argparse.ArgumentParser(prog="python -m demo.market", description="Writes a synthetic Arabic marketplace.")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for events.csv and products.csv")
    for name, default in (("products", 5000), ("buyers", 5000), ("events", 200_000), ("seed", 7)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    options = parser.parse_args(arguments)
    try:
        summary = generate(options.out, options.products, options.buyers, options.events, options.seed)
    except (ValueError, CatalogueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"error: {error.strerror or error} ({error.filename or options.out})", file=sys.stderr)
        return 1
    print(
        f"synthetic data: {summary.products:,} products in {summary.categories} categories, "
        f"{summary.buyers:,} buyers, {summary.events:,} events"
    )
    print(f"{summary.products_path}\n{summary.events_path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
