"""Makes searches with words that no title has and the choices after them, to measure what learning from them gives.

The words are dialect, loan and English words of the synonyms that ship whose group has a word of the catalogue, and
words of the catalogue in Latin letters as shoppers type them ("khatm"). Each is typed in several wordings: alone, with
the article or a typo, and beside a word of a title. Some wordings are logged, others of the same words are held out.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
import polars as pl

from item_service.query.synonyms import shipped_lines
from trainer.data.catalogue import Products
from trainer.data.searches import NO_SEARCHES
from trainer.search.learning import Ranking, best_rows, learn
from trainer.search.wordings import count_wordings
from trainer.text.typos import add_typo
from twotower.arrays import Int64
from twotower.artifact.catalogue import Product
from twotower.graphs.text_encoder import TextEncoder
from twotower.search.word_index import WordIndex
from twotower.text.words import indexed_words, is_number, query_words

# products that a word stands for
_FEWEST, _MOST = 8, 400
_WORDINGS = 4
_TITLES = 500
# as Arabs write their letters on a Latin keyboard
_ARABIC = "ابتثجحخدذرزسشصضطظعغفقكلمنهوية"
_SOUNDS = "a b t th j 7 kh d th r z s sh s d t z 3 gh f q k l m n h o i a"
_LATIN = dict(zip(_ARABIC, _SOUNDS.split(), strict=True))


class Wording(NamedTuple):
    """A query, the strange word in it, and the products [R] that answer it."""

    text: str
    word: str
    answers: Int64


class Figures(NamedTuple):
    """P@10 of searches without understanding, before and after learning: of the logged wordings, and of those held out.

    `titles_first`: the share of misspelt titles that find a product of that title first.
    """

    seed: int
    logged: tuple[int, float, float]
    held_out: tuple[int, float, float]
    titles_first: tuple[float, float]
    kept: bool
    seconds: float


class Choices(NamedTuple):
    """Searches that were logged and those held out; `pairs`: the text of a logged one and the row that was chosen."""

    logged: list[Wording]
    held: list[Wording]
    pairs: list[tuple[str, int]]


def measure(records: Sequence[Product], ranking: Ranking, encoder: TextEncoder, seed: int) -> Figures:
    """Learns from made choices over the products [N] of a version, and searches the logged and the other wordings."""
    titles = [one.title for one in records]
    choices = make_choices(ranking.words, titles, seed)
    rows = [(f"b{place}", text, row, 1.0, 0, 0) for place, (text, row) in enumerate(choices.pairs)]
    pairs = pl.DataFrame(rows, schema=NO_SEARCHES.pairs.schema, orient="row")
    started = time.perf_counter()
    learned = learn(count_wordings(pairs, len(titles), 3), _products(records), ranking, encoder, seed)
    seconds = time.perf_counter() - started
    after = encoder.for_queries(learned.ngrams) if learned.ngrams else encoder
    draw = random.Random(seed)
    some = draw.sample(titles, min(_TITLES, len(titles)))
    misspelt = [add_typo(title, draw) for title in some]
    groups = {
        name: (len(group), _precision(group, ranking, encoder), _precision(group, ranking, after))
        for name, group in (("logged", choices.logged), ("held_out", choices.held))
    }
    first = [
        sum(titles[best[0]] == title for best, title in zip(best_rows(misspelt, ranking, one), some, strict=True))
        / len(some)
        for one in (encoder, after)
    ]
    return Figures(
        seed, groups["logged"], groups["held_out"], (first[0], first[1]), learned.ngrams is not None, seconds
    )


def _precision(wordings: Sequence[Wording], ranking: Ranking, encoder: TextEncoder) -> float:
    lists = best_rows([one.text for one in wordings], ranking, encoder)
    shares = [
        np.isin(best, one.answers).sum() / min(len(best), len(one.answers))
        for best, one in zip(lists, wordings, strict=True)
    ]
    return float(np.mean(shares))


def _products(records: Sequence[Product]) -> Products:
    empty = [""] * len(records)
    return Products(
        ids=[one.id for one in records],
        titles=[one.title for one in records],
        descriptions=[one.description for one in records],
        brands=[one.brand for one in records],
        categories=[one.category for one in records],
        prices=[one.price for one in records],
        currencies=[one.currency for one in records],
        in_stock=[one.in_stock for one in records],
        attributes=[()] * len(records),
        searched=empty,
    )


def make_choices(
    index: WordIndex, titles: Sequence[str], seed: int, queries: int = 74, clicks: int = 10, wrong: float = 0.2
) -> Choices:
    """`queries` logged searches with so many choices each, the share `wrong` of them of any product, and the others."""
    draw = random.Random(seed)
    words = sorted(_strange_words(index, titles).items())
    draw.shuffle(words)
    logged, held = list[Wording](), list[Wording]()
    for word, answers in words:
        made = list(_wordings(word, answers, index, titles, draw))
        draw.shuffle(made)
        # a word that is learned from one or two of its wordings
        cut = draw.randint(1, 2)
        if len(made) > cut and len(logged) < queries:
            logged += made[:cut]
            held += made[cut:]
    pairs = [(one.text, _choice(one, len(titles), wrong, draw)) for one in logged for _ in range(clicks)]
    return Choices(logged, held, pairs)


def _choice(one: Wording, products: int, wrong: float, draw: random.Random) -> int:
    return draw.randrange(products) if draw.random() < wrong else int(draw.choice(one.answers.tolist()))


def _strange_words(index: WordIndex, titles: Sequence[str]) -> dict[str, Int64]:
    """Words that no product has, and the products of the words that they stand for."""
    found: dict[str, Int64] = {}
    for _, line in shipped_lines():
        line = line.partition("#")[0]
        if not line.strip() or ">" in line:
            continue
        group = [words[0] for one in line.split("،") if len(words := query_words(one)) == 1]
        held = [rows for one in group if len(rows := index.rows_of(one))]
        answers = reduce(np.union1d, held, np.empty(0, np.int64))
        if _FEWEST <= len(answers) <= _MOST:
            found |= {one: answers for one in group if not len(index.rows_of(one))}
    often = {word for title in titles for word in indexed_words(title) if not is_number(word)}
    for word in sorted(often):
        latin = "".join(_LATIN.get(one, "") for one in word)
        rows = index.rows_of(word)
        # the first word of most titles that have it: what the product is
        is_strange = len(latin) > 3 and not len(index.rows_of(latin))
        if is_strange and _FEWEST <= len(rows) <= _MOST and _names_products(word, rows, titles):
            found[latin] = rows
    return found


def _names_products(word: str, rows: Int64, titles: Sequence[str]) -> bool:
    return sum(indexed_words(titles[row])[:1] == [word] for row in rows.tolist()) > len(rows) / 2


def _wordings(
    word: str, answers: Int64, index: WordIndex, titles: Sequence[str], draw: random.Random
) -> Iterator[Wording]:
    yield Wording(word, word, answers)
    yield Wording(f"al {word}" if word.isascii() else f"ال{word}", word, answers)
    if (misspelt := add_typo(word, draw)) and len(word) > 4:
        yield Wording(misspelt, word, answers)
    beside = dict.fromkeys(
        other
        for row in draw.sample(answers.tolist(), min(len(answers), 30))
        for other in indexed_words(titles[row])[1:]
        if not is_number(other) and len(other) > 2
    )
    for other in list(beside)[: _WORDINGS - 1]:
        both = np.intersect1d(answers, index.rows_of(other))
        if len(both) > 1:
            yield Wording(f"{word} {other}", word, both)
