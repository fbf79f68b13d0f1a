"""A drawn placeholder for each kind of product, for products without an image."""

from __future__ import annotations

# words of a category, and the path of its drawing on a square of 48
_DRAWINGS = (
    (("مجوهرات", "jewel"), "M19 5h10l4 6-9 8-9-8zM24 19a12 12 0 1 0 .1 0"),
    (
        ("عطور", "بخور", "عود", "perfume"),
        "M20 6h8v6h-8zM22 12v4h4v-4M14 20q0-4 4-4h12q4 0 4 4v18q0 4-4 4H18q-4 0-4-4zM14 28h20",
    ),
    (("عباي", "ثياب", "abaya", "thobe", "cloth"), "M18 8l6 4 6-4 9 7-4 7-3-2v22H16V20l-3 2-4-7z"),
    (("جوال", "phone"), "M16 6h16q2 0 2 2v32q0 2-2 2H16q-2 0-2-2V8q0-2 2-2zM14 35h20M22 38.500h4"),
    (("سيار", "car"), "M6 30v-6l5-2 4-8h18l4 8 5 2v6zM15 34a3 3 0 1 0 .1 0M33 34a3 3 0 1 0 .1 0M12 22h24"),
    (
        ("تمور", "قهوة", "coffee", "dates"),
        "M10 18h24v10q0 10-12 10T10 28zM34 20h4q4 0 4 5t-8 5M17 6q-3 4 0 8M26 6q-3 4 0 8",
    ),
    (("بهار", "توابل", "spice"), "M16 6h16v8H16zM14 14h20v26q0 2-2 2H16q-2 0-2-2zM14 22h20M14 34h20"),
    (("مطبخ", "kitchen"), "M6 20h30v12q0 8-8 8H14q-8 0-8-8zM36 24h8M14 8q-3 4 0 7M22 8q-3 4 0 7M30 8q-3 4 0 7"),
    (("ألعاب", "toy"), "M8 22h16v18H8zM24 28h16v12H24zM16 6l7 16H9zM32 14a7 7 0 1 0 .1 0"),
    (("كتب", "book"), "M24 12q-8-5-18-3v28q10-2 18 3 8-5 18-3V9q-10-2-18 3zM24 12v28"),
    (("بشرة", "جمال", "skin", "beauty"), "M18 6h12v8H18zM14 14h20l-2 26q0 2-2 2H18q-2 0-2-2zM24 22q6 7 0 11-6-4 0-11"),
    (("أثاث", "مفروش", "furniture"), "M10 22V12q0-4 4-4h20q4 0 4 4v10M6 22h6v8h24v-8h6v14H6zM10 36v5M38 36v5"),
    (
        ("رياض", "sport"),
        "M24 6a18 18 0 1 0 .1 0M24 16l8 6-3 9H19l-3-9zM24 6v10M7 22l9 0M41 22l-9 0M14 39l5-8M34 39l-5-8",
    ),
    (("أطفال", "baby"), "M18 14h12l2 8v16q0 4-4 4h-8q-4 0-4-4V22zM20 14q0-8 4-8t4 8M16 28h8M16 34h8"),
    (
        ("حديق", "زراع", "نبات", "garden"),
        "M14 28h20l-3 14H17zM24 28V14M24 20q-10 0-10-10 10 0 10 10M24 16q8 0 8-8-8 0-8 8",
    ),
    (("حقائب", "أحذية", "bag", "shoe"), "M8 18h32l-3 23H11zM17 18q0-11 7-11t7 11"),
)
_BOX = "M8 16 24 7l16 9v17l-16 9-16-9zM8 16l16 9 16-9M24 25v17"


def drawing_of(category: str) -> str:
    """The path of a category's drawing; a box for a category that no drawing fits."""
    name = category.casefold()
    return next((path for words, path in _DRAWINGS if any(word in name for word in words)), _BOX)
