"""What the index of words holds of each field."""

from __future__ import annotations

from dataclasses import replace

from tests.helpers.words import products_of_titles
from trainer.search.words import build_words
from twotower.search.word_index import Word, WordIndex

PRODUCTS = replace(
    products_of_titles(
        ["خاتم ذهب", "رواية", ""],
        brands=["لازوردي", "", ""],
        categories=["مجوهرات", "كتب", ""],
        descriptions=["هدية فاخرة 750", "", ""],
        searched=["SKU-77 عمر", "نجيب محفوظ", ""],
    ),
    attributes=[("$.attributes=فاخر جدا",), (), ()],
)


def score(index: WordIndex, word: str, row: int = 0) -> float:
    return float(index.match([Word(word)]).scores[row])


def test_every_field_is_found_and_a_title_counts_most() -> None:
    index = build_words(PRODUCTS, reads_descriptions=False)
    for word in ("لازوردي", "مجوهرات", "فاخر", "77", "sku", "عمر"):
        assert score(index, word) > 0
    assert score(index, "محفوظ", 1) > 0
    assert score(index, "خاتم") == score(index, "عمر") > score(index, "لازوردي") > score(index, "مجوهرات")
    assert not index.knows("هديه")


def test_descriptions_count_little_and_their_numbers_not_at_all() -> None:
    index = build_words(PRODUCTS, reads_descriptions=True)
    assert 0 < score(index, "هديه") < score(index, "مجوهرات")
    assert not index.knows("750")


def test_a_catalogue_without_words_has_an_empty_index() -> None:
    index = build_words(products_of_titles(["", "!!"]), reads_descriptions=True)
    assert len(index) == 0
    index.check()
    assert not index.match([Word("خاتم")]).scores.any()


def test_words_are_sorted_by_their_bytes() -> None:
    index = build_words(PRODUCTS, reads_descriptions=True)
    words = [index.word(place) for place in range(len(index))]
    assert words == sorted(words, key=str.encode)
    assert all(index.place(word) == place for place, word in enumerate(words))


def test_a_denied_word_is_not_held() -> None:
    index = build_words(products_of_titles(["مناديل بدون عطر للأطفال", "عطر عود"]), reads_descriptions=False)
    assert index.rows_of("عطر").tolist() == [1]
    assert index.rows_of("بدون").tolist() == index.rows_of("اطفال").tolist() == [0]


def test_a_brand_counts_the_same_whether_the_title_repeats_it_or_not() -> None:
    products = products_of_titles(
        ["خاتم ذهب ناعم دلة الضيفان", "سوار فضة ناعم", "دلة قهوة نحاس"], brands=["دلة الضيفان"] * 2 + [""]
    )
    index = build_words(products, reads_descriptions=False)
    assert score(index, "ضيفان", 0) == score(index, "ضيفان", 1) > 0
    # a pot before the brand with a pot in its name
    assert score(index, "دله", 2) > score(index, "دله", 0)


def test_what_comes_with_a_product_counts_less() -> None:
    index = build_words(products_of_titles(["سيارة لعبة مع شاحن", "شاحن جوال سريع جدا"]), reads_descriptions=False)
    assert 0 < score(index, "شاحن", 0) < score(index, "شاحن", 1)
