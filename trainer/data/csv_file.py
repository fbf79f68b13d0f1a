"""Reads CSV files, checked for encoding, delimiter and width."""

from __future__ import annotations

import codecs
import csv
import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import polars as pl

from trainer.data.columns import check_columns, complete, first_line
from trainer.data.fingerprint import CHUNK
from trainer.errors import DataError
from trainer.progress import track

_DELIMITERS = (",", ";", "\t", "|")


# a quote that is never closed makes one field of the rest of the file: it must not end in an error about its size
_LONGEST_FIELD = 1 << 30


# what files that are no text begin with
_SIGNATURES = {
    b"\x1f\x8b": "a .gz file: give it a name that ends in .gz",
    b"PK\x03\x04": "a zip or Excel file: export it as CSV",
    b"PAR1": "a Parquet file: give it a name that ends in .parquet",
    codecs.BOM_UTF16_LE: "UTF-16: save it as UTF-8",
    codecs.BOM_UTF16_BE: "UTF-16: save it as UTF-8",
}


def open_csv(
    path: Path, columns: Mapping[str, str], optional: frozenset[str], delimiter: str, unpacked: Path
) -> pl.LazyFrame:
    newlines = _check_text(path, unpacked)
    source = unpacked if path.suffix == ".gz" else path
    header = _read_header(source, path, columns, delimiter)
    check_columns(path, header, columns, optional)
    # columns by their places: a name may be taken already, or look like a pattern
    places = [f"_{place}" for place in range(len(header))]
    frame = pl.scan_csv(
        source, separator=delimiter, infer_schema=False, new_columns=places, row_index_name="line", row_index_offset=2
    )
    # a blank line is no row
    filled = pl.any_horizontal(pl.col(places).is_not_null())
    breaks = pl.sum_horizontal(pl.col(name).str.count_matches("\n").fill_null(0) for name in places)
    try:
        # every field is asked for: a mere count of rows would not see a ragged one
        asked = frame.select(pl.len(), filled.sum().alias("filled"), breaks.sum().alias("broken"))
        rows, records, broken = asked.collect(engine="streaming").row(0)
    except pl.exceptions.PolarsError as error:
        problem = _malformed(source, path, delimiter, len(header), None)
        raise DataError(problem or f"{path}: {first_line(error)}") from None
    if (broken or newlines > rows + 1) and (problem := _malformed(source, path, delimiter, len(header), rows)):
        raise DataError(problem)
    if not records:
        raise DataError(f"{path} has a header and no rows")
    if broken:
        # a quoted field may hold line breaks: the line of a record is its number plus the breaks before it
        frame = frame.with_columns(line=pl.col("line") + breaks.cum_sum().shift(1, fill_value=0))
    wanted = [pl.col(places[header.index(name)]).alias(ours) for ours, name in columns.items() if name in header]
    return complete(frame.filter(filled).select("line", *wanted), path, columns)


def _check_text(path: Path, unpacked: Path) -> int:
    """Reads a file once: UTF-8 throughout, and the archive whole. Unpacks .gz. Returns its number of line breaks."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    newlines, empty = 0, True
    last = b"\n"
    try:
        with _open_binary(path) as file, _writer(path, unpacked) as out:
            # how much a .gz file unpacks to is not known before
            total = None if path.suffix == ".gz" else -(-path.stat().st_size // CHUNK)
            for chunk in track(iter(lambda: file.read(CHUNK), b""), f"checking {path.name}", "MiB", total):
                if empty:
                    _check_signature(path, chunk)
                decoder.decode(chunk)
                newlines += chunk.count(b"\n")
                empty, last = False, chunk[-1:]
                if out is not None:
                    out.write(chunk)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        # the decoder's state holds no more than one character: the bad byte is on the line being read
        line = newlines + error.object[: error.start].count(b"\n") + 1
        raise DataError(_wrong_encoding(path, line, error)) from None
    except EOFError:
        raise DataError(f"{path} is a truncated .gz file: its end is missing; copy it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is not a sound .gz file: {error}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    if empty:
        raise DataError(f"{path} is empty")
    return newlines + (last != b"\n")


def _check_signature(path: Path, start: bytes) -> None:
    for signature, what in _SIGNATURES.items():
        if start.startswith(signature):
            raise DataError(f"{path} is {what}")
    line = start[:4096].split(b"\n", 1)[0]
    if b"\0" in line:
        raise DataError(f"{path} holds NUL characters, as UTF-16 does; save it as UTF-8")
    if b"\r" in line[:-1]:
        raise DataError(f"{path} ends its lines with CR alone; convert it: tr '\\r' '\\n'")


def _wrong_encoding(path: Path, line: int, error: UnicodeDecodeError) -> str:
    sample = error.object[max(0, error.start - 20) : error.start + 40]
    message = f"{path} is not UTF-8 (line {line}, byte 0x{error.object[error.start]:02x})"
    try:
        shown = sample.decode("windows-1256")
    except UnicodeDecodeError:
        return message + "; save it as UTF-8"
    if not any("\u0621" <= character <= "\u064a" for character in shown):
        return message + "; save it as UTF-8"
    return (
        f"{message}; it reads as Windows-1256, common for Arabic exports: {shown!r}; "
        f"convert it: iconv -f WINDOWS-1256 -t UTF-8 {path.name}"
    )


def _open_binary(path: Path) -> BinaryIO:
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


class _writer:
    """The file to unpack into, or None for a file that is not packed."""

    def __init__(self, path: Path, unpacked: Path) -> None:
        self._target = unpacked if path.suffix == ".gz" else None
        self._file: BinaryIO | None = None

    def __enter__(self) -> BinaryIO | None:
        if self._target is not None:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._target.open("wb")
        return self._file

    def __exit__(self, *exception: object) -> None:
        if self._file is not None:
            self._file.close()


def _read_header(source: Path, path: Path, columns: Mapping[str, str], delimiter: str) -> list[str]:
    with source.open(encoding="utf-8-sig", newline="") as file:
        try:
            header = next(csv.reader(file, delimiter=delimiter), [])
        except csv.Error as error:
            raise DataError(f"{path}: the header cannot be read: {error}") from None
    if not any(header):
        raise DataError(f"{path}: its first line is blank; it must name the columns")
    if len(header) == 1:
        for other in _DELIMITERS:
            if other != delimiter and len(set(header[0].split(other)) & set(columns.values())) > 1:
                raise DataError(
                    f"{path}: the header is one column {header[0]!r}; its delimiter is {other!r}, "
                    f"not {delimiter!r}: run with --set 'data.delimiter=\"{_shown(other)}\"'"
                )
    # columns without a name, as spreadsheets leave them at the end, are not read
    repeated = sorted({name for name in header if name.strip() and header.count(name) > 1})
    if repeated:
        raise DataError(f"{path}: the header names {', '.join(repeated)} more than once")
    return header


def _shown(delimiter: str) -> str:
    return "\\t" if delimiter == "\t" else delimiter


def _malformed(source: Path, path: Path, delimiter: str, width: int, rows: int | None) -> str:
    """What is wrong with a CSV file, by the line where it starts; "" where nothing is found.

    A stray quote makes Polars join lines: there are other than `rows` records then, as the csv module reads them.
    """
    limit = csv.field_size_limit(_LONGEST_FIELD)
    stray, records, start, raw = 0, 0, 1, [""]
    try:
        with source.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(_kept(file, raw), delimiter=delimiter, strict=True)
            for fields in reader:
                if len(fields) > width:
                    return (
                        f"{path}, line {start}: {len(fields)} fields, the header has {width}; "
                        f"a field that holds {delimiter!r} must stand in quotes"
                    )
                if not stray and raw[0].count('"') % 2:
                    stray = start
                records, start, raw[0] = records + 1, reader.line_num + 1, ""
    except csv.Error as error:
        return f"{path}, line {start}: {error}; {_QUOTES}"
    finally:
        csv.field_size_limit(limit)
    if stray or (rows is not None and records != rows + 1):
        where = f", line {stray}" if stray else f" has {records - 1:,} rows or {rows:,}, as its quotes are read"
        return f"{path}{where}: a quotation mark inside a field; {_QUOTES}"
    return ""


_QUOTES = "a field that holds quotation marks must stand in quotes itself, with each of them doubled"


def _kept(lines: Iterable[str], raw: list[str]) -> Iterator[str]:
    """The lines as they are; `raw` gathers them for the record that is being read."""
    for line in lines:
        raw[0] += line
        yield line
