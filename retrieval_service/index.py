"""The products of one version: the nearest to a vector, the most popular, and their details; with filters."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval_service import conditions
from retrieval_service.again import Again, load_again
from retrieval_service.live.products import UNNAMED, LiveProducts, Trained, VersionProducts
from retrieval_service.live.view import LiveView
from retrieval_service.marks import Marks, Packed
from retrieval_service.ranking import BY_VECTOR, Ranking, Rankings
from retrieval_service.reasons import Parts, Reasons, explain
from retrieval_service.rising import RisingTable, load_trained
from retrieval_service.settings import RetrievalSettings
from retrieval_service.together import NOTHING, check_cart, extended, fill
from twotower.arrays import Float32, Int32, Int64, Mask
from twotower.artifact.catalogue import Catalogue, Product, read_product_rows
from twotower.artifact.version import Version
from twotower.caller import check_caller
from twotower.conditions import matches
from twotower.errors import CorruptArtifact, InvalidInput
from twotower.events import Interaction
from twotower.graphs.text_encoder import EncoderSpec
from twotower.live.follower import Follower
from twotower.live.records import Position
from twotower.search.complements import ComplementTable, Completion, complement_files
from twotower.search.diversity import Vectors, candidates, check_diversity, diversify
from twotower.search.fused import FusedSearch
from twotower.search.fused_score import FusedScore, fused_files
from twotower.search.ranking import Hits
from twotower.search.vector_index import VectorIndex, unit_rows
from twotower.search.word_index import Word, WordIndex, head_of, word_files
from twotower.search.word_search import WordSearch, evidence, tie_breaker
from twotower.serving.drift import DriftCounter
from twotower.serving.wire import pack_history, unpack_ids
from twotower.text.normalise import Normaliser
from twotower.text.words import MAX_LETTERS, MAX_WORDS, parts_of

MAX_K = 1000
# queries searched at once, and candidates that they may have together: a few milliseconds of work
_TOGETHER, _CANDIDATES_TOGETHER = 64, 16_384
# far above the length 1 of a tower's vector, far below the lengths whose inner products overflow
_MAX_LENGTH = 1e6
# ids looked up at once
_LOOKUP = 1000
_NONE = np.empty(0, np.int64)
_NO_SLOTS = np.empty(0, np.bool_)


class Filter(NamedTuple):
    """The products allowed: of any of the categories, of any of the brands, in that stock state, of a price within the
    limits (both included; a product without a price has none), with none of the excluded words among their indexed
    words, and of which the condition `where` is true; empty allows all.
    """

    categories: tuple[str, ...] = ()
    brands: tuple[str, ...] = ()
    in_stock: bool | None = None
    price_min: float | None = None
    price_max: float | None = None
    excluded_words: tuple[str, ...] = ()
    where: str = ""


Sort = Literal["relevance", "price_asc", "price_desc"]


class Query(NamedTuple):
    """What a caller asks for: `k` products, 1 to 1,000, none of them excluded, all of them passing the filter.

    `diversity` is 0 to 1 (see `twotower.search.diversity`). Unknown excluded ids have no effect. `history` is packed
    (see `newest_products`): with it the fused score ranks (see `twotower.search.fused_score`), without it the vector.
    `follows` names a product instead: those that buyers take after it come first. `words`: those of a search by text.
    `sort`: the order of the k products. `parts`: those of the vector; then the answer has reasons. `also`: packed ids
    of products to name if they may be in the answer.
    """

    k: int
    excluded_ids: Sequence[str] = ()
    filter: Filter = Filter()
    diversity: float = 0.0
    history: str = ""
    follows: str = ""
    words: Sequence[Word] = ()
    sort: Sort = "relevance"
    parts: Parts | None = None
    also: str = ""


class Answer(NamedTuple):
    """min(k, allowed) products, best first (with diversity, in the order chosen; sorted, by price), their scores [K].

    `unknown_filter_values`: those that no product has. `is_below_noise`: a search by text whose best product is no
    nearer than those of queries that nothing answers. `followers`: how many of the products are neighbours of the one
    in `follows`. `also`: those of the query's `also` that the filter and the exclusions leave.
    """

    product_ids: list[str]
    scores: Float32
    unknown_filter_values: list[str]
    is_below_noise: bool = False
    followers: int = 0
    reasons: Reasons | None = None
    also: Sequence[str] = ()


NO_FILTER = Filter()


class Texts(NamedTuple):
    """The texts of the products, in the rows of the other vectors: their vectors, their words, and what tells an answer
    from none: the cosine of words that nothing answers, and with words the evidence of an answer.
    """

    vectors: VectorIndex
    words: WordSearch
    noise: float
    noise_with_words: float


class TogetherAnswer(NamedTuple):
    """An Answer, and for each of its products the place in the cart of the one that it goes with best, -1 for a popular
    product; `is_known`: whether that pair was measured. `unknown_product_ids`: those of the cart.
    """

    answer: Answer
    because: list[int]
    is_known: list[bool]
    unknown_product_ids: list[str]


class StoredVectors(NamedTuple):
    """Vectors [B, D], all zero in the rows of unknown products, and the ids of these."""

    vectors: Float32
    unknown_product_ids: list[str]


@dataclasses.dataclass
class _Allowed:
    mask: Mask | None  # [N]; None: every product
    unknown: list[str]
    view: LiveView | None = None  # None: no product is live
    slots: Mask = dataclasses.field(default_factory=lambda: _NO_SLOTS)  # [M]
    # the text of a query's `also`, and those of its products that are allowed
    also: dict[str, Sequence[str]] = dataclasses.field(default_factory=dict)


class _Names:
    """The names of one attribute. A filter value matches a name itself, or else every name with the same folding."""

    def __init__(self, kind: str, names: Sequence[str], codes: NDArray[np.int32], fold: Normaliser) -> None:
        self._kind = kind
        self._codes = codes  # [N]
        self._fold = fold
        self._exact = {name: [code] for code, name in enumerate(names)}
        self._folded: dict[str, list[int]] = defaultdict(list)
        for code, name in enumerate(names):
            self._folded[fold(name)].append(code)

    def codes(self, values: Sequence[str]) -> list[int]:
        """The codes of all names that one of `values` matches."""
        return [code for value in values for code in self._exact.get(value) or self._folded.get(self._fold(value), [])]

    def has(self, name: str) -> bool:
        return name in self._exact

    def allowed(self, values: Sequence[str]) -> _Allowed:
        """Allows products of any of `values`: all products if there are no values, none if all values are unknown."""
        if not values:
            return _Allowed(None, [])
        chosen = np.zeros(len(self._exact), np.bool_)
        unknown = []
        for value in dict.fromkeys(values):
            codes = self._exact.get(value) or self._folded.get(self._fold(value), [])
            chosen[codes] = True
            if not codes:
                unknown.append(f"{self._kind}={value}")
        return _Allowed(chosen[self._codes], unknown)


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
    ) -> None:
        """Raises CorruptArtifact if they are of different numbers of products."""
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
        fold = Normaliser.profile("full")
        self._index = index
        self._rankings = Rankings(index, score, rows)
        self._texts = texts
        self._complements = complements
        self.best_scores: DriftCounter | None = None
        self._rows = rows
        self._ids = np.array(list(rows), np.object_)
        self._catalogue = catalogue
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
        )
        self._categories = _Names("category", columns.categories, columns.category, fold)
        self._brands = _Names("brand", columns.brands, columns.brand, fold)
        names = {"brand": self._brands, "category": self._categories}
        self._columns = conditions.VersionColumns(
            rows,
            lambda field, values: names[field].codes(values),
            {"brand": columns.brand, "category": columns.category},
            columns.price,
            columns.in_stock,
            columns.first_seen,
        )
        self._marks = Marks(self._columns, (columns.brands, columns.categories), self._is_name)
        self._in_stock = columns.in_stock
        self._price = columns.price
        self._popularity = columns.popularity.astype(np.float32)
        # a version that lists them sets both
        self.again = Again(None, None, rows, columns.categories)
        self.rising = RisingTable([], np.empty((3, 0), np.float32), None)
        self._by_popularity: Int64 = np.lexsort((np.arange(index.size), -columns.popularity))

    def milliseconds(self, queries: int) -> float:
        """About how long an unfiltered search for so many queries takes."""
        return self._rankings.fused.milliseconds(queries)

    def search(self, vectors: Float32, queries: Sequence[Query]) -> list[Answer]:
        """The best products for each of `vectors` [B, D]; one answer per query, in order.

        Queries that rank alike under equal filters are searched together. Raises InvalidInput if the numbers of vectors
        and queries differ, and for a wrong dimension, k, diversity or history, or a number that is not finite.
        """
        _check(self._index, vectors, queries)
        rankings = list[Ranking]()
        for place, one in enumerate(queries):
            check_caller()
            if one.words:
                raise InvalidInput(
                    f"queries[{place}].words", one.words[0].text, "has an effect on a search by text alone"
                )
            if one.parts is not None and not one.history:
                raise InvalidInput(
                    f"queries[{place}].parts", len(one.parts.data), "have an effect with a history alone"
                )
            rankings.append(self._rankings.read(one.history, one.follows, f"queries[{place}]"))
        return self._search(self._index, vectors, queries, rankings)

    def search_texts(self, vectors: Float32, queries: Sequence[Query]) -> list[Answer]:
        """Like `search`, by the cosines of text vectors [B, E] with the text vectors of the products, and by words.

        Raises InvalidInput for a query with a history, too: it would have no effect.
        """
        _check(self._texts.vectors, vectors, queries)
        for place, query in enumerate(queries):
            for field, value in (("history", query.history), ("follows", query.follows)):
                if value:
                    raise InvalidInput(f"queries[{place}].{field}", value, "has no effect on a search by text")
        rankings = [BY_VECTOR] * len(queries)
        return self._search(self._texts.vectors, unit_rows(vectors), queries, rankings)

    def _search(
        self, index: VectorIndex, vectors: Float32, queries: Sequence[Query], rankings: Sequence[Ranking]
    ) -> list[Answer]:
        together: dict[tuple[Filter, FusedSearch | None, bool], list[int]] = defaultdict(list)
        for place, query in enumerate(queries):
            together[query.filter, rankings[place].fused, bool(query.words)].append(place)
        noise = self._texts.noise if index is self._texts.vectors else -math.inf
        answers: dict[int, Answer] = {}
        for (wanted, _, _), places in together.items():
            allowed = self._filter(wanted)
            chosen_from = self._vectors_of(index, allowed.view)
            for part in _parts(places, queries):
                check_caller()
                here = [queries[place] for place in part]
                asked = vectors if len(part) == len(queries) else vectors[part]
                found = self._find(index, asked, here, [rankings[place] for place in part], allowed)
                for place, query, hits in zip(part, here, found, strict=True):
                    chosen = diversify(hits, chosen_from, query.k, query.diversity)
                    chosen = self._sorted(chosen, query.sort, allowed.view)
                    below = bool(len(hits.scores)) and self._is_below(query, vectors[place], hits, noise, allowed.view)
                    rows = chosen.rows if allowed.view is None else allowed.view.trained_rows(chosen.rows)
                    followers = _count(rows, rankings[place].followers)
                    answer = self._answer(chosen, allowed, below, followers)
                    if query.parts is not None:
                        reasons = self._explain(query.parts, rankings[place], chosen.rows, chosen_from, allowed.view)
                        answer = answer._replace(reasons=reasons)
                    answers[place] = self._with_also(answer, query, allowed)
        return [answers[place] for place in range(len(queries))]

    def _find(
        self,
        index: VectorIndex,
        vectors: Float32,
        queries: Sequence[Query],
        rankings: Sequence[Ranking],
        allowed: _Allowed,
    ) -> list[Hits]:
        """The best products of each query; queries that rank alike. Rows from N on are live products."""
        ks, excluded = [candidates(one.k, one.diversity) for one in queries], [self._excluded(one) for one in queries]
        view, fused, has_words = allowed.view, rankings[0].fused, bool(queries[0].words)
        words, histories = [one.words for one in queries], [one.history for one in rankings]

        def find(places: Sequence[int], ks: Sequence[int], mask: Mask | None) -> list[Hits]:
            asked = vectors if len(places) == len(vectors) else vectors[list(places)]
            without = [excluded[place] for place in places]
            if has_words:
                return self._texts.words.search(asked, [words[place] for place in places], ks, without, mask)
            if fused is None:
                return index.search(asked, ks, without, mask)
            return fused.search(asked, [histories[place] for place in places], ks, without, mask)

        if view is None:
            return find(range(len(queries)), ks, allowed.mask)
        found = view.find(find, ks, excluded, allowed.mask)
        if not view.count:
            return found
        if has_words:
            scores = view.by_words(vectors, words)
        elif fused is None:
            scores = view.by_vector(vectors, texts=index is self._texts.vectors)
        else:
            scores = view.by_history(vectors, histories, fused.score)
        own = [view.slots_of(one.excluded_ids) for one in queries]
        return [
            view.unite(hits, row, allowed.slots, without, k)
            for hits, row, without, k in zip(found, scores, own, ks, strict=True)
        ]

    def _is_below(self, query: Query, vector: Float32, hits: Hits, noise: float, view: LiveView | None) -> bool:
        """Whether the best product is no answer to the query."""
        if not query.words:
            return float(hits.scores[0]) <= noise
        row, limit, texts = int(hits.rows[0]), self._texts.noise_with_words, self._texts
        is_live = row >= self._index.size and view is not None
        own = view.text(row) if view is not None and is_live else texts.vectors.vectors[row]
        cosine = float(own @ vector)
        # most answers need no second look at their words
        if cosine > limit:
            return False
        head = head_of(query.words)
        held = view.held(head, row) if view is not None and is_live else texts.words.words.held(head, row)
        return evidence(cosine, held) <= limit

    def _explain(
        self, parts: Parts, ranking: Ranking, rows: Int64, chosen_from: Vectors, view: LiveView | None
    ) -> Reasons:
        trained = rows if view is None else view.trained_rows(rows)
        vectors = np.array([chosen_from.vector(row) for row in rows.tolist()], np.float32)
        vectors = vectors.reshape(len(rows), self._index.dimension)
        return explain(parts, ranking.history, self._rankings.score, self._ids, trained, vectors)

    def _vectors_of(self, index: VectorIndex, view: LiveView | None) -> Vectors:
        return index if view is None else view.vectors(index.vectors, texts=index is self._texts.vectors)

    def _sorted(self, hits: Hits, sort: Sort, view: LiveView | None = None) -> Hits:
        """The same products by price, equal prices in the order they have; those without a price come last."""
        if sort == "relevance":
            return hits
        prices = self._price[hits.rows] if view is None else view.prices(hits.rows, self._price)
        # NaN sorts last
        order = np.argsort(prices if sort == "price_asc" else -prices, kind="stable")
        return Hits(hits.rows[order], hits.scores[order])

    def popular(self, queries: Sequence[Query]) -> list[Answer]:
        """The most popular products for each query; scores are shares of all events' weight.

        Diversity has no effect. Raises InvalidInput for a k or a diversity out of range.
        """
        _check_queries(queries)
        answers = []
        for query, allowed in zip(queries, self._allowed(queries), strict=True):
            check_caller()
            answers.append(self._with_also(self._popular(query, allowed), query, allowed))
        return answers

    def _with_also(self, answer: Answer, query: Query, allowed: _Allowed) -> Answer:
        if not query.also:
            return answer
        if query.also not in allowed.also:
            # queries of one filter mostly name the same products
            allowed.also[query.also] = [one for one in unpack_ids(query.also) if self._may_show(one, allowed)]
        named = allowed.also[query.also]
        if query.excluded_ids:
            excluded = set(query.excluded_ids)
            named = [one for one in named if one not in excluded]
        return answer._replace(also=named)

    def _may_show(self, product_id: str, allowed: _Allowed) -> bool:
        view, row = allowed.view, self._rows.get(product_id)
        if view is not None:
            slot = view.all_slots.by_id.get(product_id)
            if slot is not None:
                return slot < view.count and bool(allowed.slots[slot])
            if self.live.is_hidden(product_id):
                return False
        return row is not None and (allowed.mask is None or bool(allowed.mask[row]))

    def _popular(self, query: Query, allowed: _Allowed) -> Answer:
        view, rows = allowed.view, self._by_popularity
        mask = allowed.mask if view is None else view.trained_mask(allowed.mask, allowed.slots)
        if mask is not None:
            rows = rows[mask[rows]]
        excluded = self._excluded(query)
        # k are left even if each excluded product is among these
        rows = rows[: query.k + len(excluded)]
        rows = rows[~np.isin(rows, excluded)][: query.k]
        chosen = Hits(rows, self._popularity[rows])
        if view is None:
            return self._answer(self._sorted(chosen, query.sort), allowed)
        chosen = view.with_new(chosen, query.k, query.excluded_ids, allowed.slots)
        return self._answer(self._sorted(chosen, query.sort, view), allowed)

    def ranked(self, product_ids: Sequence[str], scores: Float32, query: Query) -> Answer:
        """The best of some products, each once, by the scores [M] that they are given, equal ones in their order.

        Products that are not known, may not be shown or do not pass the filter are left out. Diversity has no effect.
        """
        _check_queries([query])
        allowed, excluded = self._filter(query.filter), set(query.excluded_ids)
        rows = np.array([self._shown_row(one, allowed) if one not in excluded else -1 for one in product_ids], np.int64)
        order = np.argsort(-scores, kind="stable")
        order = order[rows[order] >= 0][: query.k]
        chosen = Hits(rows[order], scores[order])
        return self._answer(self._sorted(chosen, query.sort, allowed.view), allowed)

    def _shown_row(self, product_id: str, allowed: _Allowed) -> int:
        """The row of a product, or N + its slot, if it may be shown and the filter allows it; else -1."""
        view = allowed.view
        if view is not None and len(slots := view.slots_of([product_id])):
            slot = int(slots[0])
            return len(self._rows) + slot if slot < view.count and allowed.slots[slot] else -1
        row = self._rows.get(product_id, -1)
        if row < 0 or (allowed.mask is not None and not allowed.mask[row]):
            return -1
        return -1 if view is not None and view.is_hidden(row) else row

    def categories_of(self, ids: Sequence[str]) -> list[str]:
        """The category of each product as it is now, "" for an unknown one."""
        return [product.category if product else "" for product in self.lookup(ids)]

    def together(self, queries: Sequence[Query], carts: Sequence[Sequence[str]]) -> list[TogetherAnswer]:
        """What completes each cart of product ids, none of it; popular products while there are fewer than k.

        Diversity has no effect. Raises InvalidInput for a k out of range and for a cart that `check_cart` refuses.
        """
        _check_queries(queries)
        for place, cart in enumerate(carts):
            check_cart(cart, f"queries[{place}].product_ids")
        answers = []
        for query, cart, allowed in zip(queries, carts, self._allowed(queries), strict=True):
            check_caller()
            answers.append(self._together(query, cart, allowed))
        return answers

    def _together(self, query: Query, cart: Sequence[str], allowed: _Allowed) -> TogetherAnswer:
        view = allowed.view
        unknown = [one for one in cart if self.live.is_hidden(one) or not self._is_known(one)]
        placed = [
            (place, self._rows[one]) for place, one in enumerate(cart) if one in self._rows and one not in unknown
        ]
        found = NOTHING
        if placed and self._complements is not None:
            found = self._complements.complete([row for _, row in placed])
            found = found._replace(because=np.array([place for place, _ in placed], np.int64)[found.because])
        mask = allowed.mask if view is None else view.trained_mask(allowed.mask, allowed.slots)
        without = query._replace(excluded_ids=[*query.excluded_ids, *cart])
        found = fill(found, mask, self._excluded(without), self._by_popularity, query.k)
        hits = Hits(found.rows, found.scores)
        if view is not None:
            # rows that a slot stands in for keep their places; new products come behind
            hits = view.with_new(hits, query.k, without.excluded_ids, allowed.slots)
            found = extended(found, hits.rows[len(found.rows) :])._replace(rows=hits.rows)
        ordered = self._sorted(hits, query.sort, view)
        return _completed(self._answer(ordered, allowed), ordered, found, unknown)

    def _is_known(self, product_id: str) -> bool:
        return product_id in self._rows or self.live.knows(product_id)

    def find_skus(self, names: Sequence[str]) -> list[str]:
        """The names, those that are no product's id but an SKU as the id of its product."""
        return [name if name in self._rows else self._catalogue.find_sku(name) or name for name in names]

    def lookup(self, ids: Sequence[str]) -> list[Product | None]:
        """One product per id, None for an unknown one."""
        found = list[Product | None]()
        for start in range(0, len(ids), _LOOKUP):
            check_caller()
            found += self._catalogue.lookup(ids[start : start + _LOOKUP])
        return [self.live.overlay(one, product) for one, product in zip(ids, found, strict=True)]

    def marks(
        self, texts: Sequence[str], answers: Sequence[Sequence[str]], coded: Sequence[bool] = (False, False)
    ) -> list[Packed]:
        """Which conditions of each query, one a line of its text, are true of its products.

        `coded`: whether the codes of brands, and of categories, are asked for.

        Raises InvalidInput for a text that holds no conditions of products.
        """
        return self._marks.packed(self.live.view(NO_FILTER), texts, answers, coded)

    def vectors(self, ids: Sequence[str]) -> StoredVectors:
        """The stored vectors of products, in the order of `ids`. A product that may not be shown is unknown."""
        vectors, unknown = np.zeros((len(ids), self._index.dimension), np.float32), dict[str, None]()
        for place, one in enumerate(ids):
            row, live = self._rows.get(one), self.live.vector(one)
            if live is not None:
                vectors[place] = live
            elif row is not None and not self.live.is_hidden(one):
                vectors[place] = self._index.vectors[row]
            else:
                unknown[one] = None
        return StoredVectors(vectors, list(unknown))

    def unknown(self, ids: Sequence[str]) -> list[str]:
        """The products that have no vector here, each once, in the order of `ids`; hidden ones have one."""
        return list(dict.fromkeys(one for one in ids if one not in self._rows and not self.live.knows(one)))

    def _allowed(self, queries: Sequence[Query]) -> list[_Allowed]:
        # the queries of a batch often share a filter
        by_filter = dict[Filter, _Allowed]()
        for query in queries:
            if query.filter not in by_filter:
                check_caller()
                by_filter[query.filter] = self._filter(query.filter)
        return [by_filter[query.filter] for query in queries]

    def _filter(self, wanted: Filter) -> _Allowed:
        trained, view = self._filter_trained(wanted), self.live.view(wanted)
        if view is None:
            return trained
        unknown = view.still_unknown(trained.unknown) if trained.unknown else []
        slots = view.allowed(self._is_name)
        if wanted.where:
            condition = conditions.read_condition(wanted.where, "filter.where")
            slots &= matches(condition, self._slot_table(view, np.arange(view.count)))
        return _Allowed(trained.mask, unknown, view, slots)

    def _slot_table(self, view: LiveView, slots: Int64) -> conditions.SlotTable:
        return conditions.SlotTable(view.all_slots, slots, self._is_name, self._columns.first_seen)

    def _is_name(self, kind: str, value: str) -> bool:
        return (self._brands if kind == "brand" else self._categories).has(value)

    def _filter_trained(self, wanted: Filter) -> _Allowed:
        if wanted == NO_FILTER:
            return _Allowed(None, [])
        categories, brands = self._categories.allowed(wanted.categories), self._brands.allowed(wanted.brands)
        stock = None if wanted.in_stock is None else self._in_stock == wanted.in_stock
        # a comparison with NaN is false: a product without a price is within no limits
        above = None if wanted.price_min is None else self._price >= wanted.price_min
        below = None if wanted.price_max is None else self._price <= wanted.price_max
        without = self._without(wanted.excluded_words) if wanted.excluded_words else None
        where = None
        if wanted.where:
            condition = conditions.read_condition(wanted.where, "filter.where")
            where = matches(condition, self._columns.at(None))
        parts = (categories.mask, brands.mask, stock, above, below, without, where)
        masks = [mask for mask in parts if mask is not None]
        return _Allowed(
            np.logical_and.reduce(masks) if masks else None,
            categories.unknown + brands.unknown,
        )

    def _without(self, words: Sequence[str]) -> Mask:
        allowed = np.ones(self._index.size, np.bool_)
        for word in words:
            allowed[self._texts.words.words.rows_of(word)] = False
        return allowed

    def _excluded(self, query: Query) -> Int64:
        if not query.excluded_ids:
            return _NONE
        return np.array([row for row in map(self._rows.get, query.excluded_ids) if row is not None], np.int64)

    def _answer(self, hits: Hits, allowed: _Allowed, is_below_noise: bool = False, followers: int = 0) -> Answer:
        view, rows = allowed.view, hits.rows
        ids = self._ids[rows].tolist() if view is None else view.ids(rows, self._ids)
        return Answer(ids, hits.scores, allowed.unknown, is_below_noise, followers)


def _parts(places: Sequence[int], queries: Sequence[Query]) -> Iterator[Sequence[int]]:
    """Cuts the places of some queries into parts that are searched at once."""
    most = max(candidates(queries[place].k, queries[place].diversity) for place in places)
    size = max(1, min(_TOGETHER, _CANDIDATES_TOGETHER // most))
    for start in range(0, len(places), size):
        yield places[start : start + size]


def _completed(answer: Answer, ordered: Hits, found: Completion, unknown: list[str]) -> TogetherAnswer:
    place_of = {row: place for place, row in enumerate(found.rows.tolist())}
    places = [place_of[row] for row in ordered.rows.tolist()]
    return TogetherAnswer(answer, found.because[places].tolist(), found.is_known[places].tolist(), unknown)


def _count(rows: Int64, wanted: Int32) -> int:
    # most queries follow no product, and even an empty `np.isin` costs some microseconds
    return int(np.isin(rows, wanted).sum()) if len(wanted) else 0


def _check(index: VectorIndex, vectors: Float32, queries: Sequence[Query]) -> None:
    if len(vectors) != len(queries):
        raise InvalidInput("queries", len(queries), f"queries for {len(vectors)} vectors")
    if vectors.shape[1] != index.dimension:
        raise InvalidInput("vectors.dimension", vectors.shape[1], f"the index has {index.dimension} dimensions")
    squares = np.einsum("bd,bd->b", vectors, vectors, dtype=np.float64).tolist()  # [B]
    for row, square in enumerate(squares):
        if not square <= _MAX_LENGTH**2:
            raise InvalidInput(
                "vectors.data", math.sqrt(square), f"is the length of vector {row}, the limit is {_MAX_LENGTH:.0e}"
            )
    _check_queries(queries)


def _check_queries(queries: Sequence[Query]) -> None:
    for query in queries:
        if not 1 <= query.k <= MAX_K:
            raise InvalidInput("k", query.k, f"must be 1 to {MAX_K}")
        check_diversity(query.diversity)
        _check_words(query)
        for field, limit in (("price_min", query.filter.price_min), ("price_max", query.filter.price_max)):
            if limit is not None and not math.isfinite(limit):
                raise InvalidInput(f"filter.{field}", limit, "must be a finite number")


def _check_words(query: Query) -> None:
    for field, count in (("words", len(query.words)), ("filter.excluded_words", len(query.filter.excluded_words))):
        if count > MAX_WORDS:
            raise InvalidInput(field, count, f"words are more than {MAX_WORDS}")
    texts = [("words.text", word.text) for word in query.words]
    for field, text in (*texts, *(("filter.excluded_words", text) for text in query.filter.excluded_words)):
        if len(text) > MAX_LETTERS:
            raise InvalidInput(field, text[:MAX_LETTERS], f"has more than {MAX_LETTERS} characters")
        if not parts_of(text):
            raise InvalidInput(field, text, "must hold a letter or a digit")
    for word in query.words:
        if not 0 < word.weight <= 1:
            raise InvalidInput("words.weight", word.weight, "must be above 0 and at most 1")


def load(version: Version, settings: RetrievalSettings, follower: Follower | None = None) -> ProductIndex:
    """Opens the products of a version, checks its files against the manifest, and runs each kind of search once.

    With a `follower`, the products have all changes of the live catalogue, and get further ones.
    Raises CorruptArtifact if a file does not fit.
    """
    files, manifest = version.layout, version.manifest
    version.check(files.index, files.embeddings, files.ids, files.products, *fused_files(files, manifest.fusion))
    if version.nearest:
        version.check(version.nearest)
    index = VectorIndex.load(files.index, files.embeddings, manifest.index, nearest=version.nearest)
    if (index.size, index.dimension) != (manifest.products, manifest.dimension):
        raise CorruptArtifact(
            f"{files.index} is {index.size} x {index.dimension}, the manifest says "
            f"{manifest.products} x {manifest.dimension}"
        )
    rows, catalogue = read_product_rows(files.ids), Catalogue(files.products)
    trained = Trained(version.name, Position.of(manifest), _reads_descriptions(version))
    score, texts, complements = FusedScore.load(version), _texts(version, catalogue), _complements(version)
    products = ProductIndex(index, score, texts, rows, catalogue, trained, complements)
    columns = catalogue.columns()
    products.again = load_again(version, rows, columns.categories)
    products.rising = load_trained(version, rows, np.array(list(rows), np.object_))
    products.best_scores = DriftCounter(manifest, "best_score")
    _warm(version, products, np.array(index.vectors[:1]))
    if follower is not None:
        follower.attach(products.live)
    return products


def _reads_descriptions(version: Version) -> bool:
    if version.encoder.spec.name not in version.manifest.encoder_files:
        return True
    version.check(version.encoder.spec)
    return EncoderSpec.model_validate_json(version.encoder.spec.read_bytes()).template != "{title}"


def _texts(version: Version, catalogue: Catalogue) -> Texts:
    files, manifest = version.layout, version.manifest
    version.check(files.text_index, files.text_embeddings, *word_files(files))
    index = VectorIndex.load(files.text_index, files.text_embeddings, manifest.text_search.index)
    if index.dimension != manifest.text_dimension:
        raise CorruptArtifact(
            f"{files.text_index} has {index.dimension} dimensions, the manifest says {manifest.text_dimension}"
        )
    weights, columns = manifest.text_search.words, catalogue.columns()
    ties = tie_breaker(weights, columns.popularity, columns.in_stock)
    words = WordSearch(index, WordIndex.load(files, manifest.products), weights, ties)
    found = manifest.text_search
    return Texts(index, words, found.noise, found.noise_with_words)


def _complements(version: Version) -> ComplementTable | None:
    if not version.has_complements:
        return None
    version.check(*complement_files(version.layout))
    table = ComplementTable.load(version.layout)
    table.check(version.manifest.products)
    return table


def _warm(version: Version, products: ProductIndex, vectors: Float32) -> None:
    """Runs one search of each kind, and checks that the catalogue knows the most popular product."""
    plain, filtered = Query(10), Query(10, filter=Filter(in_stock=True))
    first = products.popular([plain])[0].product_ids[:1]
    event = next(iter(version.manifest.event_weights))
    history = Query(10, history=pack_history([Interaction(one, event, 0) for one in first]))
    for query in (plain, filtered, history):
        products.search(vectors, [query])
        products.search(vectors.repeat(2, axis=0), [query, query])
    if any(product is None for product in products.lookup(first)):
        raise CorruptArtifact(f"{version.layout.products} lacks {first[0]!r}, which product_ids.npy lists")
