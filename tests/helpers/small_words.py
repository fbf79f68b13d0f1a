"""The search words of a shop of a dozen titles."""

from __future__ import annotations

from trainer.release.search_words import WordCounter
from twotower.artifact.catalogue import Product
from twotower.artifact.search_words import SearchWords

# title, brand, category
PRODUCTS = [
    ("خاتم ذهب عيار 21 درر نجوان", "درر نجوان", "مجوهرات"),
    ("خاتم ذهب أبيض مرصع", "درر نجوان", "مجوهرات"),
    ("خاتم فضة 925", "درر نجوان", "مجوهرات"),
    ("عطر عود ملكي 100 مل", "عود الرميثان", "عطور وعود"),
    ("عطر مسك أبيض 50 مل", "عود الرميثان", "عطور وعود"),
    ("جوال Lumora 256 جيجا", "Lumora", "جوالات"),
    ("جوال Lumora Pro بشاشة كبيرة", "Lumora", "جوالات"),
    ("ساعة ذكية برقان مقاومة للماء", "برقان", "جوالات"),
    ("ساعة ذكية Barqan Pro", "Barqan Pro", "جوالات"),
    ("قهوة عربية بهيل 250 جرام", "دار البن", "تمور وقهوة"),
    ("قهوة شقراء بالزعفران", "دار البن", "تمور وقهوة"),
    ("مناديل مبللة بدون عطر للأطفال", "نونو", "مستلزمات الأطفال"),
    ("عباية سوداء كريب", "خيوط دانة", "عبايات"),
    ("عباية كحلية كريب", "خيوط دانة", "عبايات"),
    ("إطار سيارة 265/70R16", "درب السلامة", "قطع غيار"),
    ("كرة قدم مقاس 5 Hadaf Sport", "Hadaf Sport", "رياضة"),
]


def products() -> list[Product]:
    return [
        Product(f"p{row}", row, title, "", brand, category, 100.0, "SAR", True, 0.0)
        for row, (title, brand, category) in enumerate(PRODUCTS)
    ]


def search_words() -> SearchWords:
    counter = WordCounter()
    assert list(counter.count(products())) == products()
    return counter.search_words({}, {})
