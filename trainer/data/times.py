"""Times of the events table, as Polars expressions that agree with `twotower.events.parse_time`."""

from __future__ import annotations

import polars as pl

from twotower.events import BLANK, DATE_IN_DIGITS, EPOCH_TIME, ISO_TIME


def time_ms(column: pl.Expr) -> pl.Expr:
    """Milliseconds since 1970, null if the text is not a time."""
    column = column.str.strip_chars(BLANK)
    number = column.cast(pl.Float64, strict=False)
    epoch = pl.when(number.abs() >= 1e11).then(number).otherwise(number * 1000).round().cast(pl.Int64, strict=False)
    is_epoch = column.str.contains(f"^{EPOCH_TIME}$") & ~is_date_in_digits(column)
    return pl.when(is_epoch).then(epoch).otherwise(_iso_ms(column))


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
