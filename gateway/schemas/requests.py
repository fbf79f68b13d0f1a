"""The requests of the REST API, as pydantic models."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from gateway.schemas.fields import (
    Amount,
    Buyer,
    Count,
    Event,
    Flag,
    Happening,
    Id,
    Moment,
    Session,
    Share,
    Slot,
    Strict,
    Suggested,
    Text,
    Words,
    context,
    refuse,
)
from twotower.event_log import InteractionRecord, event_id_of, owner_of
from twotower.events import Interaction

MAX_EXCLUDED = 1000
# as the retrieval service has it
MAX_CART = 100
MAX_FILTER_VALUES = 100
MAX_QUANTITY = 1_000_000
MAX_PRICE = 1e12

BuyerId = Annotated[Buyer, Field(examples=["b7"])]
ProductId = Annotated[Id, Field(examples=["p123"])]
EventName = Annotated[Event, Field(examples=["View"])]
HappeningName = Annotated[Happening, Field(examples=["View"], description="an event, or Dismiss: not interested")]
Timestamp = Annotated[Moment, Field(examples=["2026-01-31T12:00:00Z"])]


def _limit_rows(value: object, info: ValidationInfo) -> object:
    """Counts the rows before any of them is read."""
    limit = context(info).max_interactions
    if isinstance(value, list) and len(value) > limit:
        raise refuse(f"has {len(value)} entries, the limit is {limit}")
    return value


def _refuse_null(value: object) -> object:
    if value is None:
        raise refuse("must be a string")
    return value


# a field that may be left out, for another one beside it
OptionalBuyer = Annotated[BuyerId | None, BeforeValidator(_refuse_null)]
OptionalSession = Annotated[Session | None, BeforeValidator(_refuse_null)]


class BuyerOrGuest(Strict):
    """Names a buyer, or the session of a guest, or both."""

    session_id: OptionalSession = Field(None, description="the visit, of a guest or a buyer")
    buyer_id: OptionalBuyer = None

    @model_validator(mode="after")
    def _check_owner(self) -> Self:
        if self.buyer_id is None and self.session_id is None:
            raise PydanticCustomError("absent", "is missing", {"field": "buyer_id"})
        return self

    @property
    def owner(self) -> str:
        """Whose history is meant."""
        return owner_of(self.buyer_id, self.session_id)


class InteractionIn(TypedDict):
    """One event. Times: ISO-8601 (UTC without a zone), epoch seconds or milliseconds; from 1970, five minutes ahead."""

    # a dictionary, not a model: that saves 18 us of CPU in a list of 50
    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    product_id: ProductId
    event_type: EventName
    timestamp: Timestamp


class BuyerInteractionIn(BuyerOrGuest):
    """One event and its buyer or guest."""

    product_id: ProductId
    event_type: HappeningName
    timestamp: Timestamp
    event_id: Id | None = Field(None, description="names the event: it counts once, however often it is sent")
    recommendation_id: Id | None = Field(None, description="of the list in which the buyer met the product")
    query: Text | None = Field(None, description="the words that were searched")
    quantity: Annotated[int, Field(strict=True, ge=1, le=MAX_QUANTITY)] | None = None
    price: Annotated[float, Field(strict=True, ge=0, le=MAX_PRICE)] | None = Field(None, description="of one piece")

    def record(self) -> InteractionRecord:
        """What the log and the history hold of it."""
        product, event, time = self.product_id, self.event_type, self.timestamp
        return InteractionRecord(
            self.event_id or event_id_of(self.owner, product, event, time),
            self.buyer_id,
            self.session_id,
            product,
            event,
            time,
            self.recommendation_id,
            self.query,
            self.quantity,
            self.price,
        )


class MergeBody(Strict):
    """The session of a guest who has logged in."""

    session_id: Session


class EncodeBuyerBody(Strict):
    """A buyer and the interactions to encode."""

    buyer_id: BuyerId
    recent_interactions: Annotated[list[InteractionIn], BeforeValidator(_limit_rows), Field(min_length=1)]

    def interactions(self) -> list[Interaction]:
        rows = self.recent_interactions
        return [Interaction(row["product_id"], row["event_type"], row["timestamp"]) for row in rows]


class InteractionsBody(Strict):
    """Interactions of any number of buyers. All of them are stored, or none."""

    interactions: Annotated[list[BuyerInteractionIn], BeforeValidator(_limit_rows), Field(min_length=1)]


class ListQuery(Strict):
    """What every list of products can be asked for."""

    # lists of values are tuples: pydantic copies a default that is a list
    k: Count = Field(10, description="how many products")
    include: tuple[Literal["products", "reasons"], ...] = Field(
        (), max_length=2, description="products: adds title, brand, category and price; reasons: adds why each is there"
    )
    category: tuple[Text, ...] = Field((), max_length=MAX_FILTER_VALUES, description="any of these categories")
    brand: tuple[Text, ...] = Field((), max_length=MAX_FILTER_VALUES, description="any of these brands")
    in_stock: Flag | None = Field(None, description="true: only products in stock; false: only products out of stock")
    price_min: Amount | None = Field(None, description="only products with a price of at least this much")
    price_max: Amount | None = Field(None, description="only products with a price of at most this much")
    sort: Literal["relevance", "price_asc", "price_desc"] = Field(
        "relevance", description="the order of the k products: by score, or by price, those without a price last"
    )
    exclude: tuple[Id, ...] = Field((), max_length=MAX_EXCLUDED, description="products to leave out")
    slot: Slot = Field("home", description="where the shop shows the list: decides which rules act; also logged")
    diversity: Share = Field(
        0.0, description="0 ranks by score alone; 1 picks the products least similar to each other"
    )

    @field_validator("price_max")
    @classmethod
    def _check_limits(cls, value: float | None, info: ValidationInfo) -> float | None:
        low = info.data.get("price_min")
        if value is not None and low is not None and value < low:
            raise refuse(f"is below price_min, which is {low:g}")
        return value


class VisitedQuery(ListQuery):
    """A list that no history decides, but somebody sees."""

    session_id: OptionalSession = Field(None, description="the visit; for the event log")


class RetrieveQuery(ListQuery, BuyerOrGuest):
    """GET /retrieve."""

    exclude_seen: Flag = Field(False, description="leaves out the products in the buyer's history")
    fallback: Literal["popular", "none"] = Field("popular", description="what a buyer without known history gets")


class SimilarQuery(VisitedQuery):
    """GET /similar."""

    slot: Slot = Field("product", description="where the shop shows the list: decides which rules act; also logged")
    product_id: Id
    by: Literal["vector", "sequence"] = Field(
        "vector", description="vector: products like this one; sequence: products that buyers take after this one"
    )


class AgainQuery(ListQuery, BuyerOrGuest):
    """GET /again."""

    slot: Slot = Field("again", description="where the shop shows the list: decides which rules act; also logged")


class TrendingQuery(VisitedQuery):
    """GET /trending."""

    slot: Slot = Field("trending", description="where the shop shows the list: decides which rules act; also logged")


class TogetherQuery(VisitedQuery):
    """GET /together."""

    slot: Slot = Field("product", description="where the shop shows the list: decides which rules act; also logged")
    product_id: Id

    @property
    def cart(self) -> tuple[str, ...]:
        return (self.product_id,)


def _check_count(value: int, info: ValidationInfo) -> int:
    limit = context(info).max_k
    if not 1 <= value <= limit:
        raise refuse(f"must be between 1 and {limit}")
    return value


def _check_cart(value: tuple[str, ...]) -> tuple[str, ...]:
    # two pieces of one product
    return tuple(dict.fromkeys(value))


class CompleteBody(VisitedQuery):
    """POST /complete: a cart, and what GET lists are asked for, as JSON values."""

    slot: Slot = Field("cart", description="where the shop shows the list: decides which rules act; also logged")
    product_ids: Annotated[tuple[ProductId, ...], AfterValidator(_check_cart)] = Field(
        min_length=1, max_length=MAX_CART, description="the cart"
    )
    buyer_id: OptionalBuyer = Field(
        None, description="whose cart it is: products that this buyer dismissed are left out"
    )
    k: Annotated[int, Field(strict=True), AfterValidator(_check_count)] = Field(10, description="how many products")
    in_stock: Annotated[bool, Field(strict=True)] | None = Field(None, description="as in GET /together")
    price_min: Annotated[float, Field(strict=True, ge=0)] | None = Field(None, description="as in GET /together")
    price_max: Annotated[float, Field(strict=True, ge=0)] | None = Field(None, description="as in GET /together")
    diversity: Annotated[float, Field(strict=True, ge=0, le=1)] = Field(0.0, description="has no effect")

    @property
    def cart(self) -> tuple[str, ...]:
        return self.product_ids


class PopularQuery(VisitedQuery):
    """GET /popular."""


class SearchQuery(VisitedQuery):
    """GET /search."""

    slot: Slot = Field("search", description="where the shop shows the list: decides which rules act; also logged")
    q: Words
    understand: Flag = Field(True, description="false: searches the text as it is, with no step that understands it")


class HistoryQuery(Strict):
    """GET /history."""

    buyer_id: Id


class AudienceQuery(Strict):
    """GET /audience."""

    product_id: Id


class ProductsQuery(Strict):
    """GET /products."""

    id: tuple[Id, ...] = Field(min_length=1, max_length=MAX_EXCLUDED, description="products to describe")


class SuggestQuery(Strict):
    """GET /suggest."""

    q: Words
    k: Suggested = Field(10, description="how many completions")
