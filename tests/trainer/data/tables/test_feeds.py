"""Excel files and product feeds in XML."""

from __future__ import annotations

import gzip
import zipfile
from datetime import datetime
from pathlib import Path

import openpyxl
import pytest

from trainer.data.tables import excel_file
from trainer.data.tables.files import read_tables
from trainer.errors import DataError, MissingColumns

COLUMNS = {"id": ("id",), "text": ("a title",), "more": ("more",)}
GOOGLE = 'xmlns:g="http://base.google.com/ns/1.0"'


def rows(path: Path) -> list[tuple[object, ...]]:
    return [
        row for batch in read_tables([path], COLUMNS, frozenset({"more"}), ",") for row in batch.drop("file").rows()
    ]


def workbook(path: Path, *sheets: list[list[object]]) -> Path:
    book = openpyxl.Workbook()
    for place, content in enumerate(sheets):
        sheet = book.active if place == 0 else book.create_sheet()
        for row in content:
            sheet.append(row)
    book.save(path)
    return path


def test_a_workbook_is_read_as_text_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excel_file, "_BATCH_ROWS", 2)
    content = [
        [None, None],
        ["\u200fID", "A_Title", "more"],
        [6281000000001, "خاتم", datetime(2025, 1, 1, 10, 30)],
        [None, None, None],
        [1.5, True],
        ["007", "x", 45658.5],
    ]
    for name in ("p.xlsx", "P [1].XLSX", "p.csv"):
        assert rows(workbook(tmp_path / name, [], content, [["other"]])) == [
            (3, "6281000000001", "خاتم", "2025-01-01T10:30:00"),
            (5, "1.5", "true", None),
            (6, "007", "x", "45658.5"),
        ]


def test_what_is_no_workbook_is_named(tmp_path: Path) -> None:
    good = workbook(tmp_path / "good.xlsx", [["id", "a title"], ["1", "x"]])
    cut = tmp_path / "cut.xlsx"
    cut.write_bytes(good.read_bytes()[:900])
    archive, document, broken = tmp_path / "a.zip", tmp_path / "a.ods", tmp_path / "broken.xlsx"
    for path, inner in ((archive, "p.csv"), (document, "content.xml"), (broken, "xl/workbook.xml")):
        with zipfile.ZipFile(path, "w") as made:
            made.writestr(inner, "x")
    old = tmp_path / "a.xls"
    old.write_bytes(b"\xd0\xcf\x11\xe0" + b"0" * 600)
    for path, said in (
        (cut, "is not a sound zip or Excel file"),
        (archive, "is a zip archive: unpack it"),
        (document, "is an OpenDocument file"),
        (broken, "is not a sound Excel file"),
        (old, "is an old Excel file"),
        (workbook(tmp_path / "empty.xlsx", []), "is empty"),
        (workbook(tmp_path / "header.xlsx", [["id", "a title"]]), "has a header and no rows"),
    ):
        with pytest.raises(DataError, match=said):
            rows(path)
    with pytest.raises(MissingColumns, match="lacks the column a title; it has: id, name"):
        rows(workbook(tmp_path / "other.xlsx", [["id", "name"], ["1", "x"]]))


def test_a_workbook_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = workbook(tmp_path / "big.xlsx", [["id", "a title"], ["1", "x" * 20_000]])
    monkeypatch.setattr(excel_file, "_MAX_BYTES", 20_000)
    with pytest.raises(DataError, match="the limit is 20,000; export it as CSV"):
        rows(path)


RSS = f"""<?xml version="1.0" encoding="utf-8"?>
<rss version="2.0" {GOOGLE}><channel><title>Shop</title><id>shop</id>
<item><title>of RSS</title><a><b>1</b></a><g:id>p1</g:id><g:more>x</g:more><g:more>y</g:more></item>
<item><g:id> p2 </g:id><title><![CDATA[خاتم & <b>ذهب</b>]]></title><g:more/></item>
</channel></rss>"""
ATOM = f"""<feed xmlns="http://www.w3.org/2005/Atom" {GOOGLE}><id>tag:shop</id>
<entry><id>https://shop/1</id><title>t</title><g:id>p1</g:id></entry></feed>"""
FEED_COLUMNS = {"id": ("id",), "text": ("title",), "more": ("more",)}


def feed(path: Path, content: bytes) -> list[tuple[object, ...]]:
    path.write_bytes(content)
    batches = read_tables([path], FEED_COLUMNS, frozenset({"more"}), ",")
    return [row for batch in batches for row in batch.drop("file").rows()]


def test_feeds_are_read_and_google_comes_first(tmp_path: Path) -> None:
    expected = [(1, "p1", "of RSS", '["x", "y"]'), (2, "p2", "خاتم & <b>ذهب</b>", None)]
    assert feed(tmp_path / "p.xml", RSS.encode()) == expected
    assert feed(tmp_path / "p.XML.GZ", gzip.compress(b"\xef\xbb\xbf" + RSS.encode())) == expected
    assert feed(tmp_path / "feed", ATOM.encode()) == [(1, "p1", "t", None)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "x">]><rss><item><id>&a;</id></item></rss>', "document type"),
        ('<!DOCTYPE r SYSTEM "http://shop/dtd"><rss><item><id>1</id></item></rss>', "document type"),
        (RSS[:-30], "is not well-formed XML"),
        ("<urlset><url><loc>x</loc></url></urlset>", "is XML .<urlset>. without an entry, item, offer, product"),
        ("<!doctype html><html></html>", "is an HTML page"),
        ("<HTML><body>", "is an HTML page"),
        ("<rss><item><id>1</id></item></rss>", "lacks the column title; it has: id"),
    ],
)
def test_what_is_no_feed_is_named(tmp_path: Path, content: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        feed(tmp_path / "p.xml", content.encode())


def test_a_csv_without_a_header_shows_no_record(tmp_path: Path) -> None:
    path = tmp_path / "e.csv"
    for row in ("u7,secret@shop.example", "u7,2025-01-01 10:00", "u7,966500000000", '["u7", "secret"]'):
        path.write_text(f"{row}\n{row}\n")
        with pytest.raises(MissingColumns, match="has no header") as refused:
            rows(path)
        assert "u7" not in str(refused.value) and not refused.value.header
