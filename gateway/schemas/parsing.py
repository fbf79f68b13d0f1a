"""Parses bytes into checked requests. Every error names the field and the value."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import jiter
import orjson
from pydantic import ValidationError

from gateway.schemas.fields import Context, Strict
from twotower.errors import InvalidInput, TwoTowerError

_MAX_LISTED = 20
_MAX_VALUES = 2000
_REPEATABLE = ("include", "category", "brand", "exclude", "id")
# pydantic's own checks, in the words of ours; the names in braces are of its context
_PROBLEMS = {
    "missing": "is missing",
    "union_tag_not_found": "is missing",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dict_type": "must be an object",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be below {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "too_short": "must not be empty",
    "too_long": "has more than {max_length} values",
    "string_too_short": "must not be empty",
    "string_too_long": "has more than {max_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "datetime_type": "must be an ISO-8601 time",
    "datetime_parsing": "must be an ISO-8601 time",
    "datetime_from_date_parsing": "must be an ISO-8601 time",
    "timezone_aware": "must have its zone, such as +03:00",
    "literal_error": "must be {expected}",
    "union_tag_invalid": "must be one of {expected_tags}",
}

Model = TypeVar("Model", bound=Strict)


class Malformed(InvalidInput):
    """The bytes of a request cannot be parsed into fields."""


class WrongContentType(TwoTowerError):
    """A body is declared as something else than JSON, which a page of another site may send without asking."""

    def __init__(self, declared: str, wanted: str) -> None:
        super().__init__(f"Content-Type is {declared[:80]!r}, and must be {wanted}")

    def detail(self) -> dict[str, object]:
        return {"field": "Content-Type"}


class WrongContentEncoding(TwoTowerError):
    """A body is compressed in a way that the gateway does not read."""

    def __init__(self, declared: str) -> None:
        super().__init__(f"Content-Encoding is {declared[:80]!r}, and must be gzip, or be left out")

    def detail(self) -> dict[str, object]:
        return {"field": "Content-Encoding"}


class BodyTooLarge(TwoTowerError):
    """A request's body is larger than the limit."""

    def __init__(self, size: int, limit: int, *, unpacked: bool = False) -> None:
        super().__init__(f"the body is {size} bytes or more{' unpacked' * unpacked}, the limit is {limit}")

    def detail(self) -> dict[str, object]:
        return {"field": "body"}


class BodyTooSlow(TwoTowerError):
    """A request's body did not arrive in time."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the body did not arrive within {seconds:g} s")

    def detail(self) -> dict[str, object]:
        return {"field": "body"}


class QueryTooLarge(TwoTowerError):
    """A request's query string is longer than the limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the query is longer than {limit} bytes")

    def detail(self) -> dict[str, object]:
        return {"field": "query"}


class InvalidFields(InvalidInput):
    """One or more fields are refused. The message is about the first one; `errors` lists up to 20 of them."""

    def __init__(self, errors: list[InvalidInput], total: int) -> None:
        first = errors[0]
        super().__init__(first.field, "", first.problem)
        self.value, self.errors, self.total = first.value, errors, total
        more = f" (and {total - 1} more)" if total > 1 else ""
        self.args = (f"{first}{more}",)

    def detail(self) -> dict[str, object]:
        return {**super().detail(), "errors": [error.detail() for error in self.errors], "error_count": self.total}


def check_content_type(declared: str, wanted: str = "application/json") -> None:
    """Raises WrongContentType for anything but the wanted type, with or without parameters."""
    if declared.partition(";")[0].strip().lower() != wanted:
        raise WrongContentType(declared, wanted)


def is_gzip(declared: str) -> bool:
    """Whether a body with this Content-Encoding is compressed. Raises WrongContentEncoding for any but gzip."""
    encoding = declared.strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise WrongContentEncoding(declared)
    return encoding.endswith("gzip")


def unpack_gzip(body: bytes, limit: int) -> bytes:
    """The content of a gzip body of one member (RFC 1952). Unpacks no more than `limit` bytes.

    Raises BodyTooLarge beyond the limit, Malformed for anything but one whole member: thousands of small ones would
    take a second.
    """
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        content = inflater.decompress(body, limit + 1)
    except zlib.error as error:
        raise Malformed("body", "", f"is not gzip, as Content-Encoding says: {error}") from None
    if len(content) > limit:
        raise BodyTooLarge(len(content), limit, unpacked=True)
    if not inflater.eof:
        raise Malformed("body", "", "ends before its gzip data does")
    if inflater.unused_data:
        raise Malformed("body", "", "has more behind the end of its gzip data")
    return content


def read_json(body: bytes) -> Any:
    """The JSON value of a body. Raises Malformed if it is not strict JSON (RFC 8259, UTF-8) or repeats a name."""
    if not body:
        raise Malformed("body", "", "is empty; send a JSON object")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Malformed("body", _around(body, error.pos), f"is not JSON: {error}") from None
    # orjson keeps the last of two equal names without a word; jiter only checks that there are none
    try:
        jiter.from_json(body, catch_duplicate_keys=True, cache_mode="keys")
    except ValueError as error:
        raise _explain(body, error) from None
    return value


def read_body(model: type[Model], value: object, context: Context) -> Model:
    """A checked request. Raises InvalidInput if `value` is no object, InvalidFields if fields are refused."""
    if not isinstance(value, dict):
        raise InvalidInput("body", value, "must be a JSON object")
    return _validate(model, value, context)


def read_query(model: type[Model], query: bytes, context: Context) -> Model:
    """A checked request from a percent-encoded UTF-8 query string. Raises InvalidInput like `read_body`."""
    try:
        pairs = parse_qsl(query.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_VALUES)
    except UnicodeDecodeError:
        raise Malformed("query", query[:100], "is not UTF-8") from None
    except ValueError:
        raise InvalidInput("query", query[:100], f"has more than {_MAX_VALUES} values") from None
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in _REPEATABLE:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise InvalidInput(name, value, "was given more than once")
        else:
            values[name] = value
    return _validate(model, values, context)


def _validate(model: type[Model], values: Mapping[str, Any], context: Context) -> Model:
    try:
        return model.model_validate(values, context=context)
    except ValidationError as error:
        refusals = error.errors(include_url=False)
        known = ", ".join(model.model_fields)
        listed = [_translate(refusal, known) for refusal in refusals[:_MAX_LISTED]]
        raise InvalidFields(listed, len(refusals)) from None


def _translate(error: Any, known: str) -> InvalidInput:
    kind, place, value, context = error["type"], error["loc"], error["input"], error.get("ctx", {})
    if kind == "extra_forbidden":
        problem = "is not a known field" + (f"; known: {known}" if len(place) == 1 else "")
    else:
        problem = _PROBLEMS[kind].format(**context) if kind in _PROBLEMS else error["msg"]
    if kind in ("int_type", "float_type") and isinstance(value, str):
        # of a body: '5' would otherwise read as a number that is refused
        problem += ", not a text"
    if kind == "absent":
        # a check over several fields says which one it is about
        place = (*place, context["field"])
    elif kind.startswith("union_tag"):
        # the field that says which kind of object it is
        place, value = (*place, context["discriminator"].strip("'")), context.get("tag", "")
    refused = InvalidInput(_path(place), value, problem)
    if kind in ("missing", "absent", "union_tag_not_found"):
        # pydantic's input is the object that lacks the field, which is no value of the field
        refused.value = ""
        refused.args = (f"{refused.field} is missing",)
    return refused


def _path(location: tuple[int | str, ...]) -> str:
    """`("recent_interactions", 3, "timestamp")` as `recent_interactions[3].timestamp`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")


def _explain(body: bytes, error: ValueError) -> Malformed:
    """Why jiter refuses a body that orjson reads. The slower json module finds the repeated name."""
    try:
        json.loads(body, object_pairs_hook=_check_names)
    except Malformed as problem:
        return problem
    except RecursionError:
        pass
    return Malformed("body", _around(body, 0), f"cannot be read: {error}")


def _check_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise Malformed("body", repeated, "is a name that occurs more than once in one object")
    return value


def _around(body: bytes, position: int) -> str:
    return body.decode(errors="replace")[max(0, position - 20) : position + 20]
