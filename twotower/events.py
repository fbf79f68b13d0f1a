"""Interaction events: names, weights, and the checks of ids and times."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from twotower.errors import InvalidInput

DEFAULT_WEIGHTS: Mapping[str, float] = {"View": 1.0, "AddToCart": 5.0, "Purchase": 10.0}
# how the refusal of a name begins, for those who count them
UNKNOWN_EVENT = "unknown event name"
DAY_MS = 86_400_000
# A live event may be ahead by the difference of two clocks. An event from far ahead would stay a buyer's newest.
AHEAD_MS = 300_000
_EPOCH_DAY = date(1970, 1, 1).toordinal()
# Ids are stored as fixed-width strings and sent with every call; a longer id is an error of the sender.
MAX_ID_BYTES = 128
# One grammar of times for serving (re) and training (Polars). Both regular expression engines must read it in the same
# way, so it has no \d and no \s. Groups: year, month, day, hour, minute, second, fraction, zone.
_SIXTY = "[0-5][0-9]"
_HOURS = "(?:[01][0-9]|2[0-3])"
ISO_TIME = (
    "([1-9][0-9]{3})-([0-9]{2})-([0-9]{2})"
    f"(?:[Tt ]({_HOURS}):({_SIXTY})(?::({_SIXTY})(?:[.,]([0-9]{{1,9}}))?)?)?"
    f" *([Zz]|UTC|[+-]{_HOURS}(?::?{_SIXTY})?)?"
)
EPOCH_TIME = r"-?[0-9]{1,19}(?:\.[0-9]{1,20})?"
# A date of digits only, which looks like seconds of August 1970 or like milliseconds. Spreadsheets add ".0".
_MONTH_AND_DAY = "(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
DATE_IN_DIGITS = rf"(?:19[7-9][0-9]|20[0-9]{{2}}){_MONTH_AND_DAY}(?:{_HOURS}{_SIXTY}(?:{_SIXTY})?)?(?:\.0+)?"
DATE_IN_DIGITS_PROBLEM = "unreadable time: a date of digits only; write 2025-01-01"
# A spreadsheet's days since 1899-12-30, of 1954 to 2119; as seconds they would be of 1970-01-01.
SPREADSHEET_DAY = r"[2-7][0-9]{4}(?:\.[0-9]+)?"
SPREADSHEET_DAY_PROBLEM = "unreadable time: looks like a spreadsheet's day number; write 2025-01-01"
# Characters that may surround a time.
BLANK = " \t\r\n"
_ISO, _EPOCH, _IN_DIGITS = re.compile(ISO_TIME), re.compile(EPOCH_TIME), re.compile(DATE_IN_DIGITS)
_SPREADSHEET = re.compile(SPREADSHEET_DAY)
# Characters that may surround an id: Unicode's White_Space, which differs from the default of `str.strip`, and what
# cannot be seen: marks of direction, characters of no width, byte order marks.
_WHITE_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
INVISIBLE = "\xad\u061c\u180e\u2800\u3164\ufe0e\ufe0f\ufeff" + "".join(
    map(chr, [*range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2065), *range(0x2066, 0x2070)])
)
AROUND_ID = _WHITE_SPACE + INVISIBLE
# Almost every id matches this, and then needs no further check.
_PLAIN_ID = re.compile(f"[!-~]{{1,{MAX_ID_BYTES}}}")
# 10^11 seconds is the year 5138, 10^11 milliseconds is 1973: smaller numbers are seconds. A thousand times as much is
# microseconds, a million times as much nanoseconds.
MILLISECONDS_FROM, MICROSECONDS_FROM, NANOSECONDS_FROM = 1e11, 1e14, 1e17


class Interaction(NamedTuple):
    """One event of a buyer with a product; the time is milliseconds since 1970, UTC."""

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
        """Returns `name`. Raises InvalidInput with the known names if it is not one of them."""
        if name not in self.codes:
            raise InvalidInput(field, name, f"{UNKNOWN_EVENT}; known: {', '.join(self.names)}")
        return name


def check_id(value: str, field: str) -> str:
    """Returns the id without the white space around it.

    Raises InvalidInput if it is empty, longer than 128 bytes of UTF-8, or has control characters.
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
    """Milliseconds since 1970 from ISO-8601 (no zone means UTC) or epoch seconds, milli-, micro- or nanoseconds.

    Raises InvalidInput for any other text, for dates of digits only, for a spreadsheet's day numbers, and for dates
    that do not exist.
    """
    text = value.strip(BLANK)
    # Most callers send milliseconds of our time: the same result as below, faster.
    if len(text) == 13 and text.isascii() and text.isdigit():
        return int(text)
    if _EPOCH.fullmatch(text):
        if _IN_DIGITS.fullmatch(text):
            raise InvalidInput(field, value, DATE_IN_DIGITS_PROBLEM)
        if _SPREADSHEET.fullmatch(text):
            raise InvalidInput(field, value, SPREADSHEET_DAY_PROBLEM)
        return _epoch_ms(float(text))
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


def _epoch_ms(number: float) -> int:
    size = abs(number)
    if size >= MICROSECONDS_FROM:
        return math.floor(number / (1e6 if size >= NANOSECONDS_FROM else 1e3))
    return round(number) if size >= MILLISECONDS_FROM else round(number * 1000)


# A date takes longer to read than the rest of a time, and most events are from the same few months.
@lru_cache(maxsize=1024)
def _days(year: str, month: str, day: str) -> int:
    """Days since 1970. Raises ValueError if the date does not exist."""
    return date(int(year), int(month), int(day)).toordinal() - _EPOCH_DAY


def check_time(timestamp_ms: int, now_ms: int, field: str = "timestamp") -> int:
    """Returns `timestamp_ms`. Raises InvalidInput if it is before 1970 or over five minutes after `now_ms`."""
    if timestamp_ms < 0:
        raise InvalidInput(field, timestamp_ms, "is before 1970-01-01")
    if timestamp_ms > now_ms + AHEAD_MS:
        raise InvalidInput(field, timestamp_ms, "is more than five minutes ahead")
    return timestamp_ms


def _offset(zone: str | None) -> int:
    """Minutes that the zone is ahead of UTC."""
    if zone is None or zone in {"Z", "z", "UTC"}:
        return 0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    return -minutes if zone[0] == "-" else minutes
