"""Chooses how much the words of a search count beside its vector, and how much evidence says that something answers it.

Both are measured on queries that are made from the catalogue.
"""

from __future__ import annotations

import itertools
import logging
import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from trainer.data.catalogue import Products
from trainer.text.typos import add_typo, augment_title
from twotower.arrays import Float32, Float64, Int64
from twotower.artifact.manifest import WordWeights
from twotower.graphs.text_encoder import TextEncoder
from twotower.search.vector_index import unit_rows
from twotower.search.word_index import Word, WordIndex, head_of
from twotower.search.word_search import added_by_words, evidence
from twotower.text.spelling import holds_misspelt
from twotower.text.words import indexed_words, is_number, query_words

log = logging.getLogger(__name__)

_WEIGHTS, _NUMBERS = (0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0), (0.0, 0.1, 0.2, 0.35)
# queries of each kind, the places that count, and the products that each way of ranking may choose from
_QUERIES, _LISTED, _CANDIDATES = 300, 10, 100
# quality this near to the best is as good: then numbers count most, because the queries are made of exact words, and a
# shopper's often name the number alone exactly
_NEAR = 0.002
# the kinds of queries in which one product is meant; none of them may lose more than this
_KNOWN_ITEMS, _LOSS = ("typo", "typos", "price"), 0.004
# short queries of one typing error each, and the share of them that may be taken for unanswered ones: sellers' strings
# and medicines' names, which are misspelt more often or less, then get about 3 % and 1.5 % of wrong warnings
_SHORT, _FALSE_ALARMS = 1000, 0.02


class Asked(NamedTuple):
    """A query made from a product, and the products [R] that answer it."""

    kind: str
    text: str
    answers: Int64

    @property
    def means_one(self) -> bool:
        """Whether one product was meant, so that its place counts."""
        return self.kind in _KNOWN_ITEMS


class _Candidates(NamedTuple):
    """The products that some way of ranking puts first for one query, and the parts of their scores."""

    kind: str
    cosines: Float32
    words: Float32
    numbers: Float32
    known: float
    known_words: float
    is_answer: Float64
    answers: int


def choose_weights(
    products: Products, vectors: Float32, index: WordIndex, encoder: TextEncoder, seed: int
) -> tuple[WordWeights, dict[str, dict[str, float]]]:
    """The weights of best mean quality over the kinds of queries, and the quality of each kind, chosen and without
    words. Misspelt titles find their products no worse than without words.

    `vectors` [N, E] are the unit text vectors of the products.
    """
    asked = list(make_queries(products, index, seed))
    if not asked:
        return WordWeights(), {}
    encoded = unit_rows(encoder.encode([one.text for one in asked]))
    cases = [_candidates(one, vector, vectors, index) for one, vector in zip(asked, encoded, strict=True)]
    kinds = sorted({one.kind for one in asked})
    table = {
        one: _quality(cases, kinds, one)
        for one in (
            WordWeights(weight=weight, number_weight=numbers)
            for weight, numbers in itertools.product(_WEIGHTS, _NUMBERS)
        )
    }
    vector_alone = table[WordWeights(weight=0.0, number_weight=0.0)]
    guarded = [kinds.index(kind) for kind in _KNOWN_ITEMS]
    table = {one: quality for one, quality in table.items() if (quality >= vector_alone - _LOSS)[guarded].all()}
    best = max(float(one.mean()) for one in table.values())
    chosen = min(
        (one for one, quality in table.items() if quality.mean() >= best - _NEAR),
        key=lambda one: (-one.number_weight, one.weight),
    )
    quality = {
        kind: {"vector": float(before), "words": float(after)}
        for kind, before, after in zip(kinds, vector_alone, table[chosen], strict=True)
    }
    shown = ", ".join(f"{kind} {one['vector']:.3f} to {one['words']:.3f}" for kind, one in quality.items())
    log.info(
        f"words count {chosen.weight:g}, numbers {chosen.number_weight:g}; {len(asked):,} generated queries: {shown}"
    )
    return chosen, quality


def answered_above(
    products: Products, vectors: Float32, index: WordIndex, weights: WordWeights, encoder: TextEncoder, seed: int
) -> float:
    """The evidence below which a search's best product is no answer: 98 % of short misspelt queries have more.

    The queries are the first two words of random titles with one typing error.
    """
    draw = random.Random(seed)
    titles = [title for title in products.titles if query_words(title)]
    some = draw.sample(titles, min(len(titles), _SHORT))
    texts = [add_typo(" ".join(title.split()[:2]), draw) for title in some]
    if not texts:
        return 0.0
    queries = zip(texts, unit_rows(encoder.encode(texts)), strict=True)
    found = [_evidence(text, vector, vectors, index, weights, products) for text, vector in queries]
    limit = float(np.quantile(found, _FALSE_ALARMS))
    log.info(f"searches whose best product shows less evidence than {limit:.3f} get a warning")
    return limit


def _evidence(
    text: str, query: Float32, vectors: Float32, index: WordIndex, weights: WordWeights, products: Products
) -> float:
    words, cosines = words_of(text), vectors @ query
    row, head = int(np.argmax(cosines + added_by_words(index, weights, words))), head_of(words)
    named = indexed_words(f"{products.titles[row]} {products.brands[row]} {products.categories[row]}")
    is_misspelt = bool(head) and holds_misspelt(named, head[0].text)
    return evidence(float(cosines[row]), index.held(head, row), is_misspelt)


def make_queries(products: Products, index: WordIndex, seed: int) -> Iterator[Asked]:
    """Queries of six kinds, made from random products: two words of a title, noun and number, brand and noun, a title
    with one typo, one with several, and a scrawled one with a price. The first three are answered by all products that
    hold the words, the others by the products of the same title.
    """
    draw = random.Random(seed)
    rows = [row for row, title in enumerate(products.titles) if len(query_words(title)) > 1]
    draw.shuffle(rows)
    same: dict[str, list[int]] = {}
    for row, title in enumerate(products.titles):
        same.setdefault(title, []).append(row)
    # a price looks like the sizes and doses of other products
    prices = [word for row in rows for word in query_words(products.titles[row]) if word.isdigit()] or ["99"]
    made = dict.fromkeys(("words", "number", "brand", *_KNOWN_ITEMS), 0)
    for row in rows:
        title = products.titles[row]
        words = query_words(title)
        noun, rest = words[0], words[1:]
        texts = {
            "words": f"{noun} {draw.choice(rest)}",
            "number": _with_number(noun, rest, draw) if not is_number(noun) else "",
            "brand": f"{products.brands[row]} {noun}" if products.brands[row] else "",
            "typo": add_typo(title, draw),
            "typos": augment_title(title, draw),
            "price": f"{_scrawl(title, draw)} {draw.choice(prices)}",
        }
        for kind, text in texts.items():
            if made[kind] < _QUERIES and text:
                made[kind] += 1
                answers = np.array(same[title], np.int64) if kind in _KNOWN_ITEMS else _holding(index, text)
                yield Asked(kind, text, answers)
        if min(made.values()) >= _QUERIES:
            return


def words_of(text: str) -> list[Word]:
    """The words of a raw text as a search without other understanding has them."""
    return [Word(text, 1.0, is_number(text), place) for place, text in enumerate(query_words(text))]


def _with_number(noun: str, rest: Sequence[str], draw: random.Random) -> str:
    """The noun, up to two more words and a number of a title; "" if it has no number."""
    numbers, others = [word for word in rest if is_number(word)], [word for word in rest if not is_number(word)]
    if not numbers:
        return ""
    return " ".join((noun, *draw.sample(others, min(len(others), draw.randrange(3))), draw.choice(numbers)))


def _scrawl(title: str, draw: random.Random) -> str:
    """A title as a hurried seller writes it: every second word misspelt, some left out, some joined."""
    words = [word for word in title.split() if is_number(word) or draw.random() > 0.2] or title.split()
    words = [add_typo(word, draw) if len(word) > 2 and draw.random() < 0.5 else word for word in words]
    return "".join(word + (" " if draw.random() > 0.2 else "") for word in words).strip()


def _holding(index: WordIndex, text: str) -> Int64:
    held = [index.rows_of(word) for word in query_words(text)]
    found = held[0]
    for rows in held[1:]:
        found = np.intersect1d(found, rows)
    return found


def _candidates(asked: Asked, query: Float32, vectors: Float32, index: WordIndex) -> _Candidates:
    match = index.match(words_of(asked.text))
    cosines = vectors @ query
    numbers = np.zeros_like(cosines) if match.numbers is None else match.numbers
    rankings = (
        cosines,
        cosines + np.float32(0.3) * match.scores,
        cosines + match.scores,
        cosines + match.scores + np.float32(0.35) * numbers,
        cosines + np.float32(0.35) * numbers,
    )
    count = min(_CANDIDATES, len(cosines))
    rows = np.unique(np.concatenate([np.argpartition(-one, count - 1)[:count] for one in rankings]))
    return _Candidates(
        asked.kind,
        cosines[rows],
        match.scores[rows],
        numbers[rows],
        match.known,
        match.known_words,
        np.isin(rows, asked.answers).astype(np.float64),
        len(asked.answers),
    )


def _quality(cases: Sequence[_Candidates], kinds: Sequence[str], weights: WordWeights) -> Float64:
    """The mean over the queries of each kind [K] of the share of the ten first places that are answers."""
    sums, counts = dict.fromkeys(kinds, 0.0), dict.fromkeys(kinds, 0)
    for case in cases:
        word, number = weights.weight * case.known, weights.number_weight * case.known_words**2
        scores = case.cosines + word * case.words + number * case.numbers
        best = np.argsort(-scores, kind="stable")[:_LISTED]
        counts[case.kind] += 1
        if case.kind in _KNOWN_ITEMS:
            # one product was meant: its place counts
            places = np.flatnonzero(case.is_answer[best])
            sums[case.kind] += 1 / (1 + places[0]) if len(places) else 0.0
        else:
            sums[case.kind] += case.is_answer[best].sum() / max(1, min(_LISTED, case.answers))
    return np.array([sums[kind] / max(1, counts[kind]) for kind in kinds])
