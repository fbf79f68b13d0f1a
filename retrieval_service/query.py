"""What a caller asks of the products of a version, and the answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from retrieval_service.reasons import Parts, Reasons
from twotower.arrays import Float32, Float64, Int64, Mask
from twotower.errors import InvalidInput
from twotower.search.diversity import check_diversity
from twotower.search.word_index import Word
from twotower.text.words import MAX_LETTERS, MAX_WORDS, parts_of

MAX_K = 1000


class Filter(NamedTuple):
    """The products allowed: of any of the categories, of any of the brands, in that stock state, of a price within the
    limits (both included; a product without a price has none), with none of the excluded words among their indexed
    words, and fulfil the condition `where`; empty allows all.
    """

    categories: tuple[str, ...] = ()
    brands: tuple[str, ...] = ()
    in_stock: bool | None = None
    price_min: float | None = None
    price_max: float | None = None
    excluded_words: tuple[str, ...] = ()
    where: str = ""


NO_FILTER = Filter()
Sort = Literal["relevance", "price_asc", "price_desc"]


class Query(NamedTuple):
    """What a caller asks for: `k` products, 1 to 1,000, none of them excluded, all of them passing the filter.

    `diversity` is 0 to 1 (see `twotower.search.diversity`). Unknown excluded ids have no effect. `history` is packed
    (see `newest_products`): with it the fused score ranks (see `twotower.search.fused_score`), without it the vector.
    `follows` names a product instead: those that buyers take after it come first. `words`: those of a search by text.
    `sort`: the order of the k products. `parts`: those of the vector; then the answer has reasons. `also`: packed ids
    of products to name if they may be in the answer. `for_merge`: the answer has what merging it with others needs.
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
    for_merge: bool = False


class Merge(NamedTuple):
    """What merging an answer with those of other shards needs; see `Hits.orders` in protos/retrieval.proto.

    `orders` [K]: of equal scores the lower number comes first. `prices` [K] and `is_follower` [K] if the query sorts or
    follows a product. `vectors` [K, D]: with diversity. `named`: the id of the named product, if this shard holds it.
    """

    orders: Int64
    prices: Float64 | None = None
    is_follower: Mask | None = None
    vectors: Float32 | None = None
    named: str = ""


class Answer(NamedTuple):
    """min(k, allowed) products, best first (with diversity, in the order chosen; sorted, by price), their scores [K].

    `unknown_filter_values`: those that no product has. `is_below_noise`: a search by text whose best product is no
    nearer than those of queries that nothing answers. `followers`: how many of the products are neighbours of the one
    in `follows`. `also`: those of the query's `also` that the filter and the exclusions leave. `merge`: set for a query
    with `for_merge`; then the products are all candidates, best first. `rows` [K]: those of the products, from N on of
    live ones, below 0 where nobody has looked.
    """

    product_ids: list[str]
    scores: Float32
    rows: Int64
    unknown_filter_values: list[str]
    is_below_noise: bool = False
    followers: int = 0
    reasons: Reasons | None = None
    also: Sequence[str] = ()
    merge: Merge | None = None


def check_queries(queries: Sequence[Query]) -> None:
    """Raises InvalidInput for a k, a diversity, words or a limit of prices out of range."""
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
