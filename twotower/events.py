"""Interaction events: their names, their weights, and what makes one interaction valid."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from twotower.errors import InvalidInput

DEFAULT_WEIGHTS: Mapping[str, float] = {"View": 1.0, "AddToCart": 5.0, "Purchase": 10.0}
DAY_MS = 86_400_000
_EPOCH_DAY = date(1970, 1, 1).toordinal()
# ids are stored as fixed-width strings and sent on every call: an id longer than this is a mistake upstream
MAX_ID_BYTES = 128

# one grammar of times for serving and for training, whose reader is Polars: what both engines of regular expressions
# take alike, so no \d and no \s. Groups: year, month, day, hour, minute, second, fraction, zone.
_SIXTY = "[0-5][0-9]"
_HOURS = "(?:[01][0-9]|2[0-3])"
ISO_TIME = (
    "([1-9][0-9]{3})-([0-9]{2})-([0-9]{2})"
    f"(?:[Tt ]({_HOURS}):({_SIXTY})(?::({_SIXTY})(?:[.,]([0-9]{{1,9}}))?)?)?"
    f" *([Zz]|UTC|[+-]{_HOURS}(?::?{_SIXTY})?)?"
)
EPOCH_TIME = r"-?[0-9]{1,14}(?:\.[0-9]{1,20})?"
# a date in digits alone, which would pass for seconds of August 1970, or for milliseconds; spreadsheets add the zero
_MONTH_AND_DAY = "(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
DATE_IN_DIGITS = rf"(?:19[7-9][0-9]|20[0-9]{{2}}){_MONTH_AND_DAY}(?:{_HOURS}{_SIXTY}(?:{_SIXTY})?)?(?:\.0+)?"
NO_DATE_IN_DIGITS = "unreadable time: a date in digits alone; write 2025-01-01"
# what may stand around a time
BLANK = " \t\r\n"
_ISO, _EPOCH, _IN_DIGITS = re.compile(ISO_TIME), re.compile(EPOCH_TIME), re.compile(DATE_IN_DIGITS)
# what may stand around an id: Unicode's White_Space, which is not what `str.strip` takes unless it is told
AROUND_ID = "\t\n\v\f\r \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
# what almost every id is made of
_PLAIN_ID = re.compile(f"[!-~]{{1,{MAX_ID_BYTES}}}")
# 10^11 seconds is the year 5138; 10^11 milliseconds is 1973: no shop has events on the wrong side of it
_MILLISECONDS_FROM = 100_000_000_000


class Interaction(NamedTuple):
    """One event of a buyer: what, how, and when (milliseconds since 1970, UTC)."""

    product_id: str
    event_type: str
    timestamp_ms: int


class EventSchema:
    """The event names of a model, their weights, and their integer codes (0 = none, then in order of the names)."""

    def __init__(self, weights: Mapping[str, float]) -> None:
        self.weights = dict(weights)
        self.names = list(weights)
        self.codes = {name: code for code, name in enumerate(self.names, start=1)}

    def check(self, name: str, field: str = "event_type") -> str:
        """`name` itself, or InvalidInput naming the known ones."""
        if name not in self.codes:
            raise InvalidInput(field, name, f"unknown event name; known: {', '.join(self.names)}")
        return name


def check_id(value: str, field: str) -> str:
    """A usable id, without the white space around it: not empty, at most 128 bytes of UTF-8, no control characters.

    InvalidInput otherwise.
    """
    if _PLAIN_ID.fullmatch(value):
        return value
    ident = value.strip(AROUND_ID)
    if not ident:
        raise InvalidInput(field, value, "must not be empty")
    if any(ord(character) < 32 or ord(character) == 127 for character in ident):
        raise InvalidInput(field, value, "must not contain control characters")
    try:
        size = len(ident.encode())
    except UnicodeEncodeError:
        raise InvalidInput(field, value, "is not valid Unicode") from None
    if size > MAX_ID_BYTES:
        raise InvalidInput(field, value, f"is {size} bytes long, the limit is {MAX_ID_BYTES}")
    return ident


def parse_time(value: str, field: str = "timestamp") -> int:
    """Milliseconds since 1970 from ISO-8601 (no zone means UTC) or epoch seconds or milliseconds.

    Raises InvalidInput for anything else, dates in digits alone among it, and for times that no calendar holds.
    """
    text = value.strip(BLANK)
    # milliseconds of our time, which most callers send: what the next lines make of them
    if len(text) == 13 and text.isascii() and text.isdigit():
        return int(text)
    if _EPOCH.fullmatch(text):
        if _IN_DIGITS.fullmatch(text):
            raise InvalidInput(field, value, NO_DATE_IN_DIGITS)
        number = float(text)
        return round(number) if abs(number) >= _MILLISECONDS_FROM else round(number * 1000)
    match = _ISO.fullmatch(text)
    if not match:
        raise InvalidInput(field, value, "is neither an ISO-8601 time nor epoch seconds or milliseconds")
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        days = _days(year, month, day)
    except ValueError as error:
        raise InvalidInput(field, value, f"is not a time: {error}") from None
    minutes = int(hour or 0) * 60 + int(minute or 0) - _offset(zone)
    return days * DAY_MS + (minutes * 60 + int(second or 0)) * 1000 + int((fraction or "0").ljust(3, "0")[:3])


# a date takes longer than the rest of a time, and most events are of the same few months
@lru_cache(maxsize=1024)
def _days(year: str, month: str, day: str) -> int:
    """Days since 1970. ValueError for a day that no calendar holds."""
    return date(int(year), int(month), int(day)).toordinal() - _EPOCH_DAY


def check_time(timestamp_ms: int, field: str = "timestamp", value: object = None, now_ms: int | None = None) -> int:
    """`timestamp_ms` itself; InvalidInput before 1970 or more than a day ahead of `now_ms` (default: the clock)."""
    now = int(time.time() * 1000) if now_ms is None else now_ms
    shown = timestamp_ms if value is None else value
    if timestamp_ms < 0:
        raise InvalidInput(field, shown, "is before 1970-01-01")
    if timestamp_ms > now + DAY_MS:
        raise InvalidInput(field, shown, "is more than a day ahead")
    return timestamp_ms


def _offset(zone: str | None) -> int:
    """Minutes ahead of UTC."""
    if zone is None or zone in {"Z", "z", "UTC"}:
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    return -minutes if zone[0] == "-" else minutes
