"""Times of the events table, as Polars expressions that agree with `twotower.events.parse_time`."""

from __future__ import annotations

import polars as pl

from twotower.events import (
    BLANK,
    DATE_IN_DIGITS,
    EPOCH_TIME,
    ISO_TIME,
    MICROSECONDS_FROM,
    MILLISECONDS_FROM,
    NANOSECONDS_FROM,
    SPREADSHEET_DAY,
)

# of Arabic and Persian
_DIGITS = {chr(zero + digit): str(digit) for zero in (0x660, 0x6F0) for digit in range(10)}


def time_ms(column: pl.Expr, written_as: str = "") -> pl.Expr:
    """Milliseconds since 1970, null if the text is not a time.

    `written_as` is a further form, of strftime; a time without a zone is UTC. Digits of any script are read there.
    """
    column = column.str.strip_chars(BLANK)
    number = column.cast(pl.Float64, strict=False)
    is_epoch = column.str.contains(f"^{EPOCH_TIME}$") & ~is_date_in_digits(column) & ~is_spreadsheet_day(column)
    known = pl.when(is_epoch).then(_epoch_ms(number)).otherwise(_iso_ms(column))
    return pl.coalesce(_formatted_ms(column, written_as), known) if written_as else known


def _formatted_ms(column: pl.Expr, written_as: str) -> pl.Expr:
    latin = column.str.replace_many(list(_DIGITS), list(_DIGITS.values()))
    return latin.str.to_datetime(written_as, strict=False, time_unit="us").dt.epoch("ms")


def _epoch_ms(number: pl.Expr) -> pl.Expr:
    size = number.abs()
    milliseconds = (
        pl.when(size >= NANOSECONDS_FROM)
        .then((number / 1e6).floor())
        .when(size >= MICROSECONDS_FROM)
        .then((number / 1e3).floor())
        .when(size >= MILLISECONDS_FROM)
        .then(number.round())
        .otherwise((number * 1000).round())
    )
    return milliseconds.cast(pl.Int64, strict=False)


def is_spreadsheet_day(column: pl.Expr) -> pl.Expr:
    return column.str.contains(f"^(?:{SPREADSHEET_DAY})$")


def is_date_in_digits(column: pl.Expr) -> pl.Expr:
    return column.str.contains(f"^(?:{DATE_IN_DIGITS})$")


def _iso_ms(column: pl.Expr) -> pl.Expr:
    part = column.str.extract_groups(f"^{ISO_TIME}$").struct
    date = pl.concat_str(*(part.field(place) for place in "123"), separator="-")
    clock = pl.concat_str(*(part.field(place).fill_null("00") for place in "456"), separator=":")
    moment = (date + "T" + clock).str.to_datetime("%Y-%m-%dT%H:%M:%S", strict=False, time_unit="us")
    micros = part.field("7").fill_null("0").str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64, strict=False)
    return (moment.dt.epoch("us") + micros) // 1000 - _offset_minutes(part.field("8")) * 60_000


def _offset_minutes(zone: pl.Expr) -> pl.Expr:
    digits = zone.str.slice(1).str.replace(":", "").str.pad_end(4, "0")
    hours = digits.str.slice(0, 2).cast(pl.Int64, strict=False)
    minutes = hours * 60 + digits.str.slice(2, 2).cast(pl.Int64, strict=False)
    return pl.when(zone.str.starts_with("+")).then(minutes).when(zone.str.starts_with("-")).then(-minutes).otherwise(0)
