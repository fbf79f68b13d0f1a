"""Words and slots of live products against the index that the trainer would have built with them."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval_service.live.slots import LiveNames
from retrieval_service.live.words import LiveWords, product_fields
from tests.helpers.tiny_version import catalogue, products_of
from trainer.search.words import build_words
from twotower.artifact.manifest import WordWeights
from twotower.search.word_index import Word
from twotower.search.word_search import added_by_words
from twotower.text.normalise import Normaliser
from twotower.text.product_words import count_words
from twotower.text.words import is_number, query_words

ITEMS = catalogue(40)
INDEX = build_words(products_of(ITEMS), reads_descriptions=True)
(NEW,) = query_words("زمردة")
WEIGHTS = WordWeights(weight=0.7, number_weight=0.2)


def live_words() -> LiveWords:
    """All products once more, as live ones."""
    fields = [product_fields(one.title, one.description, one.brand, one.category, True) for one in ITEMS]
    mean = float(np.mean([count_words(one).total() for one in fields]))
    words = LiveWords(INDEX, WEIGHTS, mean, True)
    for slot, one in enumerate(ITEMS):
        words.add(slot, one.title, one.description, one.brand, one.category)
    return words


@pytest.mark.parametrize(
    "query", ["خاتم ذهب", "زيت محرك موديل 6", "عطر", "بالخاتم", "موديل 7 8", "لازوردي قلادة", "12x13"]
)
def test_words_count_for_a_live_product_as_for_an_indexed_one(query: str) -> None:
    asked = [Word(text, 1.0, is_number(text), place) for place, text in enumerate(query_words(query))]
    wanted = added_by_words(INDEX, WEIGHTS, asked)
    np.testing.assert_allclose(live_words().added(asked, len(ITEMS)), wanted, atol=1e-5)


def test_alternatives_count_once_and_a_word_that_only_live_products_have_is_known() -> None:
    words = live_words()
    asked = [Word("خاتم", 1.0, False, 0), Word("سلسال", 0.8, False, 0)]
    np.testing.assert_allclose(words.added(asked, 40), added_by_words(INDEX, WEIGHTS, asked), atol=1e-5)
    words.add(40, "زمردة", "", "", "")
    added = words.added([Word(NEW)], 41)
    assert np.flatnonzero(added).tolist() == [40]
    assert words.held([Word("شيء"), Word(NEW, 0.5)], 40, 41) == pytest.approx(0.5 * words.held([Word(NEW)], 40, 41))
    assert [words.held(asked, row, 40) for row in range(40)] == pytest.approx(
        [INDEX.held(asked, row) for row in range(40)], abs=1e-5
    )
    # slots that a search does not see yet
    assert not words.added([Word(NEW)], 40).any()
    assert np.flatnonzero(words.holding(NEW, 41)).tolist() == [40]
    assert np.flatnonzero(words.holding("خاتم", 40)).tolist() == INDEX.rows_of("خاتم").tolist()


def test_a_filter_value_matches_a_name_or_its_other_spellings() -> None:
    names = LiveNames(Normaliser.profile("full"))
    assert [names.code(one) for one in ("أحمد", "احمد", "سارة", "أحمد")] == [0, 1, 2, 0]
    assert names.codes("احمد", is_name=False) == [1]
    assert names.codes("إحمد", is_name=False) == [0, 1]
    # a name of the version is meant as it is written
    assert names.codes("إحمد", is_name=True) == []


@pytest.mark.parametrize("text", ["خاتم", "خاتمي", "بالخاتم", "12x13", "مو", "قلادة", "7"])
def test_a_word_weighs_what_a_search_gives_it(text: str) -> None:
    for alternatives in ([Word(text)], [Word(text, 0.5), Word("ذهب", 0.9)]):
        found = INDEX._best(alternatives)
        assert INDEX.weigh(alternatives) == pytest.approx((found.weight, found.sure))
