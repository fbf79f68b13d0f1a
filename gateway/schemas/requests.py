"""The requests of the REST API, as pydantic models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator
from typing_extensions import TypedDict

from gateway.schemas.fields import (
    Amount,
    Count,
    Event,
    Flag,
    Id,
    Moment,
    Share,
    Strict,
    Suggested,
    Text,
    Words,
    context,
    refuse,
)
from twotower.events import Interaction

MAX_EXCLUDED = 1000
MAX_FILTER_VALUES = 100

BuyerId = Annotated[Id, Field(examples=["b7"])]
ProductId = Annotated[Id, Field(examples=["p123"])]
EventName = Annotated[Event, Field(examples=["View"])]
Timestamp = Annotated[Moment, Field(examples=["2026-01-31T12:00:00Z"])]


def _limit_rows(value: object, info: ValidationInfo) -> object:
    """Counts the rows before any of them is read."""
    limit = context(info).max_interactions
    if isinstance(value, list) and len(value) > limit:
        raise refuse(f"has {len(value)} entries, the limit is {limit}")
    return value


class InteractionIn(TypedDict):
    """One event. Times: ISO-8601 (UTC without a zone), epoch seconds or milliseconds; from 1970, five minutes ahead."""

    # a dictionary, not a model: that saves 18 us of CPU in a list of 50
    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    product_id: ProductId
    event_type: EventName
    timestamp: Timestamp


class BuyerInteractionIn(Strict):
    """One event and its buyer."""

    product_id: ProductId
    event_type: EventName
    timestamp: Timestamp
    buyer_id: BuyerId

    def interaction(self) -> Interaction:
        return Interaction(self.product_id, self.event_type, self.timestamp)


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
    include: Literal["products"] | None = Field(None, description="adds title, brand, category and price")
    category: tuple[Text, ...] = Field((), max_length=MAX_FILTER_VALUES, description="any of these categories")
    brand: tuple[Text, ...] = Field((), max_length=MAX_FILTER_VALUES, description="any of these brands")
    in_stock: Flag | None = Field(None, description="true: only products in stock; false: only products out of stock")
    price_min: Amount | None = Field(None, description="only products with a price of at least this much")
    price_max: Amount | None = Field(None, description="only products with a price of at most this much")
    sort: Literal["relevance", "price_asc", "price_desc"] = Field(
        "relevance", description="the order of the k products: by score, or by price, those without a price last"
    )
    exclude: tuple[Id, ...] = Field((), max_length=MAX_EXCLUDED, description="products to leave out")
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


class RetrieveQuery(ListQuery):
    """GET /retrieve."""

    buyer_id: Id
    exclude_seen: Flag = Field(False, description="leaves out the products in the buyer's history")
    fallback: Literal["popular", "none"] = Field("popular", description="what a buyer without known history gets")


class SimilarQuery(ListQuery):
    """GET /similar."""

    product_id: Id
    by: Literal["vector", "sequence"] = Field(
        "vector", description="vector: products like this one; sequence: products that buyers take after this one"
    )


class PopularQuery(ListQuery):
    """GET /popular."""


class SearchQuery(ListQuery):
    """GET /search."""

    q: Words
    understand: Flag = Field(True, description="false: searches the text as it is, with no step that understands it")


class HistoryQuery(Strict):
    """GET /history."""

    buyer_id: Id


class ProductsQuery(Strict):
    """GET /products."""

    id: tuple[Id, ...] = Field(min_length=1, max_length=MAX_EXCLUDED, description="products to describe")


class SuggestQuery(Strict):
    """GET /suggest."""

    q: Words
    k: Suggested = Field(10, description="how many completions")
