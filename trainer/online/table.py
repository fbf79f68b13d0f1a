"""One row for each served list, with what it led to."""

from __future__ import annotations

import polars as pl

from trainer.data.event_log.attribution import attribute
from trainer.data.event_log.reading import Log

# what each rate counts; a list that led to several of one kind counts once
EVENTS = {"clicked": "View", "carted": "AddToCart", "purchased": "Purchase"}


def outcomes(log: Log) -> pl.DataFrame:
    """The served lists of a log with `unit`, `impressions`, `clicked`, `carted`, `purchased` (0 or 1) and `revenue`.

    `unit` is the buyer or guest; a list of nobody known is a unit of its own. Revenue is price times quantity (1 if it
    is not given) of the purchases that state a price. `clicks_a` and `clicks_b`: of an interleaved list, the clicked
    products of each team.
    """
    assert log.lists is not None, "the log was read without its lists"
    lists = log.lists.with_row_index("list").with_columns(
        unit=pl.coalesce("owner", pl.lit("\0list:") + pl.col("recommendation_id")),
        impressions=pl.col("product_ids").list.len().cast(pl.Float64),
    )
    keys = ["recommendation_id", "route", "served_ms"]
    happened = attribute(log).join(
        log.interactions.select("owner", "event_id", "price", "quantity"), on=["owner", "event_id"], how="left"
    )
    happened = happened.join(lists.select("list", "teams", *keys), on=keys, how="inner").with_columns(
        paid=pl.when(pl.col("event_type") == EVENTS["purchased"])
        .then(pl.col("price") * pl.col("quantity").fill_null(1))
        .fill_null(0.0),
        team=pl.col("teams").str.slice(pl.col("rank").cast(pl.Int64) - 1, 1),
    )
    is_click = pl.col("event_type") == EVENTS["clicked"]
    led_to = happened.group_by("list").agg(
        *((pl.col("event_type") == event).any().cast(pl.Float64).alias(name) for name, event in EVENTS.items()),
        revenue=pl.col("paid").fill_null(0.0).sum(),
        clicks_a=pl.col("product_id").filter(is_click & (pl.col("team") == "A")).n_unique().cast(pl.Float64),
        clicks_b=pl.col("product_id").filter(is_click & (pl.col("team") == "B")).n_unique().cast(pl.Float64),
    )
    made = lists.join(led_to, on="list", how="left", maintain_order="left")
    return made.with_columns(pl.col(*EVENTS, "revenue", "clicks_a", "clicks_b").fill_null(0.0))
