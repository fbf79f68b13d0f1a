"""Compares today's products with the served version: which are new, gone or changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from trainer.data.catalogue import Products
from trainer.data.rejects import Summary
from trainer.errors import DataError
from trainer.release.assemble import product_records
from twotower.arrays import Int64
from twotower.artifact.catalogue import Catalogue, Product, read_product_rows
from twotower.artifact.version import Version


class Changes(NamedTuple):
    """How many products are new, are gone, or differ in text, price, stock or another field."""

    new: int
    gone: int
    changed: int

    def __str__(self) -> str:
        return f"{self.new:,} new, {self.gone:,} gone, {self.changed:,} changed"


def catalogue_records(base: Version, served: Version, products: Products, now: float) -> tuple[list[Product], Int64]:
    """Today's products as the database holds them, and their rows [N] in `base`, -1 for products that it lacks.

    A product that neither `base` nor the `served` version has is first seen `now`, in seconds since 1970.
    """
    row_of = read_product_rows(base.layout.ids)
    before = Catalogue(base.layout.products).lookup(products.ids)
    popularity = [old.popularity if old else 0.0 for old in before]
    lately = Catalogue(served.layout.products).lookup(products.ids)
    known = [old or recent for old, recent in zip(before, lately, strict=True)]
    first_seen = [one.first_seen if one else now for one in known]
    return list(product_records(products, popularity, first_seen)), np.array(
        [row_of.get(ident, -1) for ident in products.ids], np.int64
    )


def compare_catalogues(served: Version, records: Sequence[Product]) -> Changes:
    """Compares records with the served version."""
    before = Catalogue(served.layout.products).lookup([one.id for one in records])
    pairs = [(one, old) for one, old in zip(records, before, strict=True) if old is not None]
    # the files say nothing about row, popularity and first moment
    same = sum(
        old == one._replace(row=old.row, popularity=old.popularity, first_seen=old.first_seen) for one, old in pairs
    )
    return Changes(len(records) - len(pairs), served.manifest.products - len(pairs), len(pairs) - same)


def stop_above(limit: float, gone: int, served: int) -> None:
    """Raises DataError if more than the share `limit` of the served products is gone."""
    if gone > limit * served:
        raise DataError(
            f"{gone:,} of the {served:,} served products ({gone / served:.1%}) are missing in the files, the limit is "
            f"{limit:.1%} (publish.max_missing_share): is the export complete?"
        )


def refresh_facts(served: Version, changes: Changes, summary: Summary) -> dict[str, Any]:
    """What metrics.json and the report say about a refresh: the version before, the trained one, and the changes."""
    return {
        "from": served.name,
        "trained": served.trained_as,
        **changes._asdict(),
        "product_rows": summary.product_rows,
        "rejected_products": summary.rejected_products,
    }
