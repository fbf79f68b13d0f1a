"""What requests and answers look like, and what makes a value one that can be used."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetPydanticSchema,
    PlainValidator,
    StringConstraints,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from twotower.errors import InvalidInput
from twotower.events import EventSchema, Interaction, check_id, check_time, parse_time
from twotower.text.normalise import searched_words

MAX_TEXT = 500
MAX_EXCLUDED = 1000
MAX_FILTER_VALUES = 100
_WHOLE = re.compile(r"-?[0-9]+")
_DECIMAL = re.compile(r"[0-9]{0,20}\.?[0-9]{1,20}")


class Context(NamedTuple):
    """What a request is checked against beside its own shape."""

    events: EventSchema
    max_k: int
    max_interactions: int


def _refuse(problem: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{problem}", {"problem": problem})


def _id(value: str) -> str:
    try:
        return check_id(value, "")
    except InvalidInput as error:
        raise _refuse(error.problem) from None


def _text(value: str) -> str:
    if not value.strip():
        raise _refuse("must not be empty")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise _refuse("must not contain control characters")
    if len(value) > MAX_TEXT:
        raise _refuse(f"is {len(value)} characters long, the limit is {MAX_TEXT}")
    return value


def _words(value: str) -> str:
    found = searched_words(_text(value))
    if not found:
        raise _refuse("must hold a letter or a digit")
    return found


def _event(value: str, info: ValidationInfo) -> str:
    try:
        return _context(info).events.check(value)
    except InvalidInput as error:
        raise _refuse(error.problem) from None


def _moment(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise _refuse("must be an ISO-8601 time or epoch seconds or milliseconds")
    try:
        return check_time(parse_time(value if isinstance(value, str) else repr(value)))
    except InvalidInput as error:
        raise _refuse(error.problem) from None


def _interactions(value: object, info: ValidationInfo) -> object:
    limit = _context(info).max_interactions
    if isinstance(value, list) and len(value) > limit:
        raise _refuse(f"has {len(value)} entries, the limit is {limit}")
    return value


def _count(value: object, info: ValidationInfo) -> int:
    limit = _context(info).max_k
    if not isinstance(value, str) or not _WHOLE.fullmatch(value):
        raise _refuse("must be a whole number")
    digits = value.lstrip("0")
    # the length first: of some thousands of digits Python makes no number
    if value.startswith("-") or not digits or len(digits) > len(str(limit)) or (count := int(digits)) > limit:
        raise _refuse(f"must be between 1 and {limit}")
    return count


def _share(value: object) -> float:
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value) or float(value) > 1:
        raise _refuse("must be a number from 0 to 1")
    return float(value)


def _flag(value: object) -> bool:
    flags = {"true": True, "1": True, "false": False, "0": False}
    if not isinstance(value, str) or value.lower() not in flags:
        raise _refuse("must be true or false")
    return flags[value.lower()]


def _context(info: ValidationInfo) -> Context:
    if not isinstance(info.context, Context):
        raise TypeError("a request model needs its Context")
    return info.context


Id = Annotated[str, StringConstraints(strict=True), AfterValidator(_id)]
Text = Annotated[str, StringConstraints(strict=True), AfterValidator(_text)]
# as it was typed, less the signs around its words
Words = Annotated[str, StringConstraints(strict=True), AfterValidator(_words)]
Event = Annotated[str, StringConstraints(strict=True), AfterValidator(_event)]
_TIME = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}]}
Moment = Annotated[int, PlainValidator(_moment), WithJsonSchema(_TIME)]
Count = Annotated[
    int, PlainValidator(_count), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 1000, "default": 10})
]
Share = Annotated[
    float, PlainValidator(_share), WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1, "default": 0})
]
Flag = Annotated[bool, PlainValidator(_flag), WithJsonSchema({"type": "boolean"})]


class Strict(BaseModel):
    """A part of a request or an answer: nothing but the fields named."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


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
    found = _faultless(rows, _context(info).events) if isinstance(rows, list) and rows else None
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


class ProductOut(Strict):
    """What is known of one product."""

    product_id: str
    title: str
    brand: str
    category: str
    price: float | None
    currency: str
    in_stock: bool


class ListAnswer(Strict):
    """Products, best first (with diversity: as chosen), and their scores: inner products, or shares of popularity where
    source is popular."""

    product_ids: list[str]
    scores: list[float]
    model_version: str
    source: Literal["model", "popular"]
    request_id: str
    warnings: list[str]
    products: list[ProductOut] | None = None


class EncodeBuyerAnswer(Strict):
    """A buyer's vector, and what became of the interactions."""

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
    """How many of the interactions are kept now: a repeat of one kept already counts, one older than all that is kept
    does not."""

    stored: int
    request_id: str


class FieldProblem(Strict):
    """One field that was refused."""

    field: str
    value: str
    problem: str


class Problem(BaseModel):
    """RFC 9457. `field`, `value` and `errors` are there where a field was refused."""

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
    """What the gateway stands on: "ok" or the reason for each dependency, and what does not work without it.
    Unavailable, with status 503, where no products can be found."""

    status: Literal["ready", "degraded", "unavailable"]
    dependencies: dict[str, str]
    degraded: list[str]
