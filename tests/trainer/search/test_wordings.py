"""What counts of the choices after searches: a buyer has one vote, and a bot no more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from trainer.data.searches import NO_SEARCHES
from trainer.search.wordings import Wordings, count_wordings

Row = tuple[str, str, int, float, int]


def pairs(rows: Sequence[Row]) -> pl.DataFrame:
    """Buyer, query, product, weight and day."""
    made = [(*row[:4], row[4] * 86_400_000, row[4]) for row in rows]
    return pl.DataFrame(made, schema=NO_SEARCHES.pairs.schema, orient="row")


def votes_of(found: Wordings, text: str) -> list[float]:
    return [round(float(one), 6) for one in found.votes[found.texts.index(text)].toarray()[0]]


def test_a_buyer_has_one_vote_divided_by_weight() -> None:
    found = count_wordings(
        pairs([("a", "جوال", 0, 1, 0), ("a", "جوال", 1, 3, 0), ("b", "جَوال ", 1, 10, 0), ("c", "جوال", 2, 1, 0)]), 4, 3
    )
    assert (found.texts, found.shown, found.buyers.tolist()) == (["جوال"], ["جوال"], [3])
    assert votes_of(found, "جوال") == [0.25, 1.75, 1, 0]


def test_the_same_choice_counts_once_a_day() -> None:
    rows: list[Row] = [("a", "x1", 0, 1, 0)] * 9 + [("a", "x1", 0, 1, 1), ("a", "x1", 1, 1, 1), ("b", "x1", 1, 1, 0)]
    assert votes_of(count_wordings(pairs(rows), 2, 2), "x1") == [round(2 / 3, 6), round(4 / 3, 6)]


def test_too_few_buyers_count_for_nothing_and_a_text_without_words_is_no_wording() -> None:
    found = count_wordings(pairs([("a", "x1", 0, 1, 0), ("b", "x1", 0, 1, 0), ("a", "!!", 0, 1, 0)]), 2, 3)
    assert (found.texts, found.votes.shape) == ([], (0, 2))


def test_a_bot_moves_nothing_noticeable() -> None:
    honest: list[Row] = [(f"b{buyer}", f"word{query}", query, 1, 0) for query in range(40) for buyer in range(9)]
    # thousands of choices of one product, for every wording and for wordings of its own, on many days
    bot: list[Row] = [
        ("bot", text, 99, 10, day)
        for day in range(30)
        for query in range(40)
        for text in (f"word{query}", f"word{query}", f"bot{query}")
    ]
    before, after = count_wordings(pairs(honest), 100, 3), count_wordings(pairs([*honest, *bot]), 100, 3)
    assert sorted(before.texts) == sorted(after.texts)
    assert max(votes_of(after, text)[99] for text in after.texts) <= 1
    share = after.votes.toarray()[:, 99] / after.buyers
    assert share.max() <= 0.1
    # and one day has room for fifty of its choices
    one_day = count_wordings(pairs([*honest, *(row for row in bot if row[4] == 0)]), 100, 3)
    assert int(np.count_nonzero(one_day.votes.toarray()[:, 99])) <= 50


def test_other_buyers_decide_what_a_bot_wants() -> None:
    rows: list[Row] = [(f"b{buyer}", "q1", 0, 1, 0) for buyer in range(9)] + [
        ("bot", "q1", 5, 10, d) for d in range(999)
    ]
    assert votes_of(count_wordings(pairs(rows), 6, 3), "q1") == [9, 0, 0, 0, 0, 1]
