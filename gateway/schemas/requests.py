"""The requests of the REST API, as pydantic models."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetPydanticSchema,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
)
from pydantic_core import CoreSchema, core_schema

from gateway.schemas.fields import Count, Event, Flag, Id, Moment, Share, Strict, Text, Words, context, refuse
from twotower.errors import InvalidInput
from twotower.events import EventSchema, Interaction, check_id, check_time, parse_time

MAX_EXCLUDED = 1000


MAX_FILTER_VALUES = 100


def _interactions(value: object, info: ValidationInfo) -> object:
    limit = context(info).max_interactions
    if isinstance(value, list) and len(value) > limit:
        raise refuse(f"has {len(value)} entries, the limit is {limit}")
    return value


class InteractionIn(Strict):
    """One event: ISO-8601 (no zone means UTC) or epoch seconds or milliseconds, from 1970 to a day ahead."""

    product_id: Id = Field(examples=["p123"])
    event_type: Event = Field(examples=["View"])
    timestamp: Moment = Field(examples=["2026-01-31T12:00:00Z"])

    def interaction(self) -> Interaction:
        return Interaction(self.product_id, self.event_type, self.timestamp)


class BuyerInteractionIn(InteractionIn):
    """One event and the buyer whose it is."""

    buyer_id: Id = Field(examples=["b7"])


def _checked(rows: object, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> list[Interaction]:
    _interactions(rows, info)
    found = _faultless(rows, context(info).events) if isinstance(rows, list) and rows else None
    return [one.interaction() for one in handler(rows)] if found is None else found


def _faultless(rows: Sequence[object], events: EventSchema) -> list[Interaction] | None:
    """All interactions of a list, in little more than half of the time that the model takes; None where one of them has
    a fault, for the model to name."""
    now, names = int(time.time() * 1000), set(InteractionIn.model_fields)
    found = []
    for row in rows:
        if type(row) is not dict or row.keys() != names:
            return None
        product, event, moment = row["product_id"], row["event_type"], row["timestamp"]
        if type(product) is not str or type(event) is not str or type(moment) not in (str, int, float):
            return None
        try:
            time_ms = parse_time(moment if type(moment) is str else repr(moment))
            found.append(Interaction(check_id(product, ""), events.check(event), check_time(time_ms, now_ms=now)))
        except InvalidInput:
            return None
    return found


def _interactions_schema(source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
    rows = handler.generate_schema(Annotated[list[InteractionIn], Field(min_length=1)])
    return core_schema.with_info_wrap_validator_function(_checked, rows)


class EncodeBuyerBody(Strict):
    """A buyer and the interactions that the vector is to be made of, each an `InteractionIn`."""

    buyer_id: Id = Field(examples=["b7"])
    recent_interactions: Annotated[list[Interaction], GetPydanticSchema(_interactions_schema)]


class InteractionsBody(Strict):
    """Interactions of any number of buyers, kept all or none."""

    interactions: Annotated[list[BuyerInteractionIn], BeforeValidator(_interactions), Field(min_length=1)]


class ListQuery(Strict):
    """What every list of products can be asked for. Tuples, for pydantic copies a default that is a list."""

    k: Count = Field(10, description="how many products")
    include: Literal["products"] | None = Field(None, description="adds title, brand, category and price")
    category: tuple[Text, ...] = Field((), max_length=MAX_FILTER_VALUES, description="any of these categories")
    brand: tuple[Text, ...] = Field((), max_length=MAX_FILTER_VALUES, description="any of these brands")
    in_stock: Flag | None = Field(None, description="only products in stock, or only those out of stock")
    exclude: tuple[Id, ...] = Field((), max_length=MAX_EXCLUDED, description="products that may not be in the answer")
    diversity: Share = Field(0.0, description="how unlike one another: 0 is best first, 1 what is least alike")


class RetrieveQuery(ListQuery):
    """GET /retrieve."""

    buyer_id: Id
    exclude_seen: Flag = Field(False, description="leave out the products of the buyer's history")
    fallback: Literal["popular", "none"] = Field("popular", description="what a buyer without known history gets")


class SimilarQuery(ListQuery):
    """GET /similar."""

    product_id: Id


class SearchQuery(ListQuery):
    """GET /search."""

    q: Words
