"""What the report says of searches, and which of them complete what a shopper types."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import polars as pl

from trainer.data.catalogue import Products
from trainer.data.searches import Searches
from trainer.search.wordings import Wordings, with_wordings
from twotower.search.word_index import WordIndex
from twotower.text.words import indexed_words, is_number, query_words, stem

_LISTED = 50
# products shown of those chosen, and later searches of those that followed
_SHOWN = 3
# a search that follows within so long was for the same
_AGAIN_MS = 30 * 60_000
# a proposed synonym: at least this share of the votes is for products that hold the word of titles
_SHARE = 0.5


def describe_searches(searches: Searches, products: Products, min_buyers: int) -> dict[str, Any]:
    """The most frequent searches, those that showed nothing, and those after which nothing was chosen.

    Only wordings of at least `min_buyers` shoppers are named: what one of them typed is nobody else's business.
    """
    chosen = _chosen(searches.pairs, products)
    served = with_wordings(searches.served)
    # without a log of lists, a search is known by what was chosen after it
    asked = served if served.height else _as_served(searches.pairs)
    counted = (
        asked.group_by("wording")
        .agg(
            pl.col("query").mode().sort().first(),
            pl.len().alias("searches"),
            pl.n_unique("shopper").alias("shoppers"),
            (pl.col("found") == 0).sum().alias("empty"),
        )
        .filter(pl.col("shoppers") >= min_buyers)
        .sort(["searches", "wording"], descending=[True, False])
        .join(chosen, on="wording", how="left", maintain_order="left")
        .with_columns(pl.col("choices").fill_null(0))
    )
    columns = ["query", "searches", "shoppers", "empty", "choices", "products"]
    empty = counted.filter(pl.col("empty") == pl.col("searches")).join(
        _what_followed(served), on="wording", how="left", maintain_order="left"
    )
    unchosen = counted.filter((pl.col("choices") == 0) & (pl.col("empty") < pl.col("searches")))
    return {
        "searches": asked.height,
        "choices": searches.pairs.height,
        "wordings": counted.height,
        "top": _rows(counted.select(columns)),
        "empty": _rows(empty.select("query", "searches", "shoppers", "then")),
        "unchosen": _rows(unchosen.select("query", "searches", "shoppers")) if served.height else [],
    }


def propose_synonyms(wordings: Wordings, products: Products, words: WordIndex, min_buyers: int) -> list[dict[str, Any]]:
    """Words of searches that no chosen product holds, with the word of titles that most of them hold.

    The votes of all wordings with the word count together. Nothing applies them: a person adds the line to the shop's
    synonyms.
    """
    votes: defaultdict[str, Any] = defaultdict(lambda: np.zeros(len(products)))
    typed: defaultdict[str, set[str]] = defaultdict(set)
    for row, text in enumerate(wordings.texts):
        own = [word for word in query_words(text) if not is_number(word) and len(word) > 1]
        for word in own:
            votes[word] += wordings.votes[row].toarray()[0]
            typed[word].update(map(stem, own))
    proposed = list[dict[str, Any]]()
    for word, given in votes.items():
        total = float(given.sum())
        if total < min_buyers or given[words.rows_of(word)].any():
            continue
        best = _best_word(given, typed[word], products, words)
        if best and best[1] >= _SHARE * total:
            proposed.append({"word": word, "means": best[0], "votes": round(best[1], 1), "of": round(total, 1)})
    proposed.sort(key=lambda one: str(one["word"]))
    proposed.sort(key=lambda one: float(one["votes"]), reverse=True)
    return proposed[:_LISTED]


def popular_queries(wordings: Wordings, min_buyers: int) -> dict[str, int]:
    """The wordings of at least so many buyers, as most typed them, and how many products these chose."""
    rows = np.flatnonzero(wordings.buyers >= min_buyers).tolist()
    return {" ".join(wordings.shown[row].split()): int(wordings.votes[row].count_nonzero()) for row in rows}


def strange_words(wordings: Wordings, words: WordIndex) -> dict[str, int]:
    """The words of wordings that no product holds, and for how many buyers one of these was chosen after them."""
    found: defaultdict[str, int] = defaultdict(int)
    for text, buyers in zip(wordings.texts, wordings.buyers.tolist(), strict=True):
        # as the understanding splits a query: "3otoor" is one word
        for word in dict.fromkeys(text.split()):
            if any(map(str.isalpha, word)) and not len(words.rows_of(word)):
                found[word] += buyers
    return dict(found)


def _best_word(given: Any, typed: set[str], products: Products, words: WordIndex) -> tuple[str, float] | None:
    """The word of titles with most votes, and these; of two, the one that fewer products hold. None of those typed."""
    held: defaultdict[str, float] = defaultdict(float)
    for row in np.flatnonzero(given).tolist():
        for word in dict.fromkeys(indexed_words(products.titles[row])):
            if not is_number(word) and len(word) > 1 and stem(word) not in typed:
                held[word] += float(given[row])
    if not held:
        return None
    # a word of every second title says little: votes count less the more products hold it
    weighted = {word: votes * np.log(len(products) / max(1, len(words.rows_of(word)))) for word, votes in held.items()}
    best = max(weighted, key=lambda one: (weighted[one], one))
    return best, held[best]


def _chosen(pairs: pl.DataFrame, products: Products) -> pl.DataFrame:
    """How often something was chosen after each wording, and the titles that were chosen most."""
    rows = with_wordings(pairs)
    by_product = rows.group_by("wording", "row").agg(times=pl.len()).sort(["times", "row"], descending=[True, False])
    titles = pl.Series("titles", products.titles, dtype=pl.String)
    shown = by_product.with_columns(title=titles.gather(by_product["row"]))
    return shown.group_by("wording", maintain_order=True).agg(
        pl.sum("times").alias("choices"), pl.col("title").unique(maintain_order=True).head(_SHOWN).alias("products")
    )


def _as_served(pairs: pl.DataFrame) -> pl.DataFrame:
    """A search for each buyer, wording and day."""
    once = with_wordings(pairs).unique(["buyer", "wording", "day"], keep="first", maintain_order=True)
    return once.select(pl.col("buyer").alias("shopper"), "query", "ms", pl.lit(1, pl.Int64).alias("found"), "wording")


def _what_followed(served: pl.DataFrame) -> pl.DataFrame:
    """For each wording, the wordings that showed products to the same shopper soon after it, most frequent first."""
    ordered = served.sort("shopper", "ms")
    following = ordered.with_columns(
        pl.col(name).shift(-1).over("shopper").alias(f"next_{name}") for name in ("wording", "query", "ms", "found")
    ).filter(
        (pl.col("next_wording") != pl.col("wording"))
        & (pl.col("next_found") > 0)
        & (pl.col("next_ms") - pl.col("ms") <= _AGAIN_MS)
    )
    counts = (
        following.group_by("wording", "next_wording")
        .agg(pl.col("next_query").mode().sort().first(), shoppers=pl.n_unique("shopper"))
        .filter(pl.col("shoppers") > 1)
        .sort(["shoppers", "next_wording"], descending=[True, False])
    )
    return counts.group_by("wording", maintain_order=True).agg(pl.col("next_query").head(_SHOWN).alias("then"))


def _rows(table: pl.DataFrame) -> list[dict[str, Any]]:
    lists = [name for name, kind in table.schema.items() if isinstance(kind, pl.List)]
    filled = table.head(_LISTED).with_columns(pl.col(name).fill_null([]) for name in lists)
    found: list[dict[str, Any]] = filled.to_dicts()
    return found
