"""Which served list an interaction came from."""

from __future__ import annotations

import polars as pl

from trainer.data.event_log.reading import Log

WINDOW_MS = 86_400_000


def attribute(log: Log, window_ms: int = WINDOW_MS) -> pl.DataFrame:
    """The interactions that a list led to, each with its list: one row an interaction, in the order of the log.

    That is the list that the interaction names by `recommendation_id`, if it held the product; otherwise the last list
    that held the product and was served to the same owner, or in the same session, at most `window_ms` before. Columns:
    `owner`, `event_id`, `product_id`, `event_type`, `timestamp_ms`, `recommendation_id`, `route`, `served_ms`, `rank`
    (from 1) and `named` (whether the interaction names the list).
    """
    assert log.lists is not None, "the log was read without its lists"
    shown = (
        log.lists.select("recommendation_id", "route", "served_ms", "owner", "session_id", "product_ids")
        .with_columns(rank=pl.int_ranges(1, pl.col("product_ids").list.len() + 1))
        .explode("product_ids", "rank")
        .rename({"product_ids": "product_id"})
    )
    happened = log.interactions.with_row_index("place")
    keys = ("product_id", "recommendation_id")
    named = happened.join(shown.select(*keys, "route", "served_ms", "rank"), on=keys, how="inner")
    unnamed = happened.join(named.select("place").unique(), on="place", how="anti").drop("recommendation_id")
    found = [named.with_columns(named=pl.lit(True)).select(*_COLUMNS)]
    for who in ("owner", "session_id"):
        theirs = shown.select("recommendation_id", "product_id", "route", "served_ms", "rank", who)
        pairs = unnamed.join(theirs, on=["product_id", who], how="inner")
        age = pl.col("timestamp_ms") - pl.col("served_ms")
        found.append(pairs.filter(age.is_between(0, window_ms)).with_columns(named=pl.lit(False)).select(*_COLUMNS))
    # of several lists the last one; a request that showed a product twice is one list, with the better rank
    return (
        pl.concat(found)
        .sort("place", "served_ms", "rank", descending=[False, True, False])
        .unique("place", keep="first", maintain_order=True)
        .drop("place")
    )


_COLUMNS = (
    *("place", "owner", "event_id", "product_id", "event_type", "timestamp_ms"),
    *("recommendation_id", "route", "served_ms", "rank", "named"),
)
