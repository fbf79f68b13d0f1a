"""What is counted of a catalogue's words."""

from __future__ import annotations

from tests.helpers.small_words import PRODUCTS, search_words


def test_words_count_titles_and_names_count_products() -> None:
    words = search_words()
    assert words.words["خاتم"] == 3 and words.words["265/70r16"] == 1 and words.words["عطر"] == 3
    # a word of a brand alone is no word of a title
    assert "دار" not in words.words
    assert words.brands["درر نجوان"] == 3 and words.categories["جوالات"] == 4
    assert sum(words.categories.values()) == len(PRODUCTS)


def test_phrases_are_those_of_two_titles_as_most_write_them() -> None:
    phrases = search_words().phrases
    assert phrases["خاتم ذهب"] == 2 and phrases["ساعة ذكية"] == 2 and phrases["كريب"] == 2
    assert "خاتم فضة" not in phrases
    # no number, and no joining word at an end
    assert not any(any(letter.isdigit() for letter in phrase) for phrase in phrases)
    assert "بدون" not in phrases


def test_denials_are_counted_whatever_their_number() -> None:
    assert search_words().denials == {"بدون عطر": 1}
