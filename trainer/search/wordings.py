"""What buyers chose for each wording of a search, so counted that no buyer alone decides it.

A choice counts once a day for a buyer, a wording and a product, and a buyer has so many choices a day. All choices of a
buyer for one wording together are one vote, divided among the products by the weights of their events; so a buyer's
share of a wording with n buyers is 1 / n, and wordings with too few buyers count for nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
from scipy import sparse

from twotower.arrays import Int64
from twotower.text.normalise import Normaliser, searched_words

# choices of one buyer on one day that count, the first ones
_DAY_CHOICES = 50
# a longer text is no query (the gateway takes no longer one)
_LONGEST = 500
_fold = Normaliser.profile("full")


class Wordings(NamedTuple):
    """Wordings [Q], those of most buyers first.

    `texts`: normalised, as a search has them. `shown`: as most buyers typed them. `buyers` [Q]: how many chose one.
    `votes` [Q, N]: the sum of the votes for each product; a row sums to its buyers.
    """

    texts: list[str]
    shown: list[str]
    buyers: Int64
    votes: sparse.csr_matrix

    def part(self, rows: Int64) -> Wordings:
        """The wordings of some rows."""
        kept = rows.tolist()
        return Wordings(
            [self.texts[row] for row in kept], [self.shown[row] for row in kept], self.buyers[rows], self.votes[rows]
        )


def normal_form(text: str) -> str:
    """A query as the item service encodes it: normalised words; "" if it has none or is too long."""
    return searched_words(_fold(text)) if len(text) <= _LONGEST else ""


def with_wordings(searches: pl.DataFrame) -> pl.DataFrame:
    """The rows whose `query` has words, with their `wording`."""
    typed = searches["query"].unique().sort()
    forms = pl.DataFrame({"query": typed, "wording": pl.Series(list(map(normal_form, typed)), dtype=pl.String)})
    return searches.join(forms, on="query", maintain_order="left").filter(pl.col("wording") != "")


def count_wordings(pairs: pl.DataFrame, products: int, min_buyers: int) -> Wordings:
    """The wordings of `Searches.pairs` for which at least `min_buyers` buyers chose one of so many products."""
    by = ["buyer", "wording", "row"]
    choices = with_wordings(pairs).group_by(*by, "day", maintain_order=True).agg(pl.max("weight"), pl.first("query"))
    choices = choices.filter(pl.int_range(pl.len()).over("buyer", "day") < _DAY_CHOICES)
    votes = (
        choices.group_by(by, maintain_order=True)
        .agg(pl.sum("weight"))
        .with_columns(pl.col("weight") / pl.col("weight").sum().over("buyer", "wording"))
    )
    counts = (
        votes.group_by("wording")
        .agg(buyers=pl.n_unique("buyer"))
        .filter(pl.col("buyers") >= min_buyers)
        .sort(["buyers", "wording"], descending=[True, False])
        .with_row_index("place")
    )
    shown = (
        choices.group_by("wording", "query").agg(times=pl.n_unique("buyer"))
        .sort(["times", "query"], descending=[True, False])
        .unique("wording", keep="first", maintain_order=True)
    )  # fmt: skip
    counted = counts.join(shown, on="wording").sort("place")
    summed = votes.join(counts, on="wording").group_by("place", "row").agg(pl.sum("weight")).sort("place", "row")
    matrix = sparse.csr_matrix(
        (summed["weight"].to_numpy(), (summed["place"].to_numpy(), summed["row"].to_numpy())),
        (counted.height, products),
    )
    return Wordings(
        counted["wording"].to_list(), counted["query"].to_list(), counted["buyers"].to_numpy().astype(np.int64), matrix
    )
