"""Searches in the log: which words led to an interaction, and what was searched."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from trainer.data.event_log.attribution import attribute
from trainer.data.event_log.reading import Log, read_log

# the columns of `served_searches`
SERVED = {"shopper": pl.String(), "query": pl.String(), "ms": pl.Int64(), "found": pl.Int64()}


def with_queries(log: Log) -> pl.DataFrame:
    """The interactions of a log that was read with its searches; one that carries no `query` has that of the search
    that led to it, if one did.

    An interaction that names another list by `recommendation_id` came from no search.
    """
    assert log.lists is not None, "the log was read without its lists"
    if log.lists.is_empty():
        return log.interactions
    named = pl.col("recommendation_id")
    searches = log.lists["recommendation_id"].unique().implode()
    may_lead = log.interactions.filter(pl.col("query").is_null() & (named.is_null() | named.is_in(searches)))
    keys = ["recommendation_id", "route", "served_ms"]
    led = attribute(log._replace(interactions=may_lead)).join(log.lists.select(*keys, searched="query"), on=keys)
    by = ["owner", "event_id"]
    joined = log.interactions.join(led.select(*by, "searched"), on=by, how="left", maintain_order="left")
    return joined.with_columns(query=pl.coalesce("query", "searched")).drop("searched")


def served_searches(folders: Sequence[Path]) -> pl.DataFrame:
    """Every search that the logs say was answered: `shopper`, `query`, `ms` and `found`, how many products it showed.

    A search of nobody known is of a shopper of its own.
    """
    found = [
        read_log(folder, with_lists="searches").lists.select(  # type: ignore[union-attr]
            pl.coalesce("owner", pl.lit("search:") + pl.col("recommendation_id")).alias("shopper"),
            "query",
            pl.col("served_ms").alias("ms"),
            pl.col("product_ids").list.len().cast(pl.Int64).alias("found"),
        )
        for folder in folders
    ]
    return pl.concat([pl.DataFrame(schema=SERVED), *found])
