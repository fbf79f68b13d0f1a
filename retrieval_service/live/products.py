"""What the live catalogue makes of one version's products.

A product whose price, stock or currency alone has changed keeps its row: the columns of the version are changed in
place. A product of new content, and a new product, gets a slot beside the index. Deleted and hidden products, and the
rows that a slot stands for, are hidden rows, which no search may return.

The follower's thread changes this, any number of threads search it meanwhile. They see each product before or after a
change, never half of one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from retrieval_service.live.slots import Slots
from retrieval_service.live.view import LiveView, Wanted
from retrieval_service.live.words import LiveWords, product_fields
from twotower.arrays import Float32, Float64, Mask
from twotower.artifact.catalogue import Catalogue, Product
from twotower.live.merging import content_of, merged
from twotower.live.records import Content, LiveVectors, Position, State, unpack_vectors
from twotower.search.word_search import WordSearch
from twotower.sharding import WHOLE, Shard
from twotower.text.product_words import count_words

log = logging.getLogger(__name__)

# products whose words are counted for the mean length of all
_SAMPLE = 500
# dead slots are removed when there are so many, and more than living ones
_DEAD = 1000


class VersionProducts(NamedTuple):
    """The version's own products: row i of each is the same product. `in_stock`, `price` and the tie breaker of
    `search` are changed in place.
    """

    rows: Mapping[str, int]
    catalogue: Catalogue
    vectors: Float32
    texts: Float32
    in_stock: Mask
    price: Float64
    popularity: Float64
    search: WordSearch


class Trained(NamedTuple):
    """The name of a version, the changes that it holds, and whether its words are those of descriptions too."""

    version: str = ""
    position: Position = Position()
    reads_descriptions: bool = True


UNNAMED = Trained()


class LiveProducts:
    """The changes since a version's training. It is empty until a follower fills it."""

    def __init__(self, trained: Trained, base: VersionProducts, shard: Shard = WHOLE) -> None:
        """A `shard` follows all changes, and answers with those of its own products."""
        self.version = trained.version
        self.position = trained.position
        self._base = base
        self._weights = base.search.weights
        reads_descriptions = trained.reads_descriptions
        words = LiveWords(base.search.words, self._weights, _mean_length(base, reads_descriptions), reads_descriptions)
        self._slots = Slots(base.vectors.shape[1], base.texts.shape[1], words, shard)
        self._hidden: Mask = np.zeros(len(base.rows), np.bool_)
        self._hidden_count = 0
        self._sorted_popularity = np.sort(base.popularity)
        # every changed product, None for one that may not be shown
        self._products: dict[str, Product | None] = {}
        # new products whose vectors have come, hidden ones too
        self._known: set[str] = set()
        self._missing: dict[str, Content] = {}

    @property
    def live_products(self) -> int:
        return len(self._slots.by_id)

    def missing(self) -> Mapping[str, Content]:
        # a copy: another thread may read it
        return dict(self._missing)

    def apply(self, states: Sequence[State], vectors: Mapping[str, bytes], epoch: str) -> None:
        ids = [one.product_id for one in states]
        trained = self._base.catalogue.lookup(ids)
        for state, product in zip(states, trained, strict=True):
            self._apply(state, product, vectors.get(state.product_id), self.position.includes(state, epoch))
        if self._slots.dead > max(_DEAD, len(self._slots.by_id)):
            living = [self._products[one] for one in self._slots.by_id]
            self._slots = self._slots.compacted([one for one in living if one is not None])

    def view(self, wanted: Wanted) -> LiveView | None:
        """What a search has to look at beside the index; None if that is nothing."""
        slots, count = self._slots, self._slots.count
        if not count and not self._hidden_count:
            return None
        return LiveView(slots, count, self._hidden, self._hidden_count, wanted)

    def overlay(self, product_id: str, product: Product | None) -> Product | None:
        """The product as it is now; `product` is what the version has of it."""
        return self._products.get(product_id, product)

    def is_hidden(self, product_id: str) -> bool:
        """Whether no answer may show the product."""
        return self._products.get(product_id, product_id) is None

    def knows(self, product_id: str) -> bool:
        """Whether it is a new product that has vectors."""
        return product_id in self._known

    def has_slot(self, product_id: str) -> bool:
        """Whether the product stands beside the index."""
        return product_id in self._slots.by_id

    def vector(self, product_id: str) -> Float32 | None:
        """The vector of a product that has a slot."""
        slots = self._slots
        slot = slots.by_id.get(product_id)
        return None if slot is None else slots.vectors[slot]

    def _apply(self, state: State, trained: Product | None, packed: bytes | None, is_folded_in: bool) -> None:
        product_id = state.product_id
        if not state.is_shown:
            self._products[product_id] = None
            self._missing.pop(product_id, None)
            if state.is_deleted:
                self._known.discard(product_id)
            self._hide(product_id)
            self._slots.kill(product_id)
        elif is_folded_in:
            self._restore(product_id, trained)
        elif (product := merged(state, trained)) is None:
            log.error(
                "the product %r is not shown: the version lacks it, and its changes are not all of it", product_id
            )
        elif trained is not None and content_of(product) == content_of(trained):
            self._products[product_id] = product
            self._missing.pop(product_id, None)
            self._set_row(product)
            self._show(product_id)
            self._slots.kill(product_id)
        else:
            self._products[product_id] = product
            vectors = None
            if packed is not None:
                vectors = unpack_vectors(packed, self._base.vectors.shape[1], self._base.texts.shape[1])
            self._place(product, trained is not None, vectors)

    def _place(self, product: Product, is_trained: bool, vectors: LiveVectors | None) -> None:
        """Gives a product of new content a slot, if its vectors are there."""
        content, slot = content_of(product), self._slots.by_id.get(product.id)
        tie = self._tie(product, is_trained)
        if vectors is None or vectors.digest != content.digest():
            # as it was, with its new price and stock, until they come
            self._missing[product.id] = content
            if slot is not None:
                self._slots.update(product, tie)
            elif is_trained:
                self._set_row(product)
                self._show(product.id)
            return
        self._missing.pop(product.id, None)
        if slot is not None and self._slots.digests[slot] == vectors.digest:
            self._slots.update(product, tie)
            return
        # hidden before the slot is there: for a moment it is in no list, never twice in one
        self._hide(product.id)
        self._slots.add(product, vectors, self._base.rows.get(product.id, -1), tie)
        if not is_trained:
            self._known.add(product.id)

    def _restore(self, product_id: str, trained: Product | None) -> None:
        """The product as the version has it."""
        self._products.pop(product_id, None)
        self._missing.pop(product_id, None)
        if trained is not None:
            self._set_row(trained)
            self._show(product_id)
        self._slots.kill(product_id)

    def _set_row(self, product: Product) -> None:
        row = self._base.rows[product.id]
        self._base.price[row] = np.nan if product.price is None else product.price
        self._base.in_stock[row] = product.in_stock
        if (ties := self._base.search.tie_breaker) is not None:
            ties[row] = self._tie(product, is_trained=True)

    def _hide(self, product_id: str) -> None:
        row = self._base.rows.get(product_id)
        if row is not None and not self._hidden[row]:
            # counted first: a search that sees no count looks at no row
            self._hidden_count += 1
            self._hidden[row] = True

    def _show(self, product_id: str) -> None:
        row = self._base.rows[product_id]
        if self._hidden[row]:
            self._hidden[row] = False
            self._hidden_count -= 1

    def _tie(self, product: Product, is_trained: bool) -> float:
        """As `twotower.search.word_search.tie_breaker`; nothing is less popular than a new product."""
        weights, popularity = self._weights, self._sorted_popularity
        less_popular = int(np.searchsorted(popularity, product.popularity)) if is_trained else 0
        return weights.popularity_weight * less_popular / max(len(popularity), 1) - (
            0.0 if product.in_stock else weights.stock_weight
        )


def _mean_length(base: VersionProducts, reads_descriptions: bool) -> float:
    """How many words a product of the version has on average, of a sample in the order of the ids."""
    ids = list(base.rows)
    sample = base.catalogue.lookup(ids[:: max(1, len(ids) // _SAMPLE)])
    lengths = [
        count_words(product_fields(*content_of(one), reads_descriptions)).total() for one in sample if one is not None
    ]
    return float(np.mean(lengths))
