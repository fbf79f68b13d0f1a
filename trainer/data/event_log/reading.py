"""Reads a log: every record once, guests as the buyers they became, none of forgotten buyers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Literal, NamedTuple

import polars as pl

from trainer.errors import DataError
from twotower.errors import CorruptArtifact
from twotower.event_log import GUEST, forgotten_of, log_files
from twotower.forgotten import ForgottenBuyers

log = logging.getLogger(__name__)

# which lists are read: none, those of /search, or all
Lists = Literal["none", "searches", "all"]
# while it is read, the recorder may make one file of several
_ATTEMPTS = 3


class Log(NamedTuple):
    """The records of a log. `owner` is the buyer, or the guest as `guest:SESSION`; null for a list of nobody known.

    `interactions`: the columns of the files, ordered as they were logged, with `owner`. `lists` likewise; None if they
    were not asked for. `shadows`: lists that an experiment made and showed to nobody; None likewise. `repeated` and
    `forgotten` count what is left out of the interactions.
    """

    interactions: pl.DataFrame
    lists: pl.DataFrame | None
    repeated: int
    forgotten: int
    shadows: pl.DataFrame | None = None


def read_log(folder: Path, *, with_lists: Lists = "none") -> Log:
    """The records of the log in a folder. Raises DataError if a file cannot be read.

    Of records with the same id and owner the first one counts. Forgotten are the buyers on the list that lies beside
    the folder, with the guests that they were.
    """
    for attempt in range(_ATTEMPTS):
        try:
            return _read(folder, with_lists)
        except (OSError, pl.exceptions.ComputeError) as error:
            is_gone = isinstance(error, FileNotFoundError)
            if not is_gone or attempt == _ATTEMPTS - 1:
                raise DataError(f"the log {folder} cannot be read: {error}") from None
        except CorruptArtifact as error:
            raise DataError(str(error)) from None
    raise AssertionError("the last attempt returns or raises")


def _read(folder: Path, with_lists: Lists) -> Log:
    forgotten = ForgottenBuyers.read(forgotten_of(folder))
    became = _merges(folder)
    interactions = _owned(_scan(folder, "interactions"), became)
    once = interactions.unique(["owner", "event_id"], keep="first", maintain_order=True)
    kept = _without(once, forgotten)
    lists, shadows = None, None
    if with_lists != "none":
        wanted = pl.col("query").is_not_null() if with_lists == "searches" else pl.lit(value=True)
        lists, shadows = (_lists(folder, kind, wanted, became, forgotten) for kind in ("lists", "shadows"))
    return Log(kept, lists, interactions.height - once.height, once.height - kept.height, shadows)


def _lists(folder: Path, kind: str, wanted: pl.Expr, became: pl.DataFrame, forgotten: ForgottenBuyers) -> pl.DataFrame:
    lists = _owned(_scan(folder, kind, wanted), became)
    # one request may have served several lists, on several routes
    lists = lists.unique(["recommendation_id", "route", "served_ms"], keep="first", maintain_order=True)
    return _without(lists, forgotten)


def _scan(folder: Path, kind: str, wanted: pl.Expr | None = None) -> pl.DataFrame:
    files = log_files(folder, kind)
    if not files:
        return pl.DataFrame(schema=_EMPTY[kind])
    parts = (pl.read_parquet(path, hive_partitioning=False) for path in files)
    return pl.concat([part if wanted is None else part.filter(wanted) for part in parts], how="vertical")


def _merges(folder: Path) -> pl.DataFrame:
    """The buyer that each guest became: `session_id` and `became`. The first one counts."""
    merges = _scan(folder, "merges").sort("merged_ms", maintain_order=True)
    return merges.unique("session_id", keep="first").select("session_id", became="buyer_id")


def _owned(rows: pl.DataFrame, became: pl.DataFrame) -> pl.DataFrame:
    guest = pl.lit(GUEST) + pl.col("session_id")
    return (
        rows.join(became, on="session_id", how="left", maintain_order="left")
        .with_columns(owner=pl.coalesce("buyer_id", "became", guest))
        .drop("became")
    )


def _without(rows: pl.DataFrame, forgotten: ForgottenBuyers) -> pl.DataFrame:
    if not len(forgotten):
        return rows
    owners = rows["owner"].drop_nulls().unique()
    gone = [owner for owner in owners if owner in forgotten]
    return rows.filter(~pl.col("owner").is_in(gone) | pl.col("owner").is_null())


_TEXT = pl.String()
_LISTS: dict[str, pl.DataType] = {
    "recommendation_id": _TEXT,
    "served_ms": pl.Int64(),
    **dict.fromkeys(("route", "slot", "buyer_id", "session_id", "query", "product_id"), _TEXT),
    **dict.fromkeys(("model_version", "source"), _TEXT),
    **dict.fromkeys(("product_ids", "explored"), pl.List(_TEXT)),
    **dict.fromkeys(("experiment", "arm", "teams"), _TEXT),
    "logged_ms": pl.Int64(),
}
_EMPTY: dict[str, dict[str, pl.DataType]] = {
    "interactions": {
        **dict.fromkeys(("event_id", "buyer_id", "session_id", "product_id", "event_type"), _TEXT),
        "timestamp_ms": pl.Int64(),
        "recommendation_id": _TEXT,
        "query": _TEXT,
        "quantity": pl.Int64(),
        "price": pl.Float64(),
        "logged_ms": pl.Int64(),
    },
    "lists": _LISTS,
    "shadows": _LISTS,
    "merges": {"session_id": _TEXT, "buyer_id": _TEXT, "merged_ms": pl.Int64(), "logged_ms": pl.Int64()},
}
