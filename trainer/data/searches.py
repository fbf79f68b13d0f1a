"""Searches as the trainer has them: what was searched, and which products buyers chose then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from trainer.data.accepted import Accepted
from trainer.data.event_log.searches import SERVED, served_searches
from twotower.events import DAY_MS

_PAIRS = {
    "buyer": pl.String(),
    "query": pl.String(),
    "row": pl.Int32(),
    "weight": pl.Float64(),
    "ms": pl.Int64(),
    "day": pl.Int64(),
}


class Searches(NamedTuple):
    """`pairs`: a row for each event that a search led to, in order of time: `buyer`, `query` as typed, `row` of the
    product, `weight` of the event, `ms`, and `day` since 1970. `served`: see `served_searches`.
    """

    pairs: pl.DataFrame
    served: pl.DataFrame


class SearchedWords(NamedTuple):
    """What a version says of searches. `facts`: in metrics.json and in the report. `queries` and `learned`: see
    `twotower.artifact.search_words.SearchWords`.
    """

    facts: dict[str, Any]
    queries: dict[str, int]
    learned: dict[str, int]


NO_SEARCHES = Searches(pl.DataFrame(schema=_PAIRS), pl.DataFrame(schema=SERVED))


def searches_of(accepted: Accepted, logs: Sequence[Path], event_weights: Mapping[str, float]) -> Searches:
    """The searches among the events of `read_events`, and those that logs say were answered."""
    searched = [part for part in accepted.parts if "query" in part.columns]
    if not searched:
        return NO_SEARCHES._replace(served=served_searches(logs))
    kinds = list(range(1, len(event_weights) + 1))
    events = pl.concat([part.filter(pl.col("query").str.strip_chars() != "") for part in searched])
    pairs = (
        events.with_columns(
            buyer=accepted.buyers.gather(events["buyer"]),
            weight=pl.col("kind").replace_strict(kinds, list(event_weights.values()), return_dtype=pl.Float64),
            day=pl.col("ms") // DAY_MS,
        )
        .select(list(_PAIRS))
        .sort("ms", "buyer", "row", maintain_order=True)
    )
    return Searches(pairs, served_searches(logs))
