"""The vectors of live products, for histories that hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from twotower.arrays import Float32, Int64
from twotower.artifact.catalogue import Catalogue
from twotower.artifact.version import Version
from twotower.live.merging import content_of, merged
from twotower.live.records import Content, Position, State, unpack_vectors

_FIRST = 256


class LiveItems:
    """Adds products to the `rows` of a version: row N + i has the vector i that is kept here.

    The follower's thread adds, others encode meanwhile. A deleted product keeps its vector: what a buyer did with it
    still says what the buyer likes.
    """

    def __init__(self, version: Version, catalogue: Catalogue, rows: dict[str, int]) -> None:
        manifest = version.manifest
        self.version = version.name
        self.position = Position.of(manifest)
        self._sizes = manifest.dimension, manifest.text_dimension
        self._catalogue = catalogue
        self._rows = rows
        self._trained = len(rows)
        self._vectors: Float32 = np.zeros((_FIRST, manifest.dimension), np.float32)
        self._count = 0
        self._digests: dict[str, bytes] = {}
        self._missing: dict[str, Content] = {}

    @property
    def live_products(self) -> int:
        return len(self._digests)

    def missing(self) -> Mapping[str, Content]:
        return dict(self._missing)

    def apply(self, states: Sequence[State], vectors: Mapping[str, bytes], epoch: str) -> None:
        trained = self._catalogue.lookup([one.product_id for one in states])
        for state, own in zip(states, trained, strict=True):
            product_id = state.product_id
            product = None
            if state.is_shown and not self.position.includes(state, epoch):
                product = merged(state, own)
            if product is None or (own is not None and content_of(product) == content_of(own)):
                self._missing.pop(product_id, None)
                continue
            content, packed = content_of(product), vectors.get(product_id)
            live = None if packed is None else unpack_vectors(packed, *self._sizes)
            if live is None or live.digest != content.digest():
                self._missing[product_id] = content
                continue
            self._missing.pop(product_id, None)
            if self._digests.get(product_id) != live.digest:
                self._add(product_id, live.item)
                self._digests[product_id] = live.digest

    def gather(self, trained: Float32, rows: Int64) -> Float32:
        """The vectors of rows [B, T], of the version's `trained` [N, D] and of live products, as [B, T, D]."""
        own = rows >= self._trained
        if not own.any():
            return trained[rows]
        found = trained[np.where(own, 0, rows)]
        found[own] = self._vectors[rows[own] - self._trained]
        return found

    def _add(self, product_id: str, vector: Float32) -> None:
        if self._count == len(self._vectors):
            self._vectors = np.concatenate([self._vectors, np.zeros_like(self._vectors)])
        self._vectors[self._count] = vector
        self._count += 1
        # last: from here on the row is read
        self._rows[product_id] = self._trained + self._count - 1
