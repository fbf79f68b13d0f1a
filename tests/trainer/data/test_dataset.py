"""Rows to a checked data set: what is kept, what is rejected and why, and the order of each buyer's events."""

from __future__ import annotations

import csv
import gzip
import json
import re
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.helpers.small_shop import EVENT_COLUMNS, PRODUCT_COLUMNS, write_csv
from trainer.cluster.parts import OneMachine
from trainer.config.data import Data
from trainer.config.loading import load_config
from trainer.data.changes import load_products
from trainer.data.dataset import Dataset, load_dataset
from trainer.data.event_checks import UNREADABLE_TIME
from trainer.data.events import load_history, tie_hash
from trainer.errors import DataError
from twotower.events import SPREADSHEET_DAY_PROBLEM, Interaction
from twotower.history import latest

ALL = ("data.max_reject_share=1", "data.max_unknown_share=1")
PRODUCTS = [[f"p{row}", f"t{row}", "", ""] for row in range(4)]


def data_config(*assignments: str) -> Data:
    return load_config([], [*ALL, *assignments]).data


def read(
    folder: Path, events: list[list[str]], products: list[list[str]] = PRODUCTS, config: Data | None = None
) -> tuple[Dataset, list[dict[str, str]]]:
    """The data set and what rejects.csv says."""
    files = [
        str(write_csv(folder / "events.csv", EVENT_COLUMNS, events)),
        str(write_csv(folder / "products.csv", PRODUCT_COLUMNS, products)),
    ]
    made = load_dataset([files[0]], [files[1]], config or data_config(), 7, folder / "work")
    return made, rejected(folder / "work" / "rejects.csv")


def rejected(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def as_rows(made: Dataset) -> list[tuple[str, str, str, int]]:
    """(buyer, product, event, milliseconds) in the order of the arrays."""
    events = made.events
    return [
        (made.buyers[b], made.products.ids[p], made.event_names[k - 1], int(t))
        for b, p, k, t in zip(events.buyer, events.product, events.kind, events.time, strict=True)
    ]


def test_events_are_grouped_by_buyer_and_sorted_by_time(tmp_path: Path) -> None:
    made, bad = read(
        tmp_path,
        [
            ["b2", "p1", "View", "300"],
            ["b1", "p0", "Purchase", "200"],
            ["b2", "p3", "AddToCart", "1970-01-01T00:01:40Z"],
            ["b1", "p2", "View", "1970-01-01T03:00:01+03:00"],
        ],
    )
    assert bad == []
    assert made.buyers == ["b1", "b2"]
    assert as_rows(made) == [
        ("b1", "p2", "View", 1000),
        ("b1", "p0", "Purchase", 200_000),
        ("b2", "p3", "AddToCart", 100_000),
        ("b2", "p1", "View", 300_000),
    ]
    assert made.events.start.tolist() == [0, 2, 4]
    assert (made.summary.event_rows, made.summary.product_rows) == (4, 4)


NOW = int(time.time())
LONG = "x" * 129
SHORT_FORM = "id is a spreadsheet's short form of a long number"


BAD_EVENTS = [
    (["", "p0", "View", "1"], "distinct_id", "", "missing buyer id"),
    (["  ", "p0", "View", "1"], "distinct_id", "", "missing buyer id"),
    ([LONG, "p0", "View", "1"], "distinct_id", LONG, "id longer than 128 bytes"),
    (["ذ" * 65, "p0", "View", "1"], "distinct_id", "ذ" * 65, "id longer than 128 bytes"),
    (["b\x07b", "p0", "View", "1"], "distinct_id", "b\x07b", "id with control characters"),
    (["b", "", "View", "1"], "product_id", "", "missing product id"),
    (["b", "p\x7f", "View", "1"], "product_id", "p\x7f", "id with control characters"),
    (["b", "p9", "View", "1"], "product_id", "p9", "product is not in the catalogue"),
    (["b", "p0", "", "1"], "event_name", "", "missing event name"),
    (["b", "p0", "view", "1"], "event_name", "view", "unknown event name"),
    (["b", "p0", "View", ""], "created_at", "", "missing time"),
    (["b", "p0", "View", " "], "created_at", "", "missing time"),
    (["b", "p0", "View", "yesterday"], "created_at", "yesterday", UNREADABLE_TIME),
    (["b", "p0", "View", "2023-02-29"], "created_at", "2023-02-29", UNREADABLE_TIME),
    (["b", "p0", "View", "45658.5"], "created_at", "45658.5", SPREADSHEET_DAY_PROBLEM),
    (
        ["6.28100E+12", "p0", "View", "1"],
        "distinct_id",
        "6.28100E+12",
        "id is a spreadsheet's short form of a long number",
    ),
    (
        ["b", "p0", "View", "20250101"],
        "created_at",
        "20250101",
        "unreadable time: a date of digits only; write 2025-01-01",
    ),
    (["b", "p0", "View", "1969-12-31T23:59:59Z"], "created_at", "1969-12-31T23:59:59Z", "time before 1970"),
    (["b", "p0", "View", "-1"], "created_at", "-1", "time before 1970"),
    (["b", "p0", "View", str(NOW + 90_000)], "created_at", str(NOW + 90_000), "time more than a day ahead"),
    (["b", "p0", "View", "9999-12-31"], "created_at", "9999-12-31", "time more than a day ahead"),
]


def test_every_bad_event_is_reported_with_file_line_column_value_and_reason(tmp_path: Path) -> None:
    rows = [["good", "p0", "View", "1"], *[case[0] for case in BAD_EVENTS], ["good", "p1", "View", "2"]]
    made, bad = read(tmp_path, rows)
    assert [one[:3] for one in as_rows(made)] == [("good", "p0", "View"), ("good", "p1", "View")]
    file = str(tmp_path / "events.csv")
    assert sorted(bad, key=lambda one: int(one["line"])) == [
        {"file": file, "line": str(line), "column": column, "value": value, "reason": reason}
        for line, (_, column, value, reason) in enumerate(BAD_EVENTS, start=3)
    ]
    assert sum(made.summary.rejected_events.values()) == len(BAD_EVENTS)
    assert made.summary.rejected_events["missing buyer id"] == 2
    assert made.summary.event_rows == len(rows)


def test_less_than_a_day_ahead_is_a_clock_that_runs_fast_and_is_kept(tmp_path: Path) -> None:
    made, bad = read(tmp_path, [["b", "p0", "View", str(NOW + 80_000)]])
    assert len(made.events.time) == 1 and bad == []


def test_exact_duplicates_are_dropped_and_near_ones_kept(tmp_path: Path) -> None:
    rows = [
        ["b", "p0", "View", "100"],
        ["b", "p0", "Purchase", "100"],
        ["b", "p0", "View", "100.001"],
        ["b", "p1", "View", "100"],
        ["c", "p0", "View", "100"],
        [" b ", "p0", "View", "1970-01-01T00:01:40Z"],  # the same moment and ids, written otherwise
    ]
    # nothing is wrong with such a log
    made, bad = read(tmp_path, rows, config=load_config([], ["data.max_reject_share=0"]).data)
    assert len(made.events.time) == 5
    assert (bad, made.summary.rejected_events, made.summary.dropped_events) == ([], {}, {"exact duplicate": 1})


def test_events_can_be_left_out_by_name(tmp_path: Path) -> None:
    rows = [
        ["b", "p0", "View", "1"],
        ["b", "p0", "Refund", "2"],
        ["b", "gone", "Refund", "no time"],
        ["b", "p1", "3", "4"],
    ]
    config = load_config([], ["data.max_reject_share=0", "data.event_names={Refund: null, 3: Purchase}"]).data
    made, bad = read(tmp_path, rows, config=config)
    assert [row[1:3] for row in as_rows(made)] == [("p0", "View"), ("p1", "Purchase")]
    assert (bad, made.summary.dropped_events) == ([], {"Refund, left out by data.event_names": 2})


def test_a_table_of_orders_needs_no_column_of_events(tmp_path: Path) -> None:
    events = write_csv(tmp_path / "e.csv", ["distinct_id", "product_id", "created_at"], [["b", "p0", "1"]])
    products = write_csv(tmp_path / "p.csv", PRODUCT_COLUMNS, PRODUCTS)
    with pytest.raises(DataError, match="lacks the column event_name"):
        load_dataset([str(events)], [str(products)], data_config(), 7, tmp_path / "work")
    config = data_config("data.default_event=Purchase")
    made = load_dataset([str(events)], [str(products)], config, 7, tmp_path / "work")
    assert [row[2] for row in as_rows(made)] == ["Purchase"]


def test_marks_that_cannot_be_seen_are_no_part_of_ids_names_and_headings(tmp_path: Path) -> None:
    events = tmp_path / "e.csv"
    header = "\ufeffdistinct_id\u200f,product_id,event_name,created_at"
    rows = ["b,p0,View,1", "b\u200f,\u202bp1\u202c,View\u200b,\ufeff2\u200e"]
    events.write_text("\n".join([header, *rows]), encoding="utf-8")
    products = write_csv(tmp_path / "p.csv", PRODUCT_COLUMNS, [["p0", "t", "", ""], ["\u2068p1\u2069", "t", "", ""]])
    made = load_dataset([str(events)], [str(products)], load_config().data, 7, tmp_path / "work")
    assert as_rows(made) == [("b", "p0", "View", 1000), ("b", "p1", "View", 2000)]


def test_ids_that_look_alike_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    events = [["B", "p0", "View", "1"], ["b", "p0", "View", "2"], ["c", "P1", "View", "2"]]
    read(tmp_path, events, [["p0", "t", "", ""], ["P1", "t", "", ""]])
    assert (
        "1 ids of buyers differ from another one only by capital letters, the script of digits, normal form, "
        "characters that cannot be seen, zeros at the start or .0 at the end, as 'B' and 'b'" in caplog.text
    )
    assert "ids of products" not in caplog.text


@pytest.mark.parametrize(
    ("known", "given", "said"),
    [
        (
            ["1036", "1037"],
            ["1036.0", "1037.0"],
            "without .0 at their end",
        ),
        (
            ["0017", "0018"],
            ["17", "18"],
            "without regard to zeros",
        ),
        (["AB", "CD"], ["ab", "cd"], "without regard to capital letters"),
    ],
)
def test_unknown_ids_that_are_written_in_another_way_are_explained(
    tmp_path: Path, known: list[str], given: list[str], said: str
) -> None:
    products = [[ident, "t", "", ""] for ident in known]
    with pytest.raises(DataError, match=f"2 of 2 of these product ids would be in the catalogue {said}"):
        read(tmp_path, [["b", ident, "View", "1"] for ident in given], products, load_config().data)


def test_times_of_another_form_are_read_if_the_settings_say_it(tmp_path: Path) -> None:
    rows = [["b", "p0", "View", "31/12/2024 23:59"], ["b", "p1", "View", "٠١/٠٢/٢٠٢٥ ٠٠:٠٠"], ["b", "p2", "View", "1"]]
    made, _ = read(tmp_path, rows, config=data_config("data.time_format=%d/%m/%Y %H:%M"))
    assert [row[3] for row in as_rows(made)] == [1000, 1_735_689_540_000, 1_738_368_000_000]


def test_fields_may_stand_in_columns_of_their_own(tmp_path: Path) -> None:
    header = ["product_id", "title", "metadata", "brand", "price", "in_stock", "kind"]
    rows = [
        ["p0", "t", "", "س", "12.50 SAR", "out of stock", "خواتم"],
        ["p1", "", '{"brand": {"name": "ص"}}', "س", "", "", ""],
        ["p2", "t", "{'price': '7'}", "", "8", "غير متوفر", "عطور"],
        ["p3", "t", '"{\\"brand\\": \\"ق\\"}"', "", "dear", "perhaps", ""],
    ]
    path = write_csv(tmp_path / "p.csv", header, rows)
    products, summary = load_products([str(path)], data_config("data.product_columns.category=kind"), tmp_path / "work")
    assert products.brands == ["س", "ص", "", "ق"]
    assert products.categories == ["خواتم", "", "عطور", ""]
    assert products.prices == [12.5, None, 7.0, None] and products.currencies == ["SAR", "", "", ""]
    assert products.in_stock == [False, True, False, True]
    facts = {name: (count["found"], count["unusable"], count["examples"]) for name, count in summary.fields.items()}
    assert facts == {
        "title": (3, 0, []),
        "description": (0, 0, []),
        "brand": (3, 0, []),
        "category": (2, 0, []),
        "price": (2, 1, ["dear"]),
        "currency": (1, 0, []),
        "in_stock": (2, 1, ["perhaps"]),
        "sku": (0, 0, []),
        "image": (0, 0, []),
        "attributes": (0, 0, []),
    }
    with pytest.raises(DataError, match="lacks the column maker"):
        load_products([str(path)], data_config("data.product_columns.brand=maker"), tmp_path / "work")


def test_lines_are_true_after_quoted_line_breaks_and_across_files(tmp_path: Path) -> None:
    one = tmp_path / "1.csv"
    one.write_text('distinct_id,product_id,event_name,created_at,note\nb,p0,View,1,"x\ny"\nb,p9,View,1,\n')
    two = tmp_path / "2.parquet"
    pl.DataFrame(
        {"distinct_id": ["b", "b"], "product_id": ["p1", "p8"], "event_name": ["View"] * 2, "created_at": [5, 6]}
    ).write_parquet(two)
    products = write_csv(tmp_path / "products.csv", PRODUCT_COLUMNS, PRODUCTS)
    made = load_dataset([str(one), str(two)], [str(products)], data_config(), 7, tmp_path / "work")
    assert [(Path(r["file"]).name, r["line"], r["value"]) for r in rejected(tmp_path / "work" / "rejects.csv")] == [
        ("1.csv", "4", "p9"),
        ("2.parquet", "2", "p8"),
    ]
    assert [row[3] for row in as_rows(made)] == [1000, 5000]


def test_columns_and_event_names_are_mapped(tmp_path: Path) -> None:
    events = write_csv(
        tmp_path / "e.csv", ["uid", "sku", "what", "ts"], [["b", "p0", "buy", "1"], ["b", "p1", "View", "2"]]
    )
    products = write_csv(tmp_path / "p.csv", ["sku", "name"], [["p0", "خاتم"], ["p1", "عطر"]])
    config = data_config(
        "data.event_columns.buyer=uid",
        "data.event_columns.product=sku",
        "data.event_columns.event=what",
        "data.event_columns.time=ts",
        "data.event_names={buy: Purchase}",
        "data.product_columns.id=sku",
        "data.product_columns.title=name",
    )
    made = load_dataset([str(events)], [str(products)], config, 7, tmp_path / "work")
    assert [row[1:3] for row in as_rows(made)] == [("p0", "Purchase"), ("p1", "View")]
    assert made.products.titles == ["خاتم", "عطر"]
    assert made.products.descriptions == ["", ""] and made.products.brands == ["", ""]


def metadata(**content: Any) -> str:
    return json.dumps(content, ensure_ascii=False)


def test_metadata_is_read_from_its_paths(tmp_path: Path) -> None:
    rows = [
        ["p0", "t", "d", metadata(brand=" لازوردي ", category="خواتم", price=12.5, currency="SAR", in_stock=False)],
        ["p1", "t", "d", ""],
        ["p2", "t", "d", metadata(brand=["a", "b"], category={"x": 1}, price="1,250.50", in_stock="لا")],
        ["p3", "t", "d", metadata(brand=5, category=None, price=True, currency=[], in_stock=0)],
        ["p4", "t", "d", metadata(price="NaN", in_stock="False")],
        ["p5", "t", "d", metadata(price="dear", in_stock="yes")],
        ["p6", "t", "d", metadata(price=-3, in_stock=None)],
        ["p7", "t", "d", '{"brand": "\\ud800x", "price": 1e999}'],
    ]
    made, bad = read(tmp_path, [["b", "p0", "View", "1"]], rows)
    products = made.products
    assert bad == []
    assert products.brands == ["لازوردي", "", "a", "5", "", "", "", "x"]
    assert products.categories == ["خواتم", "", "", "", "", "", "", ""]
    assert products.prices == [12.5, None, 1250.5, None, None, None, None, None]
    assert products.currencies == ["SAR", "", "", "", "", "", "", ""]
    assert products.in_stock == [False, True, False, False, False, True, True, True]


def test_a_number_that_is_not_finite_is_no_name_and_no_price(tmp_path: Path) -> None:
    # pandas writes missing values so.
    rows = [
        ["p0", "t", "", '{"brand": NaN, "category": Infinity, "price": NaN, "currency": -Infinity, "tags": NaN}'],
        ["p1", "t", "", '{"brand": [NaN], "category": [NaN, "x"], "price": -Infinity, "tags": [NaN, "red", 1e999]}'],
        ["p2", "t", "", '{"brand": "nan", "category": 2.5, "price": "Infinity", "tags": ["red"]}'],
    ]
    config = data_config("data.attribute_paths=[tags]")
    products = read(tmp_path, [["b", "p0", "View", "1"]], rows, config)[0].products
    assert products.brands == ["", "", ""]
    assert products.categories == ["", "x", "2.5"]
    assert products.currencies == ["", "", ""]
    assert products.prices == [None, None, None]
    assert products.attributes == [(), ("tags=red",), ("tags=red",)]


PRICES: list[tuple[object, float | None]] = [
    (12.5, 12.5),
    (12, 12.0),
    (10**400, None),
    ("12.5", 12.5),
    (" 12 ", 12.0),
    ("-3", None),
    ("1299", 1299.0),
    # A comma between thousands.
    ("1,299", 1299.0),
    ("1,299.00", 1299.0),
    ("12,345,678.5", 12_345_678.5),
    ("-1,299", None),
    # A comma before decimals; before three decimals only if these cannot be thousands.
    ("12,50", 12.5),
    ("12,5", 12.5),
    ("-0,5", None),
    ("1299,00", 1299.0),
    ("0,750", 0.75),
    ("1.299,00", 1299.0),
    ("1.234.567,5", 1_234_567.5),
    ("-1.299,00", None),
    ("1.299,750", 1299.75),
    # A point is a decimal point, unless a comma shows otherwise.
    ("1.299", 1.299),
    (".5", 0.5),
    ("١٢", 12.0),
    ("١٢٫٥", 12.5),
    ("١٬٢٩٩٫٥٠", 1299.5),
    ("١٢،٥٠", 12.5),
    ("۱۲٫۵", 12.5),
    ("١٬٢٩٩", 1299.0),
    # Neither of these.
    ("1,2345", None),
    ("12,34,5", None),
    ("1,2,3", None),
    ("1,299,00", None),
    ("1.29,00", None),
    ("1,299.0,0", None),
    (",5", None),
    ("12,", None),
    ("", None),
    (",", None),
    # With a currency.
    ("12 SAR", 12.0),
    ("ر.س. ١٢٫٥٠", 12.5),
    ("12,999.00 ر.س", 12_999.0),
    ("\u200f1 299,00\u00a0€", 1299.0),
    ("$1'299", 1299.0),
    ("12.50USD", 12.5),
    ([12], 12.0),
    ({"amount": 12}, 12.0),
    # Of two numbers none is the price, and a word is no currency.
    ("12 - 15 SAR", None),
    ("from 12", None),
    ("12 off", None),
    ("12 sar", 12.0),
    ("12 %", None),
    ([12, 13], None),
    ({"currency": "SAR"}, None),
]


def test_a_price_is_read_as_its_shop_writes_it(tmp_path: Path) -> None:
    rows = [[f"p{row}", "t", "", metadata(price=written)] for row, (written, _) in enumerate(PRICES)]
    path = write_csv(tmp_path / "p.csv", PRODUCT_COLUMNS, rows)
    found = load_products([str(path)], data_config(), tmp_path / "work")[0].prices
    assert [(written, price) for (written, _), price in zip(PRICES, found, strict=True)] == PRICES


def test_metadata_paths_are_configurable(tmp_path: Path) -> None:
    content = metadata(attributes={"maker": {"name": "س"}}, offer={"amount": 3})
    config = data_config(
        "data.metadata_paths.brand=$.attributes.maker.name",
        "data.metadata_paths.price=offer.amount",
    )
    made, _ = read(tmp_path, [["b", "p0", "View", "1"]], [["p0", "t", "", content]], config)
    assert (made.products.brands, made.products.prices, made.products.categories) == (["س"], [3.0], [""])


def test_pictures_are_read_from_the_metadata(tmp_path: Path) -> None:
    url = "https://pictures.shop.example/a.png"
    rows = [
        ["p0", "t", "", metadata(media={"main": url})],
        ["p1", "t", "", metadata(media={"main": [{"src": url + "?1"}, {"src": url + "?2"}]})],
        ["p2", "t", "", metadata(media={"main": "javascript:alert(1)"})],
        ["p3", "t", "", metadata()],
    ]
    path = write_csv(tmp_path / "p.csv", PRODUCT_COLUMNS, rows)
    config = data_config("data.metadata_paths.image=$.media.main")
    products, summary = load_products([str(path)], config, tmp_path / "work")
    assert products.images == [url, url + "?1", "", ""]
    assert summary.fields["image"]["unusable"] == 1


def test_search_fields_are_read_as_words(tmp_path: Path) -> None:
    rows = [
        ["p0", "t", "", metadata(authors=[{"name": "نجيب محفوظ"}, {"name": "Tayeb Salih"}], sku="AB-12")],
        ["p1", "t", "", metadata(sku=77)],
        ["p2", "t", "", metadata()],
    ]
    config = data_config("data.search_fields=[$.authors.name, sku]")
    made, _ = read(tmp_path, [["b", "p0", "View", "1"]], rows, config)
    assert made.products.searched == ["نجيب محفوظ Tayeb Salih AB-12", "77", ""]
    assert made.products.take(np.array([1])).searched == ["77"]


@pytest.mark.parametrize(
    "setting",
    [
        "data.metadata_paths.category=attributes.maker.name.too.deep",
        "data.attribute_paths=[$.colour]",
        "data.search_fields=[$.author]",
    ],
)
def test_a_path_that_is_named_and_found_in_no_product_is_an_error(tmp_path: Path, setting: str) -> None:
    rows = [["p0", "t", "", metadata(attributes={"maker": {"name": "س"}})]]
    path = setting.partition("=")[2].strip("[]")
    with pytest.raises(DataError, match=r"products.csv: no product has a value at .*" + re.escape(path)):
        read(tmp_path, [["b", "p0", "View", "1"]], rows, data_config(setting))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{brand: x}", "metadata is not JSON"),
        ('{"brand": "x"', "metadata is not JSON"),
        ("[" * 100_000, "metadata is not JSON"),
        ('["x"]', "metadata is not a JSON object"),
        ("5", "metadata is not a JSON object"),
    ],
)
def test_a_product_with_malformed_metadata_is_kept_and_counted(tmp_path: Path, text: str, reason: str) -> None:
    made, bad = read(tmp_path, [["b", "p0", "View", "1"]], [["p0", "خاتم", "", text], ["p1", "عطر", "", "{}"]])
    assert made.products.ids == ["p0", "p1"]
    assert made.products.brands == ["", ""]
    assert made.summary.rejected_products == {f"{reason} (product kept)": 1}
    assert [(one["line"], one["column"], one["value"]) for one in bad] == [("2", "metadata", text[:200])]


def test_null_means_no_metadata_and_is_not_an_error(tmp_path: Path) -> None:
    made, bad = read(tmp_path, [["b", "p0", "View", "1"]], [["p0", "خاتم", "", "null"], ["p1", "عطر", "", " null\n"]])
    assert (made.products.brands, bad) == (["", ""], [])
    path = tmp_path / "p.parquet"
    pl.DataFrame({"product_id": ["p0", "p1"], "title": "t", "metadata": [{"brand": "x"}, None]}).write_parquet(path)
    products, summary = load_products([str(path)], data_config("data.max_reject_share=0"), tmp_path / "work")
    assert (products.brands, summary.rejected_products) == (["x", ""], {})


def test_bad_products_are_reported_and_the_first_of_a_repeated_id_is_kept(tmp_path: Path) -> None:
    rows = [
        ["p0", "first", "", ""],
        ["", "x", "", ""],
        ["p0", "second", "", ""],
        [LONG, "x", "", ""],
        [" p1 ", "y", "", ""],
    ]
    made, bad = read(tmp_path, [["b", "p0", "View", "1"]], rows)
    assert (made.products.ids, made.products.titles) == (["p0", "p1"], ["first", "y"])
    assert [(one["line"], one["column"], one["value"], one["reason"]) for one in bad] == [
        ("3", "product_id", "", "missing product id"),
        ("4", "product_id", "p0", "duplicate product id"),
        ("5", "product_id", LONG, "id longer than 128 bytes"),
    ]


def test_titles_are_kept_raw(tmp_path: Path) -> None:
    made, _ = read(tmp_path, [["b", "p0", "View", "1"]], [["p0", "  أسـورة <b>١</b>", "x\ny", ""]])
    assert (made.products.titles, made.products.descriptions) == (["  أسـورة <b>١</b>"], ["x\ny"])


def test_the_limit_of_rejects_stops_the_run_and_says_what_to_look_at(tmp_path: Path) -> None:
    good = [["b", "p0", "View", str(second)] for second in range(1, 20)]
    five_percent = load_config().data
    made, _ = read(tmp_path, [*good, ["b", "p0", "Look", "1"]], config=five_percent)  # 1 of 20: at the limit
    assert len(made.events.time) == 19
    with pytest.raises(DataError) as caught:
        read(tmp_path, [*good, ["b", "p0", "Look", "1"], ["b", "p9", "View", "tea time"]], config=five_percent)
    message = str(caught.value)
    assert "2 of 21 rows of events (9.5%) were rejected, the limit is 5.0% (data.max_reject_share)" in message
    assert "1 unknown event name" in message and f"1 {UNREADABLE_TIME}" in message
    assert message.endswith(f"see {tmp_path / 'work' / 'rejects.csv'}")
    assert len(rejected(tmp_path / "work" / "rejects.csv")) == 2
    with pytest.raises(DataError, match="1 of 4 rows of products"):
        read(tmp_path, good, [*PRODUCTS[:3], ["p3", "t", "", "{"]], config=five_percent)
    # products that have gone have a limit of their own
    gone = [["b", "p9", "View", str(second)] for second in range(1, 9)]
    made, _ = read(tmp_path, [*good, *gone], config=five_percent)
    assert made.summary.rejected_events == {"product is not in the catalogue": 8}
    with pytest.raises(DataError, match=r"9 of 28 rows of events \(32.1%\) .* is 30.0% \(data.max_unknown_share\)"):
        read(tmp_path, [*good, *gone, ["b", "p9", "View", "9"]], config=five_percent)


def test_no_product_or_no_event_left_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"products.csv: no product is left after the checks; 1 missing product id; see .*rejects.csv"
    ):
        read(tmp_path, [["b", "p0", "View", "1"]], [["", "t", "", ""]])
    with pytest.raises(
        DataError,
        match=r"events.csv: no event is left after the checks; 1 product is not in the catalogue; see .*rejects.csv",
    ):
        read(tmp_path, [["b", "p9", "View", "1"]])


def test_ties_in_time_go_by_a_seeded_hash_and_not_by_the_order_of_rows(tmp_path: Path) -> None:
    rows = [["b", f"p{one}", "View", "100"] for one in range(20)]
    products = [[f"p{one}", "t", "", ""] for one in range(20)]
    forward, _ = read(tmp_path, rows, products)
    backward, _ = read(tmp_path, rows[::-1], products[::-1])
    order = [row[1] for row in as_rows(forward)]
    assert order == [row[1] for row in as_rows(backward)]
    assert order != sorted(order) and order != [f"p{one}" for one in range(20)]
    assert order == [
        one for _, one in sorted(zip(tie_hash(forward.products.ids, 7), forward.products.ids, strict=True))
    ]
    assert tie_hash(["p0", "p1"], 7).tolist() != tie_hash(["p0", "p1"], 8).tolist()
    assert tie_hash(["p0", "p1"], 7)[1] == tie_hash(["p1"], 7)[0]


def test_a_history_is_ordered_as_services_see_it(tmp_path: Path) -> None:
    rows = [
        ["b", "p10", "View", "100"],
        ["b", "p9", "View", "100"],
        ["b", "p9", "AddToCart", "100"],
        ["b", "p2", "View", "50"],
        ["b", "nobody", "View", "60"],
        ["a", "p9", "Purchase", "10"],
        ["lost", "nobody", "View", "10"],
    ]
    path = write_csv(tmp_path / "h.csv", EVENT_COLUMNS, rows)
    ids, names = ["p9", "p2", "p10"], ["View", "AddToCart", "Purchase"]
    rejects = tmp_path / "r.csv"
    buyers, events, counts = load_history([str(path)], ids, data_config(), rejects, OneMachine())
    assert buyers == ["a", "b"]
    assert counts == {"product is not in the catalogue": 2}
    assert len(rejected(rejects)) == 2
    found = [
        Interaction(ids[p], names[k - 1], int(t))
        for p, k, t in zip(events.product[1:], events.kind[1:], events.time[1:], strict=True)
    ]
    assert found == latest(found[::-1], 10)
    assert [(one.product_id, one.event_type) for one in found] == [
        ("p2", "View"),
        ("p10", "View"),
        ("p9", "AddToCart"),
        ("p9", "View"),
    ]


def test_products_alone_are_read_with_the_same_checks(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "p.csv", PRODUCT_COLUMNS, [*PRODUCTS, ["p0", "again", "", ""]])
    products, summary = load_products([str(path)], data_config(), tmp_path / "work")
    assert products.ids == ["p0", "p1", "p2", "p3"]
    assert (summary.product_rows, summary.rejected_products) == (5, {"duplicate product id": 1})
    with pytest.raises(DataError, match="1 of 5 rows of products"):
        load_products([str(path)], data_config("data.max_reject_share=0.1"), tmp_path / "work")


def test_products_alone_leave_only_their_rejects(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "p.csv", PRODUCT_COLUMNS, PRODUCTS)
    packed = tmp_path / "p.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    products, _ = load_products([str(packed)], data_config(), tmp_path / "work")
    assert products.ids == ["p0", "p1", "p2", "p3"]
    assert [one.name for one in (tmp_path / "work").iterdir()] == ["rejects.csv"]


def test_parquet_gives_the_same_data_set_as_csv(tmp_path: Path) -> None:
    rows = [["b", "p0", "View", "1709337600"], ["b", "p1", "Purchase", "1709337601"]]
    plain, _ = read(tmp_path, rows)
    events, products = tmp_path / "e.parquet", tmp_path / "p.parquet"
    pl.DataFrame(
        {
            "distinct_id": ["b", "b"],
            "product_id": ["p0", "p1"],
            "event_name": ["View", "Purchase"],
            "created_at": pl.Series([1709337600, 1709337601]).cast(pl.Int64) * 1000,
        }
    ).with_columns(pl.col("created_at").cast(pl.Datetime("ms"))).write_parquet(events)
    table = dict(zip(PRODUCT_COLUMNS, zip(*PRODUCTS, strict=True), strict=True))
    pl.DataFrame({name: list(column) for name, column in table.items()}).write_parquet(products)
    other = load_dataset([str(events)], [str(products)], data_config(), 7, tmp_path / "w2")
    assert as_rows(other) == as_rows(plain)
    assert other.products == plain.products


def test_typed_times_of_every_year_are_what_they_say(tmp_path: Path) -> None:
    products = write_csv(tmp_path / "p.csv", PRODUCT_COLUMNS, PRODUCTS)
    # Milliseconds of the first three years look like seconds, those of June 1976 like a date.
    moments = [
        datetime(1970, 1, 1),
        datetime(1970, 1, 2),
        datetime(1973, 3, 1),
        datetime(1976, 6, 1, 18, 16, 51, 30_000),
    ]
    wanted = [0, 86_400_000, 99_792_000_000, 202_501_011_030]
    whole = [one - one % 86_400_000 for one in wanted]
    for kind, expected in ((pl.Datetime("us"), wanted), (pl.Datetime("ns", "UTC"), wanted), (pl.Date(), whole)):
        path = tmp_path / "e.parquet"
        pl.DataFrame(
            {"distinct_id": "b", "product_id": "p0", "event_name": "View", "created_at": pl.Series(moments).cast(kind)}
        ).write_parquet(path)
        made = load_dataset([str(path)], [str(products)], data_config(), 7, tmp_path / "work")
        assert made.events.time.tolist() == expected


def test_ids_that_are_numbers_join_whatever_the_file(tmp_path: Path) -> None:
    events, products = tmp_path / "e.parquet", write_csv(tmp_path / "p.csv", PRODUCT_COLUMNS, [["85048", "t", "", ""]])
    pl.DataFrame(
        {"distinct_id": [7.0], "product_id": [85048.0], "event_name": ["View"], "created_at": [1709337600.0]}
    ).write_parquet(events)
    made = load_dataset([str(events)], [str(products)], data_config(), 7, tmp_path / "work")
    assert as_rows(made) == [("7", "85048", "View", 1_709_337_600_000)]


def test_archives_are_not_unpacked_to_disk(tmp_path: Path) -> None:
    events = write_csv(tmp_path / "e.csv.gz", EVENT_COLUMNS, [["b", "p0", "View", "1"]])
    products = write_csv(tmp_path / "p.csv.gz", PRODUCT_COLUMNS, PRODUCTS)
    load_dataset([str(events)], [str(products)], data_config(), 7, tmp_path / "work")
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["rejects.csv"]
    (tmp_path / "e.csv.gz").write_bytes(events.read_bytes()[:-9])
    with pytest.raises(DataError, match="truncated"):
        load_dataset([str(events)], [str(products)], data_config(), 7, tmp_path / "work")
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["rejects.csv"]


def test_arrays_have_the_types_that_the_rest_relies_on(tmp_path: Path) -> None:
    made, _ = read(tmp_path, [["b", "p0", "View", "1"]])
    assert [column.dtype for column in made.events] == [np.int32, np.int32, np.int8, np.int64, np.int64]
