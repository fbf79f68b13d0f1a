"""The types of the fields of a request, each with its check."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    PlainValidator,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from twotower.errors import InvalidInput
from twotower.event_log import DISMISS, GUEST
from twotower.events import MAX_ID_BYTES, EventSchema, check_id, check_time, parse_time
from twotower.text.normalise import searched_words

MAX_TEXT = 500
# as the item service has it
MAX_SUGGESTIONS = 100
_WHOLE = re.compile(r"-?[0-9]+")
_DECIMAL = re.compile(r"[0-9]{0,20}\.?[0-9]{1,20}")
_SLOT = re.compile(r"[a-z0-9_-]{1,64}")
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


class Context(NamedTuple):
    """What the checks need to know beside the request itself."""

    events: EventSchema
    max_k: int
    max_interactions: int
    # the clock that times are checked against, milliseconds since 1970
    now_ms: int


class Strict(BaseModel):
    """A part of a request or an answer. Unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def context(info: ValidationInfo) -> Context:
    """The Context that the model was validated with."""
    if not isinstance(info.context, Context):
        raise TypeError("a request model needs its Context")
    return info.context


def refuse(problem: str) -> PydanticCustomError:
    """The error that refuses a field because of `problem`."""
    return PydanticCustomError("refused", "{problem}", {"problem": problem})


def _check_id(value: str) -> str:
    try:
        return check_id(value, "")
    except InvalidInput as error:
        raise refuse(error.problem) from None


def _check_session(value: str) -> str:
    ident = _check_id(value)
    # with what stands before it, it is the id of a history
    if (size := len(ident.encode())) > MAX_ID_BYTES - len(GUEST):
        raise refuse(f"is {size} bytes long, the limit is {MAX_ID_BYTES - len(GUEST)}")
    return ident


def _check_buyer(value: str) -> str:
    ident = _check_id(value)
    if ident.startswith(GUEST):
        raise refuse(f"begins with {GUEST}, as only guests' histories do; name the session as session_id")
    return ident


def _check_text(value: str) -> str:
    if not value.strip():
        raise refuse("must not be empty")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise refuse("must not contain control characters")
    if len(value) > MAX_TEXT:
        raise refuse(f"is {len(value)} characters long, the limit is {MAX_TEXT}")
    return value


def _check_words(value: str) -> str:
    if not searched_words(_check_text(value)):
        raise refuse("must hold a letter or a digit")
    return value


def _check_slot(value: str) -> str:
    if not _SLOT.fullmatch(value):
        raise refuse("must be a word of the letters a-z, digits, _ and -, up to 64")
    return value


def _check_event(value: str, info: ValidationInfo) -> str:
    try:
        return context(info).events.check(value)
    except InvalidInput as error:
        raise refuse(error.problem) from None


def _check_happening(value: str, info: ValidationInfo) -> str:
    return value if value == DISMISS else _check_event(value, info)


def _read_moment(value: object, info: ValidationInfo) -> int:
    now_ms = context(info).now_ms
    try:
        if isinstance(value, str):
            return check_time(parse_time(value), now_ms)
        # what most callers send; `parse_time`, too, reads 13 digits as milliseconds, but needs them as a text
        if type(value) is int and 10**12 <= value < 10**13:
            return check_time(value, now_ms)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return check_time(parse_time(repr(value)), now_ms)
    except InvalidInput as error:
        raise refuse(error.problem) from None
    raise refuse("must be an ISO-8601 time or epoch seconds or milliseconds")


def _read_count(value: object, info: ValidationInfo) -> int:
    return _whole(value, context(info).max_k)


def _read_suggested(value: object) -> int:
    return _whole(value, MAX_SUGGESTIONS)


def _whole(value: object, limit: int) -> int:
    if not isinstance(value, str) or not _WHOLE.fullmatch(value):
        raise refuse("must be a whole number")
    digits = value.lstrip("0")
    # length first: Python refuses to convert thousands of digits
    if value.startswith("-") or not digits or len(digits) > len(str(limit)) or (count := int(digits)) > limit:
        raise refuse(f"must be between 1 and {limit}")
    return count


def _read_share(value: object) -> float:
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value) or float(value) > 1:
        raise refuse("must be a number from 0 to 1")
    return float(value)


def _read_amount(value: object) -> float:
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        raise refuse("must be an amount such as 200 or 199.95")
    return float(value)


def _read_flag(value: object) -> bool:
    if not isinstance(value, str) or value.lower() not in _FLAGS:
        raise refuse("must be true or false")
    return _FLAGS[value.lower()]


Id = Annotated[str, StringConstraints(strict=True), AfterValidator(_check_id)]
Buyer = Annotated[str, StringConstraints(strict=True), AfterValidator(_check_buyer)]
Session = Annotated[str, StringConstraints(strict=True), AfterValidator(_check_session)]
Text = Annotated[str, StringConstraints(strict=True), AfterValidator(_check_text)]
# a search text, whole: a sign may be a letter of another keyboard layout
Words = Annotated[str, StringConstraints(strict=True), AfterValidator(_check_words)]
Slot = Annotated[str, StringConstraints(strict=True), AfterValidator(_check_slot)]
Event = Annotated[str, StringConstraints(strict=True), AfterValidator(_check_event)]
# what happens beside a history's events
Happening = Annotated[str, StringConstraints(strict=True), AfterValidator(_check_happening)]
Moment = Annotated[
    int,
    PlainValidator(_read_moment),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}]}),
]
Count = Annotated[
    int, PlainValidator(_read_count), WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 1000, "default": 10})
]
Suggested = Annotated[
    int,
    PlainValidator(_read_suggested),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": MAX_SUGGESTIONS, "default": 10}),
]
Share = Annotated[
    float, PlainValidator(_read_share), WithJsonSchema({"type": "number", "minimum": 0, "maximum": 1, "default": 0})
]
Amount = Annotated[float, PlainValidator(_read_amount), WithJsonSchema({"type": "number", "minimum": 0})]
Flag = Annotated[bool, PlainValidator(_read_flag), WithJsonSchema({"type": "boolean"})]
