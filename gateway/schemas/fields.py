"""The types of the fields that a request may have, each with its check."""

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
from twotower.events import EventSchema, check_id, check_time, parse_time
from twotower.text.normalise import searched_words

MAX_TEXT = 500


_WHOLE = re.compile(r"-?[0-9]+")


_DECIMAL = re.compile(r"[0-9]{0,20}\.?[0-9]{1,20}")


class Context(NamedTuple):
    """What a request is checked against beside its own shape."""

    events: EventSchema
    max_k: int
    max_interactions: int


def refuse(problem: str) -> PydanticCustomError:
    return PydanticCustomError("refused", "{problem}", {"problem": problem})


def _id(value: str) -> str:
    try:
        return check_id(value, "")
    except InvalidInput as error:
        raise refuse(error.problem) from None


def _text(value: str) -> str:
    if not value.strip():
        raise refuse("must not be empty")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise refuse("must not contain control characters")
    if len(value) > MAX_TEXT:
        raise refuse(f"is {len(value)} characters long, the limit is {MAX_TEXT}")
    return value


def _words(value: str) -> str:
    found = searched_words(_text(value))
    if not found:
        raise refuse("must hold a letter or a digit")
    return found


def _event(value: str, info: ValidationInfo) -> str:
    try:
        return context(info).events.check(value)
    except InvalidInput as error:
        raise refuse(error.problem) from None


def _moment(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise refuse("must be an ISO-8601 time or epoch seconds or milliseconds")
    try:
        return check_time(parse_time(value if isinstance(value, str) else repr(value)))
    except InvalidInput as error:
        raise refuse(error.problem) from None


def _count(value: object, info: ValidationInfo) -> int:
    limit = context(info).max_k
    if not isinstance(value, str) or not _WHOLE.fullmatch(value):
        raise refuse("must be a whole number")
    digits = value.lstrip("0")
    # the length first: of some thousands of digits Python makes no number
    if value.startswith("-") or not digits or len(digits) > len(str(limit)) or (count := int(digits)) > limit:
        raise refuse(f"must be between 1 and {limit}")
    return count


def _share(value: object) -> float:
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value) or float(value) > 1:
        raise refuse("must be a number from 0 to 1")
    return float(value)


def _flag(value: object) -> bool:
    flags = {"true": True, "1": True, "false": False, "0": False}
    if not isinstance(value, str) or value.lower() not in flags:
        raise refuse("must be true or false")
    return flags[value.lower()]


def context(info: ValidationInfo) -> Context:
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
