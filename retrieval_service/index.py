"""The products of one version: searches, lists and details."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from retrieval_service.answers import Answers
from retrieval_service.filters.filters import Filters
from retrieval_service.filters.marks import Packed
from retrieval_service.lists.again import Again
from retrieval_service.lists.popular import PopularProducts
from retrieval_service.lists.ranked import ranked
from retrieval_service.lists.rising import RisingTable
from retrieval_service.lists.together import CartCompletion, TogetherAnswer
from retrieval_service.live.products import UNNAMED, LiveProducts, Trained, VersionProducts
from retrieval_service.lookup import ProductLookup, StoredVectors
from retrieval_service.query import NO_FILTER, Answer, Query
from retrieval_service.search.searches import Searches, Texts
from twotower.arrays import Float32
from twotower.artifact.catalogue import Catalogue, Product
from twotower.errors import CorruptArtifact
from twotower.search.complements import ComplementTable
from twotower.search.fused_score import FusedScore
from twotower.search.vector_index import VectorIndex
from twotower.serving.drift import DriftCounter
from twotower.sharding import WHOLE, Shard


class ProductIndex:
    """The vectors, the texts, the ids and the catalogue of one version; row i of each is the same product.

    Answers are as exact as the index (see `VectorIndex`) and deterministic: equal scores come in the order of the rows.
    Every method takes a whole batch, blocks, and may be called from several threads. A long batch ends with its caller:
    between its parts each method raises DeadlineExceeded if nobody waits for the answer any more.
    """

    def __init__(
        self,
        index: VectorIndex,
        score: FusedScore,
        texts: Texts,
        rows: Mapping[str, int],
        catalogue: Catalogue,
        trained: Trained = UNNAMED,
        complements: ComplementTable | None = None,
        shard: Shard = WHOLE,
    ) -> None:
        """`shard`: the products that answers are of; `index` and `texts` find its rows, all else is of all products.

        Raises CorruptArtifact if they are of different numbers of products.
        """
        self.shard = shard
        self._rows = rows
        self._part = None if shard == WHOLE else shard.rows(len(rows))
        columns = catalogue.columns()
        if not index.size == len(rows) == len(columns.popularity):
            raise CorruptArtifact(
                f"the index holds {index.size} products, the list of ids {len(rows)}, "
                f"products.sqlite {len(columns.popularity)}"
            )
        if texts.vectors.size != index.size:
            raise CorruptArtifact(f"the index holds {index.size} products, the text index {texts.vectors.size}")
        if texts.words.words.size != index.size:
            raise CorruptArtifact(f"the index holds {index.size} products, the index of words {texts.words.words.size}")
        self.best_scores: DriftCounter | None = None
        self.live = LiveProducts(
            trained,
            VersionProducts(
                rows,
                catalogue,
                index.vectors,
                texts.vectors.vectors,
                columns.in_stock,
                columns.price,
                columns.popularity,
                texts.words,
            ),
            shard,
        )
        self._filters = Filters(rows, columns, replace(texts.words.words, part=None), self.live, self._part)
        self._answers = Answers(rows, columns.price, self._filters)
        self._lookup = ProductLookup(rows, catalogue, index.vectors, self.live)
        self._searches = Searches(index, score, texts, rows, self._filters, self._answers, self._lookup.name_of)
        self._popular = PopularProducts(columns.popularity, self._filters, self._answers)
        self._carts = CartCompletion(
            complements, rows, self._popular, self._lookup, self.live, self._filters, self._answers
        )
        # a version that lists them sets both
        self.again = Again(None, None, rows, columns.categories)
        self.rising = RisingTable([], np.empty((3, 0), np.float32), None)

    def holds(self, product_id: str) -> bool:
        """Whether answers about this product are this shard's."""
        row = self._rows.get(product_id)
        if self._part is None:
            return True
        if row is None or self.live.has_slot(product_id):
            return self.shard.holds_id(product_id)
        return self._part.first <= row < self._part.stop

    @property
    def is_remote(self) -> bool:
        """Whether `search` waits for another process, which may not answer."""
        return self._searches.is_remote

    def milliseconds(self, queries: int) -> float:
        """About how long an unfiltered search for so many queries takes."""
        return self._searches.milliseconds(queries)

    def search(self, vectors: Float32, queries: Sequence[Query]) -> list[Answer]:
        """The best products for each of `vectors` [B, D]; one answer per query, in order.

        Queries with the same ranking and filters are searched together. Raises InvalidInput if the numbers of vectors
        and queries differ, and for a wrong dimension, k, diversity or history, or a number that is not finite.
        """
        return self._searches.by_vector(vectors, queries)

    def search_texts(self, vectors: Float32, queries: Sequence[Query]) -> list[Answer]:
        """Like `search`, by the cosines of text vectors [B, E] with the text vectors of the products, and by words.

        Raises InvalidInput for a query with a history, too: it would have no effect.
        """
        return self._searches.by_text(vectors, queries)

    def popular(self, queries: Sequence[Query]) -> list[Answer]:
        """The most popular products for each query; scores are shares of all events' weight.

        Diversity has no effect. Raises InvalidInput for a k or a diversity out of range.
        """
        return self._popular.answer(queries)

    def ranked(self, product_ids: Sequence[str], scores: Float32, query: Query) -> Answer:
        """The best of some products, each once, by the scores [M] that they are given, equal ones in their order.

        Products that are not known, may not be shown or do not pass the filter are left out. Diversity has no effect.
        """
        return ranked(self._filters, self._answers, product_ids, scores, query)

    def together(self, queries: Sequence[Query], carts: Sequence[Sequence[str]]) -> list[TogetherAnswer]:
        """What completes each cart of product ids, none of it; popular products while there are fewer than k.

        Diversity has no effect. Raises InvalidInput for a k out of range and for a cart that `check_cart` refuses.
        """
        return self._carts.answer(queries, carts)

    def categories_of(self, ids: Sequence[str]) -> list[str]:
        """The category of each product as it is now, "" for an unknown one."""
        return self._lookup.categories_of(ids)

    def find_skus(self, names: Sequence[str]) -> list[str]:
        """The names, those that are no product's id but an SKU as the id of its product."""
        return self._lookup.find_skus(names)

    def lookup(self, ids: Sequence[str]) -> list[Product | None]:
        """One product per id, None for an unknown one."""
        return self._lookup.products(ids)

    def own_products(self, ids: Sequence[str]) -> list[Product | None]:
        """One product per id, None for an unknown one and for one of another shard."""
        found = self.lookup(ids)
        if self._part is None:
            return found
        return [product if self.holds(one) else None for one, product in zip(ids, found, strict=True)]

    def marks(
        self, texts: Sequence[str], answers: Sequence[Answer], coded: Sequence[bool] = (False, False)
    ) -> list[Packed]:
        """Which conditions of each query, one a line of its text, are true of its products.

        `coded`: whether the codes of brands, and of categories, are asked for.

        Raises InvalidInput for a text that holds no conditions of products.
        """
        return self._filters.marks.packed(self.live.view(NO_FILTER), texts, answers, coded)

    def vectors(self, ids: Sequence[str]) -> StoredVectors:
        """The stored vectors of products, in the order of `ids`. A product that may not be shown is unknown."""
        if self._part is None:
            return self._lookup.vectors(ids)
        own = [place for place, one in enumerate(ids) if self.holds(one)]
        stored = self._lookup.vectors([ids[place] for place in own])
        vectors = np.zeros((len(ids), stored.vectors.shape[1]), np.float32)
        vectors[own] = stored.vectors
        kept = set(own)
        others = (one for place, one in enumerate(ids) if place not in kept)
        return StoredVectors(vectors, list(dict.fromkeys([*stored.unknown_product_ids, *others])))

    def unknown(self, ids: Sequence[str]) -> list[str]:
        """The products that have no vector here, each once, in the order of `ids`; hidden ones have one."""
        unknown = self._lookup.unknown(ids)
        if self._part is None:
            return unknown
        known = set(ids).difference(unknown)
        return list(dict.fromkeys(one for one in ids if one not in known or not self.holds(one)))
