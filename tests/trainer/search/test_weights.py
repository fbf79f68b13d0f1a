"""The weights of words follow what the generated queries gain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.helpers.words import products_of_titles
from trainer.search.weights import answered_above, choose_weights, make_queries
from trainer.search.words import build_words
from twotower.arrays import Float32
from twotower.search.vector_index import unit_rows

NOUNS = ["خاتم", "سلسال", "عطر", "بخور", "زيت", "فستان", "حقيبة", "ساعة"]
PLACES = ["الرياض", "جدة", "مكة", "الدمام", "تبوك", "أبها", "نجران", "جازان", "حائل"]
PRODUCTS = products_of_titles(
    [f"{noun} {place} {number}" for noun in NOUNS for place in PLACES for number in (10, 25)],
    brands=[f"ماركة{row % 6}" for row in range(len(NOUNS) * len(PLACES) * 2)],
)
INDEX = build_words(PRODUCTS, reads_descriptions=False)


class Blind:
    """A text encoder that gives all texts one vector, with a little noise."""

    def encode(self, texts: Sequence[str]) -> Float32:
        draw = np.random.default_rng(len(texts))
        return np.array([1] + [0] * 15, np.float32) + 0.01 * draw.normal(size=(len(texts), 16)).astype(np.float32)


class Trigrams:
    """A text encoder that sees trigrams."""

    def encode(self, texts: Sequence[str]) -> Float32:
        rows = np.zeros((len(texts), 512), np.float32)
        for row, text in enumerate(texts):
            for place in range(len(text) - 2):
                rows[row, sum(ord(one) * 31**at for at, one in enumerate(text[place : place + 3])) % 512] += 1
        return rows


def test_queries_of_all_kinds_are_made_and_have_answers() -> None:
    asked = list(make_queries(PRODUCTS, INDEX, 7))
    assert {one.kind for one in asked} == {"words", "number", "brand", "typo", "typos", "price"}
    assert all(len(one.answers) for one in asked)
    assert [one.text for one in asked] == [one.text for one in make_queries(PRODUCTS, INDEX, 7)]
    exact = next(one for one in asked if one.kind == "words")
    for row in exact.answers:
        held = f"{PRODUCTS.titles[row]} {PRODUCTS.brands[row]}"
        assert all(word in held.replace("ة", "ه").replace("أ", "ا") for word in exact.text.split())


def test_words_count_much_where_vectors_say_nothing() -> None:
    encoder: Any = Blind()
    weights, quality = choose_weights(PRODUCTS, unit_rows(encoder.encode(PRODUCTS.titles)), INDEX, encoder, 7)
    assert weights.weight > 0
    assert quality["words"]["words"] > 0.9 > 0.3 > quality["words"]["vector"]


def test_an_answer_needs_more_evidence_than_strange_words_have_and_less_than_a_misspelt_title() -> None:
    encoder: Any = Trigrams()
    vectors = unit_rows(encoder.encode(PRODUCTS.titles))
    weights, _ = choose_weights(PRODUCTS, vectors, INDEX, encoder, 7)
    limit = answered_above(PRODUCTS, vectors, INDEX, weights, encoder, 7)
    strange, known = (float((vectors @ unit_rows(encoder.encode([text]))[0]).max()) for text in ("xyzzy", "خاتم"))
    assert strange < limit < known + 1


def test_titles_without_words_keep_the_defaults() -> None:
    empty, encoder = products_of_titles(["", ""]), Blind()
    index = build_words(empty, reads_descriptions=False)
    arguments: Any = (empty, np.zeros((2, 16), np.float32), index)
    weights, quality = choose_weights(*arguments, encoder, 7)  # type: ignore[arg-type]
    assert (weights.weight, quality) == (0.3, {})
    assert answered_above(*arguments, weights, encoder, 7) == 0.0  # type: ignore[arg-type]
