"""Price phrases become limits, and numbers that measure something else stay words."""

from __future__ import annotations

import pytest

from item_service.query.numbers import value_of
from item_service.query.prices import read_prices
from item_service.query.query import Query, read


@pytest.mark.parametrize(
    ("typed", "text", "low", "high"),
    [
        ("عطر أقل من 200", "عطر", None, 200),
        ("جوال تحت 1500 ريال", "جوال", None, 1500),
        ("عباية ارخص من ١٥٠", "عبايه", None, 150),
        ("كنب بسعر لا يتجاوز ١٬٠٠٠ ريال", "كنب", None, 1000),
        ("مرتبة ما تزيد عن 800", "مرتبه", None, 800),
        ("كريم ب50 ريال أو أقل", "كريم", None, 50),
        ("سماعات اقل من مية ريال", "سماعات", None, 100),
        ("perfume under 50 sar", "perfume", None, 50),
        ("under $20 hoodie", "hoodie", None, 20),
        ("شنطة فوق 300 ريال", "شنطه", 300, None),
        ("هدية بأكثر من ألفين", "هديه", 2000, None),
        ("شنط من 200 ريال وفوق", "شنط", 200, None),
        ("خاتم بين 100 و200", "خاتم", 100, 200),
        ("خاتم بين ٥٠٠ و ١٠٠٠ ريال", "خاتم", 500, 1000),
        ("دراجة من 300 إلى 500", "دراجه", 300, 500),
        ("جوال 100-200 ريال", "جوال", 100, 200),
        ("gift between 50 and 80 riyals", "gift", 50, 80),
        ("جوال max 2000 sar", "جوال", None, 2000),
        # about: a quarter below and above
        ("خاتم بميتين وخمسين ريال", "خاتم", 187.5, 312.5),
        ("حفاضات بحدود 100 ريال", "حفاضات", 75, 125),
        ("كنب 1.5k وتحت", "كنب", None, 1500),
    ],
)
def test_a_price_phrase_is_a_limit(typed: str, text: str, low: float | None, high: float | None) -> None:
    found = read_prices(read(Query(typed, typed)))
    assert (found.text, found.price_min, found.price_max) == (text, low, high)
    assert [(change.step, change.after) for change in found.changes] == [("price", "")]


@pytest.mark.parametrize(
    "typed",
    [
        "عطر أقل من 100 مل",
        "حذاء مقاس من 38 إلى 42",
        "لعبة من 3 إلى 6 سنوات",
        "خاتم ذهب 21",
        "شاحن 65 واط",
        "زيت 5w-30 4 لتر",
        "ثوب 56",
        "فوق السرير",
        # a model's name
        "سماعة بلوتوث Max 18 ذهبية",
        # nothing else is left to search
        "أقل من 200",
    ],
)
def test_other_numbers_are_no_prices(typed: str) -> None:
    query = read(Query(typed, typed))
    assert read_prices(query) == query


@pytest.mark.parametrize(
    ("text", "value"),
    [("150", 150), ("1.5k", 1500), ("2 الف", 2000), ("ميه وخمسين", 150), ("ثلاثميه", 300), ("الف وميتين", 1200)],
)
def test_numbers_in_digits_and_in_words(text: str, value: float) -> None:
    assert value_of(text) == value
