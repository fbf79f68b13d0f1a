"""The live products in arrays: one slot each. Slots are only added; a product that changes its content gets another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from retrieval_service.live.words import LiveWords
from twotower.arrays import Float32, Float64, Int64, Mask
from twotower.artifact.catalogue import Product
from twotower.live.records import LiveVectors
from twotower.search.vector_index import unit_rows
from twotower.sharding import WHOLE, Shard, order_of
from twotower.text.normalise import Normaliser

_FIRST = 256


class LiveNames:
    """The names of one attribute, with codes that stay."""

    def __init__(self, fold: Normaliser) -> None:
        self._fold = fold
        self._exact: dict[str, int] = {}
        self._names: list[str] = []
        self._folded: dict[str, list[int]] = defaultdict(list)

    def code(self, name: str) -> int:
        """The code of a name; a new one if it is new."""
        if name not in self._exact:
            self._folded[self._fold(name)].append(len(self._exact))
            self._exact[name] = len(self._exact)
            self._names.append(name)
        return self._exact[name]

    def name(self, code: int) -> str:
        """The name of a code."""
        return self._names[code]

    def codes(self, value: str, *, is_name: bool) -> list[int]:
        """The codes that a filter value matches: itself, or else every name of the same folding.

        `is_name`: it is a name of the version, so other spellings do not count.
        """
        if value in self._exact:
            return [self._exact[value]]
        return [] if is_name else list(self._folded.get(self._fold(value), ()))


class Slots:
    """The arrays have room for more slots than there are; whoever reads `count` first finds all of them.

    `base` [M]: the row of the version that a slot stands for, -1 for a new product. `ties` [M]: see `tie_breaker`.
    `order` [M]: which of equal products comes first, the same in all replicas. `own` [M]: those that the `shard` may
    answer with; it has all of them, since what words weigh depends on all.
    """

    def __init__(self, dimension: int, text_dimension: int, words: LiveWords, shard: Shard = WHOLE) -> None:
        fold = Normaliser.profile("full")
        self.count = self.dead = 0
        self.ids: list[str] = []
        self.digests: list[bytes] = []
        self.by_id: dict[str, int] = {}
        self.words = words
        self.shard = shard
        self.brands, self.categories = LiveNames(fold), LiveNames(fold)
        self.vectors: Float32 = np.zeros((_FIRST, dimension), np.float32)
        self.texts: Float32 = np.zeros((_FIRST, text_dimension), np.float32)
        self.alive: Mask = np.zeros(_FIRST, np.bool_)
        self.in_stock: Mask = np.zeros(_FIRST, np.bool_)
        self.price: Float64 = np.full(_FIRST, np.nan)
        self.ties: Float32 = np.zeros(_FIRST, np.float32)
        self.brand: Int64 = np.zeros(_FIRST, np.int64)
        self.category: Int64 = np.zeros(_FIRST, np.int64)
        self.base: Int64 = np.full(_FIRST, -1, np.int64)
        self.order: Int64 = np.zeros(_FIRST, np.int64)
        self.own: Mask = np.zeros(_FIRST, np.bool_)

    def add(self, product: Product, vectors: LiveVectors, base: int, tie: float) -> None:
        """Puts the product into a new slot, and ends its earlier one."""
        slot = self.count
        if slot == len(self.alive):
            self._grow()
        self.ids.append(product.id)
        self.digests.append(vectors.digest)
        self.words.add(slot, product.title, product.description, product.brand, product.category)
        # as text_embeddings.npy has them
        self.vectors[slot], self.texts[slot] = vectors.item, unit_rows(vectors.text[None])[0]
        self.brand[slot], self.category[slot] = self.brands.code(product.brand), self.categories.code(product.category)
        self.base[slot] = base
        self.order[slot], self.own[slot] = order_of(product.id), self.shard.holds_id(product.id)
        self._set(slot, product, tie)
        self.kill(product.id)
        self.alive[slot] = True
        self.by_id[product.id] = slot
        # last: from here on the slot is read
        self.count += 1

    def update(self, product: Product, tie: float) -> None:
        """Price and stock of a product that has a slot."""
        self._set(self.by_id[product.id], product, tie)

    def kill(self, product_id: str) -> None:
        """Ends the slot of a product, if it has one."""
        slot = self.by_id.pop(product_id, None)
        if slot is not None:
            self.alive[slot] = False
            self.dead += 1

    def slots_of(self, ids: Iterable[str]) -> Int64:
        return np.array([slot for slot in map(self.by_id.get, ids) if slot is not None], np.int64)

    def compacted(self, products: Sequence[Product]) -> Slots:
        """The living slots alone; `products` are theirs, in any order."""
        fresh = Slots(self.vectors.shape[1], self.texts.shape[1], self.words.emptied(), self.shard)
        for one in products:
            slot = self.by_id[one.id]
            vectors = LiveVectors(self.digests[slot], self.vectors[slot], self.texts[slot])
            fresh.add(one, vectors, int(self.base[slot]), float(self.ties[slot]))
        return fresh

    def _set(self, slot: int, product: Product, tie: float) -> None:
        self.price[slot] = np.nan if product.price is None else product.price
        self.in_stock[slot] = product.in_stock
        self.ties[slot] = tie

    def _grow(self) -> None:
        columns = ("alive", "in_stock", "price", "ties", "brand", "category", "base", "order", "own")
        for name in ("vectors", "texts", *columns):
            old = getattr(self, name)
            new = np.zeros((2 * len(old), *old.shape[1:]), old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)
