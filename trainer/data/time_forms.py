"""Times that are neither ISO-8601 nor numbers: their form is decided by a look at the whole column."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

import polars as pl

from trainer.data.times import time_ms
from twotower.events import SPREADSHEET_DAY_PROBLEM

HIJRI_PROBLEM = "unreadable time: looks like a Hijri date; write 2025-01-01"
AMBIGUOUS_TIME = "ambiguous time: day or month first? set data.time_format, as %d/%m/%Y or %m/%d/%Y"
# of Arabic and Persian
_DIGITS = {chr(zero + digit): str(digit) for zero in (0x660, 0x6F0) for digit in range(10)}
_MARKS = {chr(one): "" for one in (0x61C, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A))}
_SIGNS = {"\u060c": ",", "\u066b": ".", "\xa0": " ", "\u202f": " "}
# names of months, by the first letters that tell them apart
_MONTHS = {
    1: "jan يناير كانونالثاني",
    2: "feb فبراير شباط",
    3: "mar مارس آذار",
    4: "apr أبريل ابريل إبريل نيسان",
    5: "may مايو أيار",
    6: "jun يونيو حزيران",
    7: "jul يوليو تموز",
    8: "aug أغسطس اغسطس آب",
    9: "sep سبتمبر أيلول",
    10: "oct أكتوبر اكتوبر تشرينالأول",
    11: "nov نوفمبر تشرينالثاني",
    12: "dec ديسمبر كانونالأول",
}
_MONTH_OF = {name: month for month, names in _MONTHS.items() for name in names.split()}
# RFC 2822, section 4.3; other short names mean several zones, as AST and IST do
_MINUTES_OF = {
    **dict.fromkeys(("", "z", "ut", "utc", "gmt"), 0),
    "est": -300,
    "edt": -240,
    "cst": -360,
    "cdt": -300,
    "mst": -420,
    "mdt": -360,
    "pst": -480,
    "pdt": -420,
}
_MORNING, _AFTERNOON = "(?:am|a\\.m\\.|ص|صباحا|صباحًا)", "(?:pm|p\\.m\\.|م|مساء|مساءً)"
_CLOCK = (
    r"(?:(?:,|t|:| at| في|)(?: الساعة)? *([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?"
    rf"(?: *({_MORNING}|{_AFTERNOON}))?)?"
)
_IANA = "[a-z_]+/[a-z_/+-]+"
_ZONE = (
    rf" *(?:[\[(]({_IANA})[\])]|((?:utc|gmt)?[+-][0-9]{{1,2}}(?::?[0-9]{{2}})?|[a-z]{{0,4}}|{_IANA}))"
    r"(?: *[\[(][^)\]]*[)\]])?"
)
_WEEKDAY = r"(?:[a-z]{3,9}\.?,? +|(?:ال)?[ء-ي]{3,10}،?,? +)?"
_WORD = r"([a-z]{3,9}|[ء-ي]{2,8}(?: ال[ء-ي]{3,6})?)\.?"
# groups: two or three parts of a date, then hour, minute, second, fraction, half of the day, zone
# no half of the day stands in it
_BASIC_CLOCK = "([0-9]{2})([0-9]{2})(?:([0-9]{2})(?:[.,]([0-9]{1,9}))?)?(@@)?"
_SLASHED = f"^([0-9]{{1,2}})[/.-]([0-9]{{1,2}})[/.-]([0-9]{{4}}){_CLOCK}{_ZONE}$"
_YEAR_FIRST = f"^([0-9]{{4}})[/.-]([0-9]{{1,2}})[/.-]([0-9]{{1,2}}){_CLOCK}{_ZONE}$"
_BASIC = f"^([0-9]{{4}})([0-9]{{2}})([0-9]{{2}})t{_BASIC_CLOCK}{_ZONE}$"
_DAY_NAMED = f"^{_WEEKDAY}([0-9]{{1,2}})(?:st|nd|rd|th)?[ /-]{_WORD}[ ,/-]+([0-9]{{4}}){_CLOCK}{_ZONE}$"
_NAMED_DAY = f"^{_WEEKDAY}{_WORD} +([0-9]{{1,2}})(?:st|nd|rd|th)?,? +([0-9]{{4}}){_CLOCK}{_ZONE}$"
# Wed Jan  1 10:30:00 2025
_CLOCK_INSIDE = r"^[a-z]{3} +([a-z]{3}) +([0-9]{1,2}) +([0-9]{2}):([0-9]{2}):([0-9]{2})( [a-z]{0,4})? +([0-9]{4})$"


_SHORT_DATE = r"^[0-9]{1,2}[/. -](?:[0-9]{1,2}|[a-z]{3}|[ء-ي]{3,8})[/. -][0-9]{2}(?:[ ,t]|$)"
_HIJRI = "محرم|صفر|ربيع|جماد|رجب|شعبان|رمضان|شوال|ذو ال|ذي ال|هـ$|muharram|safar|rabi|jumada|rajab|ramadan|shawwal|dhu"
# why a time cannot be read, by what it looks like
_LOOKS: list[tuple[str, str]] = [
    (r"^[2-7][0-9]{4}(?:[.,][0-9]+)?$", SPREADSHEET_DAY_PROBLEM),
    (r"^[0-9](?:[.,][0-9]+)?e\+?[0-9]+$", "unreadable time: a spreadsheet's short form of a long number"),
    (_HIJRI, HIJRI_PROBLEM),
    (_SHORT_DATE, "unreadable time: a year of two digits; write 2025-01-31, or set data.time_format"),
    (r"^[0-9]{1,2}:[0-9]{2}(?::[0-9.]+)?(?: *[a-zء-ي.]+)?$", "unreadable time: a time of day without a date"),
    (r"[0-9] *[(\[]?[a-z]{3,5}[)\]]?$", "unreadable time: a zone that has no name or several meanings; write +03:00"),
]


class TimeForm(NamedTuple):
    """How a column's times are read: `read` gives milliseconds since 1970, or null.

    `problem`, if it is not empty, is why times that stay null cannot be read; `hints` say what was decided.
    """

    read: Callable[[pl.Expr], pl.Expr]
    problem: str
    hints: list[str]


def find_form(times: pl.Series) -> TimeForm:
    """The form of these times [M], which no single row decides: whether day or month comes first."""
    written = _plain(pl.col("time"))
    part = written.str.extract_groups(_SLASHED).struct
    first, second = part.field("1").cast(pl.Int64, strict=False), part.field("2").cast(pl.Int64, strict=False)
    counted = times.to_frame("time").select(
        slashed=first.is_not_null().sum(),
        day_first=(first > 12).sum(),
        month_first=(second > 12).sum(),
    )
    slashed, day_first, month_first = counted.row(0)
    if not slashed:
        return TimeForm(lambda column: _read(column, ""), "", [])
    if bool(day_first) == bool(month_first):
        said = (
            f"{day_first:,} times can only be day-first and {month_first:,} only month-first"
            if day_first
            else f"{slashed:,} times may be day-first or month-first, and none tells which"
        )
        return TimeForm(lambda column: _read(column, ""), AMBIGUOUS_TIME, [f"{said}: set data.time_format"])
    order = "day" if day_first else "month"
    deciding = day_first or month_first
    hint = f"{slashed:,} times are read {order}-first: {deciding:,} of them can be nothing else"
    return TimeForm(lambda column: _read(column, order), "", [hint])


def explain_unreadable(column: pl.Expr, otherwise: pl.Expr) -> pl.Expr:
    """Why each of these times cannot be read, by what it looks like; `otherwise` where it looks like nothing known."""
    written = _plain(column)
    return pl.coalesce(*(pl.when(written.str.contains(look)).then(pl.lit(why)) for look, why in _LOOKS), otherwise)


def _plain(column: pl.Expr) -> pl.Expr:
    """The text in lower case, with Latin digits, plain blanks and no marks that cannot be seen."""
    signs = {**_DIGITS, **_MARKS, **_SIGNS}
    return column.str.replace_many(list(signs), list(signs.values())).str.strip_chars().str.to_lowercase()


def _read(column: pl.Expr, slashed: str) -> pl.Expr:
    """Milliseconds of times in any form; those with slashes are read if `slashed` says what comes first."""
    written = _plain(column)
    year_first = _moment(written, _YEAR_FIRST, (1, 2, 3))
    named = _moment(written, _DAY_NAMED, (3, 2, 1)), _moment(written, _NAMED_DAY, (3, 1, 2))
    inside = written.str.extract_groups(_CLOCK_INSIDE).struct
    zone = inside.field("6").fill_null("")
    clock = pl.concat_str(*(inside.field(group) for group in "345"), separator=":")
    date = pl.concat_str(*(inside.field(group) for group in "217"), separator=" ")
    moved = date + " " + clock + zone
    # numbers in digits of another script
    forms = [
        time_ms(written),
        year_first,
        _moment(written, _BASIC, (1, 2, 3)),
        *named,
        _moment(moved, _DAY_NAMED, (3, 2, 1)),
    ]
    if slashed:
        forms.append(_moment(written, _SLASHED, (3, 2, 1) if slashed == "day" else (3, 1, 2)))
    return pl.coalesce(forms)


def _moment(written: pl.Expr, form: str, order: tuple[int, int, int]) -> pl.Expr:
    """Milliseconds since 1970; `order` are the groups of year, month and day."""
    part = written.str.extract_groups(form).struct
    year, month, day = (part.field(str(group)) for group in order)
    number = _month_number(month)
    hour = part.field("4").cast(pl.Int64, strict=False).fill_null(0)
    half = part.field("8")
    is_of_twelve = half.is_null() | hour.is_between(1, 12)
    is_afternoon = half.str.contains(f"^{_AFTERNOON}$")
    hour = pl.when(half.is_null()).then(hour).when(is_afternoon).then(hour % 12 + 12).otherwise(hour % 12)
    clock = pl.concat_str(
        pl.when(is_of_twelve).then(hour).cast(pl.String).str.zfill(2),
        part.field("5").fill_null("00"),
        part.field("6").fill_null("00"),
        separator=":",
    )
    date = pl.concat_str(year, number.cast(pl.String).str.zfill(2), day.str.zfill(2), separator="-")
    local = (date + "T" + clock).str.to_datetime("%Y-%m-%dT%H:%M:%S", strict=False, time_unit="ms")
    fraction = part.field("7").fill_null("0").str.pad_end(3, "0").str.slice(0, 3).cast(pl.Int64, strict=False)
    zone = pl.coalesce(part.field("9"), part.field("10"))
    return _to_utc(local, zone) + fraction


def _month_number(month: pl.Expr) -> pl.Expr:
    joined = month.str.replace_all(" ", "")
    latin = joined.str.slice(0, 3).replace_strict(_MONTH_OF, default=None, return_dtype=pl.Int64)
    arabic = joined.replace_strict(_MONTH_OF, default=None, return_dtype=pl.Int64)
    return pl.coalesce(month.cast(pl.Int64, strict=False), arabic, latin)


def _to_utc(local: pl.Expr, zone: pl.Expr) -> pl.Expr:
    """Milliseconds since 1970 of a local time in a zone: an offset, a name of RFC 2822 or of the IANA; else null."""
    offset = zone.str.extract(r"([+-][0-9]{1,2}(?::?[0-9]{2})?)$").str.replace(":", "")
    # +3 is +03
    offset = offset.str.replace(r"^([+-])([0-9](?:[0-9]{2})?)$", "${1}0${2}").str.pad_end(5, "0")
    minutes = offset.str.slice(1, 2).cast(pl.Int64) * 60 + offset.str.slice(3, 2).cast(pl.Int64)
    signed = pl.when(offset.str.starts_with("-")).then(-minutes).otherwise(minutes)
    named = zone.fill_null("").replace_strict(_MINUTES_OF, default=None, return_dtype=pl.Int64)
    plain = local.dt.epoch("ms") - pl.coalesce(signed, named) * 60_000
    in_iana = pl.struct(local.alias("local"), zone.alias("zone")).map_batches(_iana_ms, pl.Int64)
    return pl.when(zone.str.contains("/")).then(in_iana).otherwise(plain)


def _iana_ms(rows: pl.Series) -> pl.Series:
    known = {name.lower(): name for name in available_timezones()}
    zones: dict[str, ZoneInfo | None] = {}
    found: list[int | None] = []
    for row in rows:
        name = row["zone"] or ""
        if name not in zones:
            zones[name] = ZoneInfo(known[name]) if name in known else None
        zone, local = zones[name], row["local"]
        found.append(round(local.replace(tzinfo=zone).timestamp() * 1000) if zone and local else None)
    return pl.Series(found, dtype=pl.Int64)
