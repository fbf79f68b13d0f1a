"""The catalogue of the demo market: what its file says, and how a mistake in it is reported."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.market.catalogue import CATALOGUE, CatalogueError, load_catalogue, parse_nouns, read_catalogue
from demo.market.stock import Assortment

REQUIRED = (
    "jewellery perfumes abayas thobes phones cars dates_coffee spices kitchen toys books skin_care furniture sports "
    "baby garden"
)

Content = dict[str, Any]
Change = Callable[[Content], None]


def test_the_categories_of_the_market_exist_under_different_names() -> None:
    categories = load_catalogue().categories
    assert set(categories) >= set(REQUIRED.split())
    assert len({category.name for category in categories.values()}) == len(categories)


def test_the_file_is_readable_arabic() -> None:
    text = CATALOGUE.read_text(encoding="utf-8")
    assert "\\u" not in text
    assert "خاتم" in text


def test_markup_is_balanced() -> None:
    for category in load_catalogue().categories.values():
        for kind in category.types.values():
            for phrase in (*category.openers, *category.details, *kind.notes):
                assert phrase.count("[") == phrase.count("]") == phrase.count("/") - choices(phrase), phrase
    assert load_catalogue().feminine["أسود"] == "سوداء"


def choices(phrase: str) -> int:
    return sum(choice.count("/") for choice in re.findall(r"\{[^}]*\}", phrase))


def test_every_tag_of_a_sentence_belongs_to_a_type_of_its_category() -> None:
    for category in load_catalogue().categories.values():
        tags = {kind.tag for kind in category.types.values()}
        for sentence in (*category.openers, *category.details):
            assert not sentence.startswith("@") or sentence[1:].split(" ")[0] in tags, sentence


@pytest.mark.parametrize(
    ("marked", "text", "definite", "feminine"),
    [
        ("خاتم", "خاتم", "الخاتم", False),
        ("عباية:f", "عباية", "العباية", True),
        ("حقيبة يد:f", "حقيبة يد", "حقيبة اليد", True),
        ("ساعة_ذكية:f", "ساعة ذكية", "الساعة الذكية", True),
        ("مرطب~للوجه", "مرطب للوجه", "المرطب للوجه", False),
    ],
)
def test_nouns_take_the_article(marked: str, text: str, definite: str, feminine: bool) -> None:
    (noun,) = parse_nouns(marked)
    assert (noun.text, noun.definite, noun.feminine) == (text, definite, feminine)


def test_types_and_categories_are_numbered_in_the_order_of_the_file() -> None:
    assortment = Assortment.of(load_catalogue())
    assert assortment.types[assortment.type_number["ring"]].english == "Ring"
    assert assortment.category_of.tolist() == sorted(assortment.category_of.tolist())
    for number, category in enumerate(assortment.categories):
        first, end = assortment.first_type[number : number + 2]
        assert assortment.types[first:end] == tuple(category.types.values())


def small_catalogue() -> Content:
    """Two categories, each with two styles and one type."""
    return {
        "feminine": {"أحمر": "حمراء"},
        "vocalised": {"ذهب": "ذَهَب"},
        "delivery": ["التوصيل مجاني."],
        "categories": {"gems": category("rings", near="cups", link="mug"), "cups": category("mug", "gems", "rings")},
    }


def category(kind: str, near: str, link: str) -> Content:
    return {
        "name": f"name of {kind}",
        "weight": 1,
        "style_weights": [0.5, 0.5],
        "style_prices": [1, 2],
        "near": [near],
        **dict.fromkeys(("brands", "adjectives", "leads", "models"), "أول؛ ثان"),
        **{name: ["%t من %b."] for name in ("titles", "openers", "details")},
        "types": {
            kind: {
                "nouns": "خاتم؛ سلسلة:f",
                "english": "Ring",
                "price": 10,
                "weight": 1,
                "specs": ["ذهب", "فضة"],
                "features": "يدوي",
                "notes": ["جديد."],
                "links": {link: 1},
            }
        },
    }


def problems(data: Content, folder: Path) -> list[str]:
    """The lines of the error that reading this catalogue raises."""
    path = folder / "catalogue.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True, sort_keys=False), encoding="utf-8")
    with pytest.raises(CatalogueError) as raised:
        read_catalogue(path)
    lines = str(raised.value).splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


def put(path: str, value: object) -> Change:
    *parents, last = path.split(".")

    def change(data: Content) -> None:
        for key in parents:
            data = data[key]
        data[last] = value

    return change


def remove(path: str) -> Change:
    *parents, last = path.split(".")

    def change(data: Content) -> None:
        for key in parents:
            data = data[key]
        del data[last]

    return change


def test_optional_fields_have_defaults(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(yaml.safe_dump(small_catalogue(), allow_unicode=True, sort_keys=False), encoding="utf-8")
    kind = read_catalogue(path).categories["gems"].types["rings"]
    assert (kind.specs, kind.sizes, kind.coloured, kind.restock_days) == ((("ذهب",), ("فضة",)), (), True, 0)
    assert [noun.feminine for noun in kind.nouns] == [False, True]


GEMS = "categories.gems"
RINGS = f"{GEMS}.types.rings"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (remove(f"{RINGS}.price"), "category gems, type rings, field price is missing"),
        (remove(f"{GEMS}.brands"), "category gems, field brands is missing"),
        (remove("delivery"), "field delivery is missing"),
        (put(f"{RINGS}.colour", "أحمر"), "category gems, type rings, field colour is not a known field"),
        (put(f"{GEMS}.styles", [1]), "category gems, field styles is not a known field"),
        (put("shipping", []), "field shipping is not a known field"),
        (put(f"{RINGS}.price", -3), "category gems, type rings, field price is -3: Input should be greater than 0"),
        (put(f"{RINGS}.nouns", ""), "category gems, type rings, field nouns is ''"),
        (put(f"{RINGS}.features", 7), "category gems, type rings, field features is 7"),
        (put(f"{RINGS}.specs", ["ذهب", ""]), "category gems, type rings, field specs.1 is ''"),
        (
            put(f"{RINGS}.links", {"mugs": 1}),
            "category gems, type rings, field links names 'mugs', which is no other type",
        ),
        (
            put(f"{RINGS}.links", {"rings": 1}),
            "category gems, type rings, field links names 'rings', which is no other type",
        ),
        (put(f"{GEMS}.near", ["pots"]), "category gems, field near names 'pots', which is no other category"),
        (
            put(f"{GEMS}.style_prices", [1, 2, 3]),
            "category gems, field style_prices has 3 entries, style_weights has 2: each style needs both",
        ),
        (
            put(f"{RINGS}.specs", ["ذهب", "فضة", "ألماس"]),
            "category gems, type rings, field specs has 3 entries; give 1 or 2, one for each style",
        ),
        (
            put("categories.cups", category("rings", "gems", "mug")),
            "category cups, type rings: category gems has a type of this name too",
        ),
    ],
)
def test_an_error_names_category_type_and_field(change: Change, problem: str, tmp_path: Path) -> None:
    data = small_catalogue()
    change(data)
    assert problems(data, tmp_path)[0].startswith(problem)


def test_all_errors_are_reported_together(tmp_path: Path) -> None:
    data = small_catalogue()
    remove(f"{RINGS}.price")(data)
    put("categories.cups.name", None)(data)
    assert len(problems(data, tmp_path)) == 2


@pytest.mark.parametrize("text", ["categories: [", "", "- خاتم"])
def test_a_file_that_is_no_catalogue_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CatalogueError, match=re.escape(str(path))):
        read_catalogue(path)
