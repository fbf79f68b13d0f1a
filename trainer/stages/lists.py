"""The files of a version's lists that need no vector: what is bought again, and what is rising."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trainer.fit.repeats import fit_repeats, moved_table
from trainer.fit.trending import count_rising
from trainer.stages.workspace import Run
from twotower.arrays import Int64
from twotower.artifact.catalogue import Catalogue
from twotower.artifact.layout import VersionLayout
from twotower.artifact.version import Version
from twotower.repeats import RepeatTable
from twotower.trending import Rising, load_rising, save_rising


def write_lists(run: Run, target: VersionLayout) -> dict[str, Any]:
    """Fits and counts on all events, and writes the files; returns what the manifest says of them."""
    events, products, config = run.data.events, run.data.products, run.config
    repeats = fit_repeats(events, products.categories, run.schema, config.again)
    trending = count_rising(events, len(products), config.trending)
    if repeats is not None:
        repeats.table.save(target)
    if trending is not None:
        save_rising(trending.rising, target)
    return {"repeats": repeats and repeats.model, "trending": trending and trending.counted}


def move_lists(base: Version, known: Int64, categories: Sequence[str], target: VersionLayout) -> None:
    """Writes the files of `base` for the products of another catalogue; `known` and `categories` are theirs [M].

    `known`: the row of each product in `base`, -1 for one that is new there.
    """
    files, manifest = base.layout, base.manifest
    if manifest.repeats is not None:
        names = Catalogue(files.products).columns().categories
        table = RepeatTable.load(files, manifest.products, len(names))
        moved_table(table, names, known, categories).save(target)
    if manifest.trending is not None:
        rising = load_rising(files, manifest.products)
        place_of = np.full(manifest.products, -1, np.int64)
        kept = known >= 0
        place_of[known[kept]] = np.flatnonzero(kept)
        places = place_of[rising.places]
        there = places >= 0
        scores, buyers, expected = (column[there] for column in rising[1:])
        save_rising(Rising(places[there], scores, buyers, expected), target)
