"""What a refresh would change: new, gone and changed products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from trainer.data.catalogue import Products
from trainer.data.rejects import Summary
from trainer.errors import DataError
from twotower.arrays import Int64
from twotower.artifact.catalogue import Catalogue, Product, read_product_rows
from twotower.artifact.version import Version


class Changes(NamedTuple):
    """Products that are new, gone, and there under the same id with something else said of them."""

    new: int
    gone: int
    changed: int

    def __str__(self) -> str:
        return f"{self.new:,} new, {self.gone:,} gone, {self.changed:,} changed"


def catalogue_records(base: Version, products: Products) -> tuple[list[Product], Int64]:
    """Today's products as the database holds them, and their rows [N] in a version, -1 where it lacks one."""
    row_of = read_product_rows(base.layout.ids)
    before = Catalogue(base.layout.products).lookup(products.ids)
    records = [
        Product(
            ident, row, products.titles[row], products.descriptions[row], products.brands[row],
            products.categories[row], products.prices[row], products.currencies[row], products.in_stock[row],
            old.popularity if old else 0.0,
        )
        for row, (ident, old) in enumerate(zip(products.ids, before, strict=True))
    ]  # fmt: skip
    return records, np.array([row_of.get(ident, -1) for ident in products.ids], np.int64)


def compare_catalogues(served: Version, records: Sequence[Product]) -> Changes:
    """What is different of these products in the served version."""
    before = Catalogue(served.layout.products).lookup([one.id for one in records])
    pairs = [(one, old) for one, old in zip(records, before, strict=True) if old is not None]
    # a popularity that came back with its product is nothing that the files say
    same = sum(old == one._replace(row=old.row, popularity=old.popularity) for one, old in pairs)
    return Changes(len(records) - len(pairs), served.manifest.products - len(pairs), len(pairs) - same)


def stop_above(limit: float, gone: int, served: int) -> None:
    if gone > limit * served:
        raise DataError(
            f"{gone:,} of the {served:,} products that are served ({gone / served:.1%}) are not in the files, the "
            f"limit is {limit:.1%} (publish.max_missing_share): is the export complete?"
        )


def refresh_facts(served: Version, changes: Changes, summary: Summary) -> dict[str, Any]:
    """What the manifest and the report say of a refresh: of which version, trained as which, and what changed."""
    return {
        "from": served.name,
        "trained": served.trained_as,
        **changes._asdict(),
        "product_rows": summary.product_rows,
        "rejected_products": summary.rejected_products,
    }
