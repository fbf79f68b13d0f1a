"""Searches by text with words, through the service."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.retrieval import PRODUCTS, Stub, opened, query, search
from tests.helpers.services import running
from tests.helpers.tiny_version import build_version
from tests.retrieval_service.test_texts import by_text
from twotower import errors
from twotower.arrays import Float32
from twotower.pb import retrieval_pb2
from twotower.serving.client import connect

Word = retrieval_pb2.Word


@pytest.fixture
def texts(tiny: Path) -> Float32:
    return np.load(opened(tiny).layout.text_embeddings)


def asked(k: int, *words: str) -> retrieval_pb2.Query:
    message = query(k)
    message.words.extend(Word(text=word, weight=1, group=place) for place, word in enumerate(words))
    return message


async def test_products_that_hold_the_words_come_first(stub: Stub, texts: Float32) -> None:
    # the vector of another product altogether
    with_words, without = await by_text(stub, texts[[0, 0]], asked(40, "سكري", "تمر"), query(40))
    titles = {one.id: one.title for one in PRODUCTS}
    holding = [place for place, one in enumerate(with_words.product_ids) if "سكري" in titles[one]]
    before = [place for place, one in enumerate(without.product_ids) if "سكري" in titles[one]]
    assert sum(holding) < sum(before)
    assert sorted(with_words.product_ids) == sorted(without.product_ids)


async def test_excluded_words_leave_products_out_of_every_list(stub: Stub, texts: Float32, stored: Float32) -> None:
    left = {one.id for one in PRODUCTS if "ذهب" not in one.title}
    wanted = query(40, excluded_words=["الذهب"])
    for (hits,) in (
        await by_text(stub, texts[:1], wanted),
        await search(stub, stored[:1], wanted),
    ):
        assert set(hits.product_ids) == left


async def test_an_answer_far_from_the_words_says_so(tmp_path: Path, texts: Float32) -> None:
    build_version(tmp_path, "deaf", noise_with_words=9.0)  # no score is so high
    async with running("retrieval", tmp_path) as service, connect(service.address) as channel:
        words, vector = await by_text(Stub(channel), texts[[0, 0]], asked(1, "خاتم"), query(1), version="deaf")
        assert words.is_below_noise
        assert not vector.is_below_noise


async def test_the_first_word_that_is_no_number_must_be_held_or_the_vectors_be_near(
    tmp_path: Path, texts: Float32
) -> None:
    # 1.2 lies between a cosine of 1 and that with a word of the best product
    build_version(tmp_path, "strict", noise_with_words=1.2)
    first = next(one for one in PRODUCTS if "خاتم" in one.title)
    same, words = texts[[first.row] * 4], ["خاتم", "qqqq"]
    async with running("retrieval", tmp_path) as service, connect(service.address) as channel:
        queries = [asked(1, *words), asked(1, *reversed(words)), asked(1, "21", *words), asked(1, "qqqq", "خاتم", "21")]
        queries[2].words[0].is_number = True
        held, other, after_number, last = await by_text(Stub(channel), same, *queries, version="strict")
        assert [one.is_below_noise for one in (held, other, after_number, last)] == [False, True, False, True]


async def test_a_misspelt_first_word_counts_as_some_evidence(tmp_path: Path, texts: Float32) -> None:
    # 1.1 lies between a cosine of 1 and that with a typing error of the best product's word
    build_version(tmp_path, "strict", noise_with_words=1.1)
    first = next(one for one in PRODUCTS if "خاتم" in one.title)
    async with running("retrieval", tmp_path) as service, connect(service.address) as channel:
        queries = [asked(1, "ختام"), asked(1, "qqqq", "ختام"), asked(1, "qqqq")]
        misspelt, second, strange = await by_text(Stub(channel), texts[[first.row] * 3], *queries, version="strict")
        assert misspelt.product_ids == [first.id]
        assert [one.is_below_noise for one in (misspelt, second, strange)] == [False, True, True]


@pytest.mark.parametrize(
    ("word", "field"),
    [
        (Word(text="", weight=1), "words.text"),
        (Word(text="؟", weight=1), "words.text"),
        (Word(text="ب" * 129, weight=1), "words.text"),
        (Word(text="خاتم", weight=0), "words.weight"),
        (Word(text="خاتم", weight=1.5), "words.weight"),
        (Word(text="خاتم", weight=float("nan")), "words.weight"),
    ],
)
async def test_a_word_without_text_or_weight_is_refused(stub: Stub, texts: Float32, word: Word, field: str) -> None:
    message = query(3)
    message.words.append(word)
    with pytest.raises(errors.InvalidInput, match=field):
        await by_text(stub, texts[:1], message)


@pytest.mark.parametrize("word", ["", "؟", "ب" * 129])
async def test_an_excluded_word_without_text_is_refused(stub: Stub, stored: Float32, word: str) -> None:
    with pytest.raises(errors.InvalidInput, match=r"filter\.excluded_words"):
        await search(stub, stored[:1], query(3, excluded_words=[word]))


async def test_words_are_for_searches_by_text(stub: Stub, stored: Float32) -> None:
    with pytest.raises(errors.InvalidInput, match=r"queries\[0\].words"):
        await search(stub, stored[:1], asked(3, "خاتم"))
