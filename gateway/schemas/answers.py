"""The answers of the REST API."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from gateway.schemas.fields import Strict


class ProductOut(Strict):
    """One product of the catalogue."""

    product_id: str
    title: str
    brand: str
    category: str
    price: float | None
    currency: str
    image: str | None
    in_stock: bool


class SentenceOut(Strict):
    """A reason in Arabic and in English."""

    ar: str
    en: str


class BecauseOut(Strict):
    """A product of the history, its event of greatest weight, and its share of the score."""

    product_id: str
    event_type: str
    share: float


class ReasonOut(Strict):
    """Why one product is in the list.

    For a cart: `because` names the product of it that goes with this one best, without an `event_type`.
    For a history: the shares of `because`, `taste` (what the model adds whatever the history), `popularity` and
    `others` (the rest of the history) sum to 1; all are null if the score is not above 0. Otherwise: the `words` and
    `attributes` that the product shares with the search or the product asked for. `placed_by`: the rule of the
    shop that moved the product to its place, if one did.
    """

    sentence: SentenceOut
    because: list[BecauseOut]
    taste: float | None
    popularity: float | None
    others: float | None
    words: list[str]
    attributes: list[str]
    placed_by: str | None


class ListAnswer(Strict):
    """Products, best first (with diversity: in order of selection).

    Scores: those of the model (inner products, or the sum of several parts), or shares of popularity. `experiment` and
    `arm` are there if the list is part of an experiment.
    """

    product_ids: list[str]
    scores: list[float]
    model_version: str
    source: Literal["model", "popular", "again", "trending", "together"]
    request_id: str
    recommendation_id: str
    warnings: list[str]
    products: list[ProductOut] | None = None
    reasons: list[ReasonOut] | None = None
    experiment: str | None = None
    arm: str | None = None


class DueOut(Strict):
    """When the buyer bought the product last, on how many days, and the usual interval in days: the median, and the
    bounds of the middle half. `due_in_days`: the usual interval less the days since; below 0 it is overdue.
    """

    last_bought: str
    times: int
    usual_days: float
    usual_days_low: float
    usual_days_high: float
    due_in_days: float


class DueReasonOut(ReasonOut):
    """Why a product is in the list of /again. `due` is null for one that only a rule of the shop has brought."""

    due: DueOut | None


class AgainAnswer(ListAnswer):
    """What a buyer buys again; scores: the chance that the buyer buys the product within the version's horizon."""

    reasons: list[DueReasonOut] | None = None  # type: ignore[assignment]


class RiseOut(Strict):
    """Buyers in the window, how many its own past let expect, and the length of the window in days."""

    buyers: int
    expected: float
    window_days: float


class RiseReasonOut(ReasonOut):
    """Why a product is in the list of /trending. `rise` is null for one that only a rule of the shop has brought."""

    rise: RiseOut | None


class CountedOut(Strict):
    """When buyers were counted: the end of the window, its length, and how many windows before it count."""

    until: str
    window_days: float
    past_windows: int


class TrendingAnswer(ListAnswer):
    """Rising products; scores: how many times more buyers than expected, at least. `counted` is null if nothing was."""

    counted: CountedOut | None
    reasons: list[RiseReasonOut] | None = None  # type: ignore[assignment]


class ChangeOut(Strict):
    """What a step did to the words; `after` is empty where they became a filter."""

    step: str
    before: str
    after: str


class WordOut(Strict):
    """A word that is looked for. Words of one group are alternatives for one word of the query."""

    text: str
    weight: float
    is_number: bool
    group: int


class Understood(Strict):
    """How a search was understood: the words that are searched, and the filters that stood among them.

    `known_share`: the share of the words that the catalogue or the language knows, 0 to 1.
    """

    original: str
    text: str
    changes: list[ChangeOut]
    price_min: float | None
    price_max: float | None
    excluded_words: list[str]
    brand: str
    category: str
    words: list[WordOut]
    known_share: float


class SearchAnswer(ListAnswer):
    """Products for a search; `rewritten`: the words that were searched where a step changed them, null otherwise."""

    rewritten: str | None
    understood: Understood


class SuggestionOut(Strict):
    """A completion, and how many products have it; of a popular search (`query`), how many were chosen after it."""

    text: str
    kind: Literal["phrase", "brand", "category", "query"]
    products: int


class SuggestAnswer(Strict):
    """Completions, best first."""

    suggestions: list[SuggestionOut]
    model_version: str
    request_id: str


class StoredInteraction(Strict):
    """One interaction of a history; `timestamp`: epoch milliseconds."""

    product_id: str
    event_type: str
    timestamp: int


class HistoryAnswer(Strict):
    """The stored interactions of a buyer, newest first; empty for an unknown buyer."""

    buyer_id: str
    interactions: list[StoredInteraction]
    request_id: str


class ProductsAnswer(Strict):
    """The products in the order asked for; those that the version does not hold are named."""

    products: list[ProductOut]
    unknown_product_ids: list[str]
    request_id: str


class EncodeBuyerAnswer(Strict):
    """A buyer's vector, and how many interactions were used and stored."""

    buyer_id: str
    buyer_embedding: list[float]
    dimension: int
    model_version: str
    source: Literal["interactions"]
    used: int
    stored: int
    unknown_product_ids: list[str]
    request_id: str
    warnings: list[str]


class InteractionsAnswer(Strict):
    """`stored`: how many of the interactions are kept now; those too old to keep do not count."""

    stored: int
    unknown_product_ids: list[str]
    request_id: str
    warnings: list[str]


class MergedAnswer(Strict):
    """`merged`: how many interactions of the guest are part of the buyer's history now."""

    merged: int
    request_id: str


class ForgottenAnswer(Strict):
    """`removed`: whether there was a history to remove."""

    removed: bool
    request_id: str


class FieldProblem(Strict):
    """One refused field."""

    field: str
    value: str
    problem: str


class Problem(BaseModel):
    """RFC 9457. `field`, `value` and `errors` are present if a field was refused."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    field: str | None = None
    value: str | None = None
    errors: list[FieldProblem] | None = None


class ReadyAnswer(Strict):
    """Each dependency with "ok" or the reason why not, and what does not work. "unavailable": no products."""

    status: Literal["ready", "degraded", "unavailable"]
    dependencies: dict[str, str]
    degraded: list[str]
