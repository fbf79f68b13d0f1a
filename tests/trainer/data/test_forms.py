"""Forms of values, ids and times that shops write: what each is read as, or why it is refused."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from tests.helpers.small_shop import EVENT_COLUMNS, PRODUCT_COLUMNS, write_csv
from trainer.config.loading import load_config
from trainer.data import fields
from trainer.data.availability import as_flag
from trainer.data.dataset import Dataset, load_dataset
from trainer.data.id_forms import explain_unknown, warn_of_look_alikes
from trainer.data.objects import read_object
from trainer.data.prices import as_price
from trainer.data.rejects import first_problem, id_checks
from trainer.data.time_forms import explain_unreadable, find_form

UNUSABLE = "cannot be used"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("1.299,00 ر.س", (1299.0, "SAR")),
        ("SAR 99", (99.0, "SAR")),
        ("٩٩٫٥٠ ريال", (99.5, "SAR")),
        ("100 ريالاً", (100.0, "SAR")),
        ("20 دينار", (20.0, "")),
        ("1,00,000", (100_000.0, "")),
        ("12.345.678", (12_345_678.0, "")),
        ("Free", (0.0, "")),
        ("مجانًا", (0.0, "")),
        ({"amount": "12.50", "currency_code": "SAR"}, (12.5, "SAR")),
        ({"value": 12.5, "currency": {"code": "SAR"}}, (12.5, "SAR")),
        ({"regular_price": "100", "sale_price": "80"}, (80.0, "")),
        ({"regular_price": "100", "sale_price": "0"}, (100.0, "")),
        ("{'amount': 5, 'currency': 'SAR'}", (5.0, "SAR")),
        ("N/A", None),
        ("-", None),
        ("-5", UNUSABLE),
        (-3, UNUSABLE),
        ("10 - 20 SAR", UNUSABLE),
        ([12, 15], UNUSABLE),
        ({"currency": "SAR"}, UNUSABLE),
        ("TBD", UNUSABLE),
    ],
)
def test_prices(written: object, read: object) -> None:
    if read == UNUSABLE:
        with pytest.raises(ValueError, match=r"."):
            as_price(written)
    else:
        assert as_price(written) == read


@pytest.mark.parametrize(
    ("written", "read"),
    [
        *[
            (word, True)
            for word in ("In Stock", "low_stock", "only 3 left", "in stock: 5", "متوفّر حالياً", "كمية محدودة")
        ],
        *[(word, False) for word in ("out_of_stock.", "temporarily out of stock", "-1", "غير متوفره", "نفذت الكميه")],
        *[(word, False) for word in ("قريباً", "0 in stock", "https://schema.org/SoldOut", "٠", "نفدت من المخزون")],
        ("1,234", True),
        ({"is_in_stock": True, "qty": 0}, True),
        ({"quantity": 0}, False),
        ([{"qty": 0}, {"qty": 3}], True),
        ([False, False], False),
        ("nan", None),
        ([], None),
        ("perhaps", UNUSABLE),
        ("inf", UNUSABLE),
        ({"colour": "red"}, UNUSABLE),
    ],
)
def test_availability(written: object, read: object) -> None:
    if read == UNUSABLE:
        with pytest.raises(ValueError, match=r"."):
            as_flag(written)
    else:
        assert as_flag(written) is read


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ('{"it\'s": 1}', {"it's": 1}),
        ("{\"it's\": 1, 'b': None}", {"it's": 1, "b": None}),
        ("{'brand': 'x', 'price': nan}", {"brand": "x", "price": None}),
        ("{'price': Decimal('5.0')}", {"price": "5.0"}),
        ('{"brand": "x",}', {"brand": "x"}),
        ('[{"brand": "x"}]', {"brand": "x"}),
        ('[{"key": "brand", "value": "x"}, {"key": "price", "value": 5}]', {"brand": "x", "price": 5}),
        ("nan", {}),
        ("None", {}),
    ],
)
def test_objects_in_texts(text: str, read: object) -> None:
    assert read_object(text) == read


@pytest.mark.parametrize("text", ["{'a': open('x')}", "{'a': b}", "[1, 2]", '{"a"=>1}', "x"])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="metadata is not"):
        read_object(text)


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("$.groups.cats.name", ["a", "b"]),
        ("$.groups[*].cats[0].name", "a"),
        ("$.groups[-1].cats[0].name", "b"),
        ("$['my key.x'].name", "c"),
        ("$.text.cat", "d"),
        ("$.groups[7].cats", None),
    ],
)
def test_paths(path: str, found: object) -> None:
    content = {
        "groups": [{"cats": [{"name": "a"}]}, {"cats": [{"name": "b"}]}],
        "my key.x": {"name": "c"},
        "text": '{"cat": "d"}',
    }
    assert fields.find(content, path) == found


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ({"color": "red", "size": ["S", "M"]}, [("color", "red"), ("size", "S"), ("size", "M")]),
        ([{"name": "اللون", "value": "أحمر"}], [("اللون", "أحمر")]),
        ([{"key": "c", "values": [{"label": "red"}]}], [("c", "red")]),
        ([{"id": 1, "name": "red"}], [("", "red")]),
        ({"ar": "أحمر", "en": "red"}, [("", "أحمر")]),
        ("['red', 'blue']", [("", "red"), ("", "blue")]),
    ],
)
def test_attributes(value: object, read: object) -> None:
    assert fields.as_attributes(value) == read


@pytest.mark.parametrize(
    ("ident", "is_refused"),
    [
        *[(one, True) for one in ("6.28100E+12", "1.23e+12", "1,23E+12", "١٫٢٣E+12", "2E+10")],
        *[(one, False) for one in ("5E10", "1E5", "E+1", "6281000000001", "a1.2E+3")],
    ],
)
def test_short_forms_of_long_numbers(ident: str, is_refused: bool) -> None:
    checked = pl.DataFrame({"id": [ident]}).select(first_problem(id_checks("id", pl.col("id")), {"id": ("id",)}))
    assert (checked["reason"][0] == "id is a spreadsheet's short form of a long number") is is_refused


@pytest.mark.parametrize(
    ("unknown", "known", "said"),
    [
        ("P١٢", "P12", "with digits of another script"),
        ("e\u0301", "é", "in another normal form (NFKC)"),
        ("P\u200d1", "P1", "without characters that cannot be seen"),
        ("1,036", "1036", "without commas"),
        ('="1036"', "1036", "without signs around them"),
        ("'1036", "1036", "without signs around them"),
        ("gid://shopify/Product/7", "7", "as the part after their last slash"),
    ],
)
def test_why_an_id_is_not_in_the_catalogue(unknown: str, known: str, said: str) -> None:
    assert explain_unknown([unknown], [known]) == [f"1 of 1 of these product ids would be in the catalogue {said}"]


@pytest.mark.parametrize("pair", [("b1", "b١"), ("7", "007"), ("7", "7.0"), ("a", "a\u200b"), ("é", "e\u0301")])
def test_look_alikes(pair: tuple[str, str]) -> None:
    said = warn_of_look_alikes("buyers", ["other", "0x7", *pair])
    assert len(said) == 1 and said[0].startswith("1 ids of buyers")
    assert f"as {pair[0]!a} and {pair[1]!a};" in said[0]


def test_ids_that_are_not_alike() -> None:
    assert warn_of_look_alikes("buyers", ["7", "70", "0", "7.1", "x7", "x07", "7.00x"]) == []


NOON = datetime(2025, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "written",
    [
        "١٧٣٨٣٢٤٨٠٠",
        "20250131T120000Z",
        "20250131T1500+0300",
        "31/Jan/2025:12:00:00 +0000",
        "2025-01-31 15:00 GMT+3",
        "الجمعة، ٣١ يناير ٢٠٢٥ في ١٢:٠٠ م",
        "٣١ كانون الثاني ٢٠٢٥ الساعة ١٢:٠٠",
    ],
)
def test_times_that_the_column_explains(written: str) -> None:
    frame = pl.DataFrame({"time": [written]})
    assert frame.select(find_form(frame["time"]).read(pl.col("time"))).item() == NOON.timestamp() * 1000


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("45658,5", "a spreadsheet's day number"),
        ("٤٥٦٥٨", "a spreadsheet's day number"),
        ("1.73569E+12", "short form of a long number"),
        ("31/01/25 10:00", "a year of two digits"),
        ("31-Jan-25", "a year of two digits"),
        ("2025-01-31 10:00:00 AST", "a zone that has no name"),
        ("10:30", "a time of day"),
        ("٥ رجب ١٤٤٦", "a Hijri date"),
        ("yesterday", "otherwise"),
    ],
)
def test_why_a_time_is_not_read(written: str, said: str) -> None:
    why = pl.DataFrame({"time": [written]}).select(explain_unreadable(pl.col("time"), pl.lit("otherwise"))).item()
    assert said in why


def read(folder: Path, events: list[list[str]], products: list[list[str]], *sets: str) -> Dataset:
    paths = write_csv(folder / "e.csv", EVENT_COLUMNS, events), write_csv(folder / "p.csv", PRODUCT_COLUMNS, products)
    return load_dataset([str(paths[0])], [str(paths[1])], load_config([], sets).data, 7, folder / "work")


def test_words_for_no_value_are_no_values(tmp_path: Path) -> None:
    content = json.dumps({"brand": "N/A", "category": "None", "price": "null", "in_stock": "nan", "sku": "-"})
    made = read(tmp_path, [["b", "p0", "View", "2025-01-01"]], [["p0", "nan", "", content]]).products
    assert (made.titles, made.brands, made.categories, made.prices) == ([""], [""], [""], [None])
    assert (made.in_stock, made.skus) == ([True], [()])


def test_times_in_another_unit_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # minutes
    read(tmp_path, [["b", "p0", "View", "28928160"]], [["p0", "t", "", ""]])
    assert "1 of 1 events are before 1995: are their times days, minutes or another unit" in caplog.text


def test_skus_are_read_from_metadata_and_columns(tmp_path: Path) -> None:
    rows = [["p0", "t", "", '{"sku": "AB 1"}'], ["p1", "t", "", '{"skus": [{"sku": "x"}, {"sku": 7}]}']]
    events = [["b", "p0", "View", "2025-01-01"]]
    assert read(tmp_path, events, rows).products.skus == [("AB 1",), ()]
    made = read(tmp_path, events, rows, "data.metadata_paths.sku=[$.sku, $.skus.sku]")
    assert made.products.skus == [("AB 1",), ("x", "7")]
    path = write_csv(tmp_path / "own.csv", ["product_id", "title", "SKU"], [["p0", "t", "Z9"]])
    work = tmp_path / "work"
    own = load_dataset([str(tmp_path / "e.csv")], [str(path)], load_config().data, 7, work)
    assert own.products.skus == [("Z9",)]
