"""Makes searches with words that no title has and the choices after them, to measure what learning from them gives.

The words are dialect, loan and English words of the synonyms that ship whose group has a word of the catalogue, and
words of the catalogue in Latin letters as shoppers type them ("khatm"). Each is typed in several wordings: alone, with
the article or a typo, and beside a word of a title. Some wordings are logged, others of the same words are held out.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

from item_service.query.synonyms import shipped_lines
from trainer.text.typos import add_typo
from twotower.arrays import Int64
from twotower.search.word_index import WordIndex
from twotower.text.words import indexed_words, is_number, query_words

# products that a word stands for
_FEWEST, _MOST = 8, 400
_WORDINGS = 4
# as Arabs write their letters on a Latin keyboard
_LATIN = dict(
    zip(
        "ابتثجحخدذرزسشصضطظعغفقكلمنهوية",
        [
            "a",
            "b",
            "t",
            "th",
            "j",
            "7",
            "kh",
            "d",
            "th",
            "r",
            "z",
            "s",
            "sh",
            "s",
            "d",
            "t",
            "z",
            "3",
            "gh",
            "f",
            "q",
            "k",
            "l",
            "m",
            "n",
            "h",
            "o",
            "i",
            "a",
        ],
        strict=True,
    )
)


class Wording(NamedTuple):
    """A query, the strange word in it, and the products [R] that answer it."""

    text: str
    word: str
    answers: Int64


class Choices(NamedTuple):
    """Searches that were logged and those held out; `pairs`: the text of a logged one and the row that was chosen."""

    logged: list[Wording]
    held: list[Wording]
    pairs: list[tuple[str, int]]


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
