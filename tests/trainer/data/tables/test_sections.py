"""Sections of a file, read apart, hold the rows that the file holds, with the same lines."""

from __future__ import annotations

import gzip
import os
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from trainer.data.tables import sections
from trainer.data.tables.csv_file import csv_sections
from trainer.data.tables.files import read_tables
from trainer.data.tables.sections import split_files
from trainer.errors import DataError

COLUMNS = {"buyer": ("who",), "product": ("what", "item")}
ARGUMENTS = (COLUMNS, frozenset[str](), ",")
# line breaks and separators in quotes, blank lines, letters of two bytes
CSV = 'who,what,more\nb1,"ring, gold",x\n\nb2,"two\nlines ""here""",\nb3,خاتم,y\n\n\nb4,p4,z\nb5,p5,\n'
ROWS = [
    (2, "b1", "ring, gold"),
    (4, "b2", 'two\nlines "here"'),
    (6, "b3", "خاتم"),
    (9, "b4", "p4"),
    (10, "b5", "p5"),
]
BLOCKS = [1, 7, 20, 45, 1000]


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(sections, "csv_sections", partial(csv_sections, block_bytes=request.param))


def read(path: Path) -> list[tuple[int, str, str]]:
    """The rows of all sections, each read by itself, the last one first."""
    found = list(split_files([path], *ARGUMENTS))
    read_apart = [list(section.read(*ARGUMENTS)) for section in reversed(found)]
    rows = pl.concat([batch for batches in reversed(read_apart) for batch in batches])
    assert set(rows["file"]) == {str(path)}
    return rows.select("line", "buyer", "product").rows()


@pytest.mark.parametrize("small_blocks", BLOCKS, indirect=True)
@pytest.mark.parametrize("start", ["", "\ufeff", "sep=,\n"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.usefixtures("small_blocks")
def test_the_sections_of_a_csv_file_are_its_rows(tmp_path: Path, start: str, end: str) -> None:
    path = tmp_path / "events.csv"
    path.write_text(start + CSV, encoding="utf-8", newline=end)
    shift = start.count("\n")
    rows = [(line + shift, buyer, product.replace("\n", end)) for line, buyer, product in ROWS]
    assert read(path) == rows
    whole = pl.concat(read_tables([path], *ARGUMENTS))
    assert whole.select("line", "buyer", "product").rows() == rows


def test_small_blocks_are_several_sections_and_large_ones_one(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(CSV, encoding="utf-8")
    one = csv_sections(path, *ARGUMENTS)
    assert [(section.start, section.stop, section.line) for section in one] == [(14, len(CSV.encode()), 2)]
    several = csv_sections(path, *ARGUMENTS, block_bytes=20)
    assert len(several) > 2
    assert [section.start for section in several[1:]] == [section.stop for section in several[:-1]]


@pytest.mark.parametrize("suffix", [".tsv", ".TSV"])
def test_a_tsv_file_has_tabs(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"events{suffix}"
    path.write_text("who\twhat\nb1\tp,1\n", encoding="utf-8")
    assert read(path) == [(2, "b1", "p,1")]


@pytest.mark.parametrize("rows", [1, 2, 5, 100])
def test_the_sections_of_a_parquet_file_are_its_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(sections, "_PARQUET_ROWS", rows)
    path = tmp_path / "events.parquet"
    table = pl.DataFrame({"line": [9] * 5, "who": [f"b{n}" for n in range(5)], "item": range(5)})
    table.write_parquet(path, row_group_size=2)
    assert len(list(split_files([path], *ARGUMENTS))) == -(-5 // rows)
    assert read(path) == [(n + 1, f"b{n}", str(n)) for n in range(5)]


def test_what_cannot_be_cut_is_one_section(tmp_path: Path) -> None:
    files = {
        "a.csv.gz": gzip.compress(b"who,what\nb1,p1\n"),
        "b.json": b'[{"who": "b2", "what": "p2"}]',
        "c.jsonl": b'{"who": "b3", "what": "p3"}\n',
        "d.xml": b"<rows><item><who>b4</who><what>p4</what></item></rows>",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    nested = tmp_path / "e.parquet"
    pl.DataFrame({"who": ["b5"], "order": [{"item": "p5"}]}).write_parquet(nested)
    columns = {"buyer": ("who",), "product": ("what", "order.item")}
    paths = [*(tmp_path / name for name in files), nested]
    found = list(split_files(paths, columns, frozenset(), ","))
    rows = [pl.concat(section.read(columns, frozenset(), ",")).select("buyer", "product").rows() for section in found]
    assert rows == [[(f"b{n}", f"p{n}")] for n in range(1, 6)]


def test_a_file_that_shrinks_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(CSV, encoding="utf-8")
    (section,) = csv_sections(path, *ARGUMENTS)
    path.write_text(CSV[:40], encoding="utf-8")
    with pytest.raises(DataError, match=r"events\.csv has become shorter while it was read"):
        list(section.read(*ARGUMENTS))


def test_a_pipe_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    os.mkfifo(path)
    with pytest.raises(DataError, match="is not a regular file: the workers of a Ray cluster cannot read it"):
        list(split_files([path], *ARGUMENTS))


@pytest.mark.parametrize("content", ["who,what\n", "who,what", "who,what\n\n\n"])
def test_a_header_without_rows_is_an_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "events.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=r"events\.csv has a header and no rows"):
        read(path)


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (b"b6,p6,x,y\n", "line 11: 4 fields, the header has 3"),
        (b'b6,p"6,x\n', "line 11: a quotation mark inside a field"),
        (b"b6,\xce\xc7\xca\xe3,x\n", "is not UTF-8 .line 11, byte 0xce."),
    ],
)
@pytest.mark.parametrize("small_blocks", [20, 1000], indirect=True)
@pytest.mark.usefixtures("small_blocks")
def test_an_error_names_the_line_of_the_file(tmp_path: Path, record: bytes, problem: str) -> None:
    path = tmp_path / "events.csv"
    path.write_bytes(CSV.encode() + record + b"b7,p7,\n")
    with pytest.raises(DataError, match=problem):
        read(path)
