"""What is known of products: their details and their stored vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from retrieval_service.live.products import LiveProducts
from twotower.arrays import Float32
from twotower.artifact.catalogue import Catalogue, Product
from twotower.caller import check_caller

# ids looked up at once
_LOOKUP = 1000


class StoredVectors(NamedTuple):
    """Vectors [B, D], all zero in the rows of unknown products, and the ids of these."""

    vectors: Float32
    unknown_product_ids: list[str]


class ProductLookup:
    """The products of one version by their ids, as they are now."""

    def __init__(self, rows: Mapping[str, int], catalogue: Catalogue, vectors: Float32, live: LiveProducts) -> None:
        """`rows`: product id → row of `vectors` [N, D]."""
        self._rows = rows
        self._catalogue = catalogue
        self._vectors = vectors
        self._live = live

    def products(self, ids: Sequence[str]) -> list[Product | None]:
        """One product per id, None for an unknown one."""
        found = list[Product | None]()
        for start in range(0, len(ids), _LOOKUP):
            check_caller()
            found += self._catalogue.lookup(ids[start : start + _LOOKUP])
        return [self._live.overlay(one, product) for one, product in zip(ids, found, strict=True)]

    def name_of(self, product_id: str) -> str:
        """Title, brand and category of a product, "" for an unknown one."""
        product = self.products([product_id])[0]
        return f"{product.title} {product.brand} {product.category}" if product else ""

    def find_skus(self, names: Sequence[str]) -> list[str]:
        """The names, those that are no product's id but an SKU as the id of its product."""
        return [name if name in self._rows else self._catalogue.find_sku(name) or name for name in names]

    def categories_of(self, ids: Sequence[str]) -> list[str]:
        """The category of each product as it is now, "" for an unknown one."""
        return [product.category if product else "" for product in self.products(ids)]

    def vectors(self, ids: Sequence[str]) -> StoredVectors:
        """The stored vectors of products, in the order of `ids`. A product that may not be shown is unknown."""
        vectors, unknown = np.zeros((len(ids), self._vectors.shape[1]), np.float32), dict[str, None]()
        for place, one in enumerate(ids):
            row, live = self._rows.get(one), self._live.vector(one)
            if live is not None:
                vectors[place] = live
            elif row is not None and not self._live.is_hidden(one):
                vectors[place] = self._vectors[row]
            else:
                unknown[one] = None
        return StoredVectors(vectors, list(unknown))

    def unknown(self, ids: Sequence[str]) -> list[str]:
        """The products that have no vector here, each once, in the order of `ids`; hidden ones have one."""
        return list(dict.fromkeys(one for one in ids if one not in self._rows and not self._live.knows(one)))

    def is_known(self, product_id: str) -> bool:
        """Whether the version or the live catalogue has such a product, even a hidden one."""
        return product_id in self._rows or self._live.knows(product_id)
