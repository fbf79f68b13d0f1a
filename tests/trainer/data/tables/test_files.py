"""Files to rows: whatever a shop may send is read with its true line numbers, or refused by file, line and reason."""

from __future__ import annotations

import bz2
import datetime
import gzip
import json
import lzma
import os
import threading
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainer.data.fingerprint import fingerprint
from trainer.data.tables import csv_blocks
from trainer.data.tables.csv_file import read_csv
from trainer.data.tables.files import find_files, read_tables
from trainer.data.tables.parquet_file import parquet_rows
from trainer.errors import DataError

Row = tuple[int, str | None, str | None]


COLUMNS = {"id": ("a",), "text": ("b",)}


def rows(*paths: Path, delimiter: str = ",", optional: frozenset[str] = frozenset()) -> list[Row]:
    table = pl.concat(read_tables(paths, COLUMNS, optional, delimiter))
    return table.select("line", "id", "text").rows()


def given_text(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("name", ["t[1].csv", "t?.csv", "ملف ١.csv", "T.CSV", "t*.csv"])
def test_the_name_of_a_file_is_no_pattern(tmp_path: Path, name: str) -> None:
    assert rows(given_text(tmp_path, "a,b\n1,x\n", name)) == [(2, "1", "x")]
    parquet = (tmp_path / name).with_suffix(".PARQUET")
    pl.DataFrame({"a": ["2"], "b": ["y"]}).write_parquet(parquet)
    assert rows(parquet) == [(1, "2", "y")]


@pytest.mark.parametrize(
    ("suffix", "pack"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".XZ", lzma.compress), (".zst", zstandard.compress)],
)
def test_archives_are_read_and_damaged_ones_refused(
    tmp_path: Path, suffix: str, pack: Callable[[bytes], bytes]
) -> None:
    packed = pack(b"a\tb\n1\tx\n")
    assert rows(given_text(tmp_path, packed, f"t.tsv{suffix}")) == [(2, "1", "x")]
    assert "truncated" in refused(given_text(tmp_path, packed[:-4], f"cut.tsv{suffix}"))
    damaged = packed[:12] + bytes([packed[12] ^ 0xFF]) + packed[13:]
    assert refused(given_text(tmp_path, damaged, f"bad.tsv{suffix}"))


JSON_LINES = '{"a": 7, "b": "x"}\n\n{"a": 1.0, "b": null}\n{"a": true, "b": ["y", 2]}'


@pytest.mark.parametrize("name", ["t.jsonl", "ملف [1].NDJSON", "t.json", "t"])
def test_objects_one_a_line(tmp_path: Path, name: str) -> None:
    wanted = [(1, "7", "x"), (3, "1", None), (4, "true", '["y", 2]')]
    assert rows(given_text(tmp_path, JSON_LINES, name)) == wanted
    assert rows(given_text(tmp_path, "\ufeff" + JSON_LINES, name)) == wanted
    assert rows(given_text(tmp_path, gzip.compress(JSON_LINES.encode()), f"{name}.gz")) == wanted


@pytest.mark.parametrize(
    "text",
    [
        '[{"a": 7, "b": "x"}, {"a": 8, "b": "y"}]',
        '{\n  "count": 2,\n  "tags": [],\n  "results": [\n    {"a": 7, "b": "x"},\n    {"a": 8, "b": "y"}\n  ]\n}\n',
        '{"data": [{"a": 7, "b": "x"}, {"a": 8, "b": "y"}], "status": 200}\n',
    ],
)
def test_a_list_or_a_page_of_an_api(tmp_path: Path, text: str) -> None:
    assert rows(given_text(tmp_path, text, "t.json")) == [(1, "7", "x"), (2, "8", "y")]


def test_paths_go_through_lists_and_each_entry_is_a_row(tmp_path: Path) -> None:
    text = json.dumps({"o": {"n": 5}, "shops": [{"lines": [{"s": "p"}, {"s": "q"}]}, {"lines": []}], "b.c": "x"})
    columns = {"id": ("shops[].lines[].s", "none"), "text": ("o.n",), "more": ("b.c",), "all": ("$",)}
    table = pl.concat(read_tables([given_text(tmp_path, text + "\n" + text, "t.jsonl")], columns, frozenset(), ","))
    assert table.select("line", "id", "text", "more").rows()[:3] == [
        (1, "p", "5", "x"),
        (1, "q", "5", "x"),
        (1, None, "5", "x"),
    ]
    assert json.loads(table["all"][0]) == json.loads(text)


def test_the_first_of_several_columns_with_a_value(tmp_path: Path) -> None:
    columns = {"id": ("variant", "product"), "text": ("missing", "b")}
    path = given_text(tmp_path, 'variant,product,b\n7,1,x\n0,2,y\n,3,z\n"",0,w\n')
    table = pl.concat(read_tables([path], columns, frozenset(), ","))
    assert table.select("id", "text").rows() == [("7", "x"), ("2", "y"), ("3", "z"), ("0", "w")]


def test_an_error_about_json_shows_names_and_no_record(tmp_path: Path) -> None:
    said = refused(given_text(tmp_path, '{"buyer": "Leila", "at": {"city": "Doha"}}\n', "t.jsonl"))
    assert "lacks the columns a, b; it has: buyer, at.city;" in said and "Leila" not in said
    said = refused(given_text(tmp_path, '{"a": 1, "b": "Leila"}\n{"a": "Leila}\n', "t.jsonl"))
    assert "line 2: is not JSON" in said and "Leila" not in said


def refused(*paths: Path, delimiter: str = ",") -> str:
    with pytest.raises(DataError) as caught:
        rows(*paths, delimiter=delimiter)
    assert "\n" not in str(caught.value)
    assert str(paths[-1]) in str(caught.value)
    return str(caught.value)


READ: dict[str, tuple[str, list[Row]]] = {
    "plain": ("a,b\n1,x\n2,y\n", [(2, "1", "x"), (3, "2", "y")]),
    "no line end at the end": ("a,b\n1,x", [(2, "1", "x")]),
    "byte order mark": ("\ufeffa,b\n1,x\n", [(2, "1", "x")]),
    "byte order mark and quotes": ('\ufeff"a","b"\n1,x\n', [(2, "1", "x")]),
    "CRLF": ("a,b\r\n1,x\r\n2,y\r\n", [(2, "1", "x"), (3, "2", "y")]),
    "other columns and another order": ("c,b,a\n9,x,1\n", [(2, "1", "x")]),
    "columns without a name": ("a,b,,, \n1,x,,,\n2,y,9,, \n,,,,\n", [(2, "1", "x"), (3, "2", "y")]),
    "quotes": ('a,b\n1,"x, ""y"""\n', [(2, "1", 'x, "y"')]),
    "quoted line breaks": (
        'a,b\n1,"x\ny\nz"\n2,w\n"3","\n"\n4,v\n',
        [(2, "1", "x\ny\nz"), (5, "2", "w"), (6, "3", "\n"), (8, "4", "v")],
    ),
    "quoted line breaks in a column that is not read": ('a,c,b\n1,"x\ny",p\n2,z,q\n', [(2, "1", "p"), (4, "2", "q")]),
    "quoted CRLF": ('a,b\r\n1,"x\r\ny"\r\n2,z\r\n', [(2, "1", "x\r\ny"), (4, "2", "z")]),
    "Excel's line of the delimiter": ("sep=;\r\na;b\r\n1;x,y\r\n", [(3, "1", "x,y")]),
    "semicolons": ("a;b\n1;x,y\n", [(2, "1", "x,y")]),
    "tabs": ("a\tb\n1\tx\n", [(2, "1", "x")]),
    "names of other columns, twice": ("a,b,c,c\n1,x,2,3\n", [(2, "1", "x")]),
    "marks that cannot be seen around the headings": ("\u200ea\u200f,\u202bb\u202c \n1,x\n", [(2, "1", "x")]),
    "blank lines are no rows": ("a,b\n1,x\n\n2,y\n\n\n", [(2, "1", "x"), (4, "2", "y")]),
    "blank CRLF lines": ("a,b\r\n1,x\r\n\r\n2,y\r\n\r\n", [(2, "1", "x"), (4, "2", "y")]),
    "missing fields at the end": ("a,b\n1\n2,y\n", [(2, "1", None), (3, "2", "y")]),
    "empty fields": ('a,b\n,x\n2,""\n', [(2, None, "x"), (3, "2", "")]),
    "leading zeros and signs stay text": ("a,b\n007,+1e5\n", [(2, "007", "+1e5")]),
    "Arabic": ("a,b\nم١,خاتم ذهب\n", [(2, "م١", "خاتم ذهب")]),
    "a hash is no comment": ("a,b\n#1,x\n", [(2, "#1", "x")]),
    "columns named as ours are": ("line,a,file,b,_0\n9,1,8,x,7\n", [(2, "1", "x")]),
    "columns named like patterns": ('a,^.*$,b,*\n1,"p\nq",x,9\n2,8,y,9\n', [(2, "1", "x"), (4, "2", "y")]),
}


@pytest.mark.parametrize(("text", "wanted"), READ.values(), ids=list(READ))
@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_csv_is_read_with_its_line_numbers(tmp_path: Path, text: str, wanted: list[Row], name: str) -> None:
    raw = text.encode()
    assert rows(given_text(tmp_path, gzip.compress(raw) if name.endswith(".gz") else raw, name)) == wanted


@given(
    st.lists(
        st.tuples(
            st.text(st.sampled_from('abخ,"\n \r;'), min_size=1, max_size=6).filter(lambda one: "\r" not in one),
            st.text(st.sampled_from('xyذ,"\n '), max_size=8),
        ),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from([1, 5, 23, csv_blocks.BLOCK_BYTES]),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_the_csv_module_writes_is_read_back_in_blocks_of_any_size(
    tmp_path: Path, records: list[tuple[str, str]], block_bytes: int
) -> None:
    lines, wanted, line = ["a,b"], [], 2
    for one, two in records:
        fields = ['"' + field.replace('"', '""') + '"' for field in (one, two)]
        lines.append(",".join(fields))
        wanted.append((line, one, two))
        line += 1 + one.count("\n") + two.count("\n")
    path = given_text(tmp_path, "\n".join(lines) + "\n")
    table = pl.concat(read_csv(path, COLUMNS, frozenset(), ",", block_bytes))
    assert table.select("line", "id", "text").rows() == wanted


@pytest.mark.parametrize("block_bytes", [1, 5, 23])
@pytest.mark.parametrize(("text", "wanted"), READ.values(), ids=list(READ))
def test_the_size_of_blocks_changes_nothing(tmp_path: Path, text: str, wanted: list[Row], block_bytes: int) -> None:
    table = pl.concat(read_csv(given_text(tmp_path, text), COLUMNS, frozenset(), ",", block_bytes))
    assert table.select("line", "id", "text").rows() == wanted


def test_a_csv_file_is_read_once(tmp_path: Path) -> None:
    # A named pipe gives its bytes once: a second pass would wait for ever.
    path = tmp_path / "pipe.csv"
    os.mkfifo(path)
    text = "a,b\n" + '1,"x\ny"\n' * 50_000
    writer = threading.Thread(target=path.write_text, args=(text,), daemon=True)
    writer.start()
    assert rows(path)[-1] == (100_000, "1", "x\ny")
    writer.join()


def test_delimiters_and_optional_columns(tmp_path: Path) -> None:
    assert rows(given_text(tmp_path, "a;b\n1;x,y\n"), delimiter=";") == [(2, "1", "x,y")]
    assert rows(given_text(tmp_path, "a\tb\n1\tx\n"), delimiter="\t") == [(2, "1", "x")]
    assert rows(given_text(tmp_path, "a\n1\n"), optional=frozenset({"text"})) == [(2, "1", None)]


@pytest.mark.parametrize("name", ["line", "file", "^.*$", "*"])
def test_any_name_of_a_column_is_a_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / "t.parquet"
    pl.DataFrame({name: ["x", "y"], "a": [1.0, 2.0]}).write_parquet(path)
    csv = given_text(tmp_path, f"{name},a\nx,1\ny,2\n")
    for columns in ({"id": ("a",)}, {"id": (name,)}):
        wanted = ["1", "2"] if columns["id"] == ("a",) else ["x", "y"]
        frame = pl.concat(read_tables([path, csv], columns, frozenset(), ","))
        assert frame.select("line", "id").rows() == [*zip([1, 2, 2, 3], wanted * 2, strict=True)]


def test_parquet_columns_of_every_kind_become_text(tmp_path: Path) -> None:
    moment = datetime.datetime(2024, 3, 2, 0, 0, 0, 250_000)
    made: dict[str, tuple[pl.Series, list[str | None]]] = {
        "text": (pl.Series(["x", None]), ["x", None]),
        "integer": (pl.Series([7, None]), ["7", None]),
        "unsigned": (pl.Series([7, 0], dtype=pl.UInt64), ["7", "0"]),
        "float": (pl.Series([1709337600.0, 1.5]), ["1709337600", "1.5"]),
        "large float": (pl.Series([1e15, None]), ["1000000000000000", None]),
        "milliseconds": (pl.Series([moment, None], dtype=pl.Datetime("ms")), ["2024-03-02T00:00:00.250", None]),
        "nanoseconds": (pl.Series([moment, None], dtype=pl.Datetime("ns")), ["2024-03-02T00:00:00.250", None]),
        "zone": (
            pl.Series([moment, None], dtype=pl.Datetime("us")).dt.replace_time_zone("Asia/Riyadh"),
            ["2024-03-01T21:00:00.250", None],
        ),
        "date": (pl.Series([moment.date(), None]), ["2024-03-02", None]),
        "times that no ISO time is for": (
            pl.Series([datetime.datetime(1, 1, 1), datetime.datetime(999, 12, 31)], dtype=pl.Datetime("ms")),
            ["-62135596800000", "-30610310400000"],
        ),
        "category": (pl.Series(["x", "y"], dtype=pl.Categorical), ["x", "y"]),
        "object": (pl.Series([{"brand": "b"}, {"brand": "c"}]), ['{"brand":"b"}', '{"brand":"c"}']),
        "object or nothing": (pl.Series([{"brand": "b"}, None]), ['{"brand":"b"}', None]),
        "flag": (pl.Series([True, False]), ["true", "false"]),
    }
    for name, (series, wanted) in made.items():
        path = tmp_path / f"{name}.parquet"
        pl.DataFrame({"a": ["1", "2"], "b": series}).write_parquet(path)
        assert rows(path) == [(1, "1", wanted[0]), (2, "2", wanted[1])], name


def test_several_files_of_several_kinds_are_one_table(tmp_path: Path) -> None:
    one = given_text(tmp_path, "a,b\n1,x\n")
    two = given_text(tmp_path, gzip.compress(b"b,a\ny,2\n"), "u.csv.gz")
    three = tmp_path / "v.parquet"
    pl.DataFrame({"b": ["z"], "a": [3]}).write_parquet(three)
    frame = pl.concat(read_tables([one, two, three], COLUMNS, frozenset(), ","))
    assert frame.rows() == [(str(one), 2, "1", "x"), (str(two), 2, "2", "y"), (str(three), 1, "3", "z")]


def test_globs_are_sorted_and_files_named_twice_are_read_once(tmp_path: Path) -> None:
    paths = [given_text(tmp_path, "a,b\n1,x\n", name) for name in ("e2.csv", "e1.csv", "[x].csv")]
    pattern = str(tmp_path / "e*.csv")
    assert find_files([pattern, str(paths[0])], "events") == [paths[1], paths[0]]
    assert find_files([str(paths[2])], "events") == [paths[2]]  # a name that looks like a glob


def test_a_pattern_without_a_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for pattern in (str(tmp_path / "no.csv"), str(tmp_path / "no*.csv")):
        with pytest.raises(DataError, match=f"--events .*{Path(pattern).stem[:2]}.*: no such file"):
            find_files([pattern], "events")
    with pytest.raises(DataError, match=r"--events .* is a folder; name its files, for example '.*/\*.csv'"):
        find_files([str(tmp_path)], "events")


ARABIC = "a,b\n1,x\n2,خاتم ذهب\n"


REFUSED: dict[str, tuple[str | bytes, list[str]]] = {
    "empty": ("", ["is empty"]),
    "header only": ("a,b\n", ["has a header and no rows"]),
    "header without a line end": ("a,b", ["has a header and no rows"]),
    "blank lines only": ("a,b\n\n\n", ["has a header and no rows"]),
    "blank first line": ("\na,b\n1,x\n", ["first line is blank"]),
    "missing column": ("a,c,d\n1,x,y\n", ["lacks the column b", "it has: a, c, d", "in the configuration"]),
    "missing columns": ("c,d\n1,x\n", ["lacks the columns a, b"]),
    "repeated column": ("a,b,a\n1,x,2\n", ["names a more than once"]),
    "Windows-1256": (
        ARABIC.encode("windows-1256"),
        ["line 3, byte 0xce", "Windows-1256", "خاتم ذهب", "iconv -f WINDO"],
    ),
    "Latin-1": ("a,b\n1,caf\xe9\n".encode("latin-1"), ["is not UTF-8 (line 2, byte 0xe9)", "save it as UTF-8"]),
    "UTF-16": (ARABIC.encode("utf-16"), ["is UTF-16: save it as UTF-8"]),
    "UTF-16 without a mark": (ARABIC.encode("utf-16-le"), ["as UTF-16 does"]),
    "a character cut off": ("a,b\n1,خ".encode()[:-1], ["is not UTF-8"]),
    "a packed file": (gzip.compress(b"a,b\n1,x\n"), ["is a .gz file: give it a name that ends in .gz"]),
    "no Excel file": (b"PK\x03\x04rest", ["zip or Excel file"]),
    "old Mac line ends": ("a,b\r1,x\r2,y\r", ["CR alone"]),
    "too many fields": ("a,b\n1,x\n2,y,z\n", ["line 3: 3 fields, the header has 2", "must stand in quotes"]),
    "too many fields after a break": ('a,b\n1,"x\ny"\n2,y,z\n', ["line 4: 3 fields"]),
    "quote never closed": ('a,b\n1,x\n2,"y\n3,z\n', ["line 3: unexpected end of data"]),
    "quote inside a field": ('a,b\n1,x\n2,55" TV\n3,z\n', ["line 3: a quotation mark inside a field", "doubled"]),
    "two quotes that join lines": ('a,b\n1,x\n2,55" TV\n3,z\n4,6" ring\n', ["line 3: a quotation mark"]),
    "text after a quote": ('a,b\n1,"x"y\n', ["line 2", "must stand in quotes itself"]),
}


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=list(REFUSED))
@pytest.mark.parametrize("packed", [False, True], ids=["csv", "gz"])
def test_a_file_that_cannot_be_read_is_named_with_its_reason(
    tmp_path: Path, text: str | bytes, said: list[str], packed: bool
) -> None:
    raw = text.encode() if isinstance(text, str) else text
    good = given_text(tmp_path, "a,b\n1,x\n", "good.csv")
    bad = given_text(tmp_path, gzip.compress(raw) if packed else raw, "bad.csv.gz" if packed else "bad.csv")
    message = refused(good, bad)
    for part in said:
        assert part in message


@pytest.mark.parametrize(("text", "said"), REFUSED.values(), ids=list(REFUSED))
def test_small_blocks_refuse_the_same_files(tmp_path: Path, text: str | bytes, said: list[str]) -> None:
    bad = given_text(tmp_path, text)
    with pytest.raises(DataError) as caught:
        list(read_csv(bad, COLUMNS, frozenset(), ",", block_bytes=16))
    for part in said:
        assert part in str(caught.value)


def test_a_quote_that_is_never_closed_does_not_hold_the_rest_of_the_file_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_blocks, "_MAX_RECORD_BYTES", 1000)
    bad = given_text(tmp_path, 'a,b\n1,x\n2,"y\n' + "3,ذهب\n" * 1_000_000)
    blocks = csv_blocks.read_blocks(bad, block_bytes=100)
    assert max(len(block.text) for _, block in zip(range(100), blocks, strict=False)) < 1200
    with pytest.raises(DataError, match="line 3: unexpected end of data"):
        list(read_csv(bad, COLUMNS, frozenset(), ",", block_bytes=100))


def test_a_bad_byte_far_into_a_file_is_placed_on_its_line(tmp_path: Path) -> None:
    # Beyond the megabyte that is read at a time, and across its border.
    lines = ["1," + "ذ" * 99] * 12_000
    lines[11_000] = "2,bad"
    raw = ("a,b\n" + "\n".join(lines)).encode().replace(b"bad", b"\xce")
    assert "line 11002, byte 0xce" in refused(given_text(tmp_path, raw))


def test_archives_that_are_broken_are_named(tmp_path: Path) -> None:
    whole = gzip.compress(b"a,b\n" + b"".join(b"%d,x\n" % one for one in range(5000)))
    assert "truncated .gz" in refused(given_text(tmp_path, whole[:-20], "cut.csv.gz"))
    assert "truncated .gz" in refused(given_text(tmp_path, whole[: len(whole) // 2], "half.csv.gz"))
    assert "not a sound .gz" in refused(given_text(tmp_path, b"a,b\n1,x\n", "plain.csv.gz"))
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    assert "not a sound .gz" in refused(given_text(tmp_path, bytes(damaged), "damaged.csv.gz"))
    assert "is empty" in refused(given_text(tmp_path, b"", "nothing.csv.gz"))


def test_parquet_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert "is not a Parquet file" in refused(given_text(tmp_path, "a,b\n1,x\n", "t.parquet"))
    assert "is not a Parquet file" in refused(given_text(tmp_path, "", "e.parquet"))
    path = tmp_path / "u.parquet"
    pl.DataFrame({"a": ["1"], "c": [2]}).write_parquet(path)
    assert "lacks the column b; it has: a, c" in refused(path)
    pl.DataFrame({"a": [], "b": []}).write_parquet(path)
    assert "has no rows" in refused(path)
    pl.DataFrame({"a": [["1"]], "b": ["x"]}).write_parquet(path)
    assert "the column a holds List(String)" in refused(path)
    for deep in ({"n": b"x"}, {"n": {"m": [b"x"]}}, {"n": [{"m": b"x"}]}):
        pl.DataFrame({"a": ["1"], "b": [deep]}).write_parquet(path)
        message = refused(path)
        assert f"{path}: the column b holds Struct(" in message and "Binary" in message
        assert message.endswith(", with bytes in it, wanted text, numbers or times")


def test_a_damaged_byte_of_a_parquet_footer_is_read_over_or_named(tmp_path: Path) -> None:
    path = tmp_path / "f.parquet"
    pl.DataFrame({"a": ["1", "2"], "b": ["x", "y"]}).write_parquet(path)
    whole = path.read_bytes()
    messages = []
    # the footer, its length in four bytes, and the four letters at the end; at 1 and "g" Polars panics in two places
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    for place in range(len(whole) - footer, len(whole)):
        for value in b"\x01g":
            path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            try:
                assert parquet_rows(path, COLUMNS) >= 0
            except DataError as error:
                messages.append(str(error))
    assert len(messages) > footer
    assert all(message.startswith(str(path)) for message in messages)


def test_the_fingerprint_is_of_the_contents_alone(tmp_path: Path) -> None:
    one, two = given_text(tmp_path, "a,b\n1,x\n", "1.csv"), given_text(tmp_path, "a,b\n1,x\n", "2.csv")
    three = given_text(tmp_path, "a,b\n1,y\n", "3.csv")
    assert fingerprint([one]) == fingerprint([two]) != fingerprint([three])
    assert fingerprint([one, three]) != fingerprint([three, one])
    # the border between files counts
    left, right = given_text(tmp_path, "ab", "l"), given_text(tmp_path, "c", "r")
    whole, rest = given_text(tmp_path, "a", "w"), given_text(tmp_path, "bc", "t")
    assert fingerprint([left, right]) != fingerprint([whole, rest])
