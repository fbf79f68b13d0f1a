"""Input files to lazy tables of text columns with the file and line that each row came from."""

from __future__ import annotations

import codecs
import csv
import glob
import gzip
import hashlib
import importlib.resources
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import polars as pl
from polars import selectors

from trainer.errors import DataError
from trainer.progress import track

_CHUNK = 1 << 20
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


class Table(NamedTuple):
    """Rows of all files, lazily: `file`, `line` (1 = the header), and the wanted columns as text."""

    frame: pl.LazyFrame
    files: list[Path]


def find_files(patterns: Sequence[str], what: str) -> list[Path]:
    """The files that paths and globs name, in order, each once. DataError where a pattern names none."""
    found: dict[Path, None] = {}
    for pattern in patterns:
        matches = [pattern] if Path(pattern).exists() else sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207
        if not matches:
            raise DataError(f"--{what} {pattern}: no such file")
        for match in matches:
            if Path(match).is_dir():
                raise DataError(f"--{what} {match}: is a folder; name its files, for example '{match}/*.csv'")
            found[Path(match)] = None
    if not found:
        raise DataError(f"--{what}: no file is named")
    return list(found)


def open_table(
    files: Sequence[Path], columns: Mapping[str, str], optional: frozenset[str], delimiter: str, scratch: Path
) -> Table:
    """Opens CSV, CSV.gz and Parquet files as one table. `columns` maps our name to the files'.

    Each file is read once from end to end first, so that a wrong encoding, a truncated archive, a wrong delimiter or a
    missing column is told by name before any work; `scratch` gets the unpacked form of .gz files. Raises DataError.
    """
    parts = []
    for number, path in enumerate(files):
        if path.suffix == ".parquet":
            parts.append(_open_parquet(path, columns, optional))
        else:
            parts.append(_open_csv(path, columns, optional, delimiter, scratch / f"{number}-{path.name}.csv"))
    return Table(pl.concat(parts), list(files))


def _open_parquet(path: Path, columns: Mapping[str, str], optional: frozenset[str]) -> pl.LazyFrame:
    try:
        frame = pl.scan_parquet(path)
        schema = frame.collect_schema()
        rows = frame.select(pl.len()).collect().item()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(f"{path} is not a Parquet file: {_first_line(error)}") from None
    _check_columns(path, schema.names(), columns, optional)
    if not rows:
        raise DataError(f"{path} has no rows")
    for theirs in columns.values():
        if theirs in schema and schema[theirs].is_nested() and not isinstance(schema[theirs], pl.Struct):
            raise DataError(f"{path}: the column {theirs} holds {schema[theirs]}, wanted text, a number or a time")
        if theirs in schema and isinstance(schema[theirs], pl.Struct) and _holds_bytes(schema[theirs]):
            # which JSON cannot say, and at which Polars panics
            raise DataError(
                f"{path}: the column {theirs} holds {schema[theirs]}, with bytes in it, wanted text, numbers or times"
            )
    wanted = [_as_text(theirs, schema[theirs]).alias(ours) for ours, theirs in columns.items() if theirs in schema]
    # numbered by our names alone: a column of theirs may be called as the numbers are
    return _complete(frame.select(wanted).with_row_index("line", offset=1), path, columns)


def _holds_bytes(kind: pl.DataType | pl.datatypes.DataTypeClass) -> bool:
    if isinstance(kind, pl.Struct):
        return any(_holds_bytes(field.dtype) for field in kind.fields)
    return _holds_bytes(kind.inner) if isinstance(kind, (pl.List, pl.Array)) else kind == pl.Binary


def _as_text(name: str, kind: pl.DataType) -> pl.Expr:
    # `pl.col` would take some names for patterns
    column = selectors.by_name(name)
    if isinstance(kind, (pl.Datetime, pl.Date)):
        return _time_as_text(column, kind)
    if isinstance(kind, pl.Struct):
        # encoded, nothing would be the text "null"
        return pl.when(column.is_not_null()).then(column.struct.json_encode())
    if kind.is_float():
        # whole numbers as they are written elsewhere: 85048, not 85048.0
        whole = column.cast(pl.Int64, strict=False)
        return pl.when(whole.cast(kind) == column).then(whole.cast(pl.String)).otherwise(column.cast(pl.String))
    return column.cast(pl.String, strict=False)


def _time_as_text(column: pl.Expr, kind: pl.Datetime | pl.Date) -> pl.Expr:
    """As a time is written, which no number of seconds can be mistaken for."""
    if isinstance(kind, pl.Date):
        written = column.dt.to_string("%Y-%m-%d")
    else:
        column = column.dt.convert_time_zone("UTC") if kind.time_zone else column
        written = column.dt.to_string("%Y-%m-%dT%H:%M:%S%.3f")
    # only years of four digits are written so; of what is older, milliseconds say as much
    told = column.dt.year().is_between(1000, 9999)
    return pl.when(told).then(written).otherwise(column.dt.epoch("ms").cast(pl.String))


def _open_csv(
    path: Path, columns: Mapping[str, str], optional: frozenset[str], delimiter: str, unpacked: Path
) -> pl.LazyFrame:
    newlines = _check_text(path, unpacked)
    source = unpacked if path.suffix == ".gz" else path
    header = _read_header(source, path, columns, delimiter)
    _check_columns(path, header, columns, optional)
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
        raise DataError(problem or f"{path}: {_first_line(error)}") from None
    if (broken or newlines > rows + 1) and (problem := _malformed(source, path, delimiter, len(header), rows)):
        raise DataError(problem)
    if not records:
        raise DataError(f"{path} has a header and no rows")
    if broken:
        # a quoted field may hold line breaks: the line of a record is its number plus the breaks before it
        frame = frame.with_columns(line=pl.col("line") + breaks.cum_sum().shift(1, fill_value=0))
    wanted = [pl.col(places[header.index(name)]).alias(ours) for ours, name in columns.items() if name in header]
    return _complete(frame.filter(filled).select("line", *wanted), path, columns)


def _complete(frame: pl.LazyFrame, path: Path, columns: Mapping[str, str]) -> pl.LazyFrame:
    names = frame.collect_schema().names()
    absent = [pl.lit(None, pl.String).alias(ours) for ours in columns if ours not in names]
    return frame.with_columns(pl.col("line").cast(pl.Int64), pl.lit(str(path)).alias("file"), *absent).select(
        "file", "line", *columns
    )


def _check_text(path: Path, unpacked: Path) -> int:
    """Reads a file once: UTF-8 throughout, and the archive whole. Unpacks .gz. Returns its number of line breaks."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    newlines, empty = 0, True
    last = b"\n"
    try:
        with _open_binary(path) as file, _writer(path, unpacked) as out:
            # how much a .gz file unpacks to is not known before
            total = None if path.suffix == ".gz" else -(-path.stat().st_size // _CHUNK)
            for chunk in track(iter(lambda: file.read(_CHUNK), b""), f"checking {path.name}", "MiB", total):
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


def _check_columns(path: Path, header: Sequence[str], columns: Mapping[str, str], optional: frozenset[str]) -> None:
    missing = [theirs for ours, theirs in columns.items() if ours not in optional and theirs not in header]
    if missing:
        raise DataError(
            f"{path} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; it has: "
            f"{', '.join(header)}; column names are set in the configuration under data"
        )


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


def code_digest(modules: Mapping[str, Iterable[str]]) -> str:
    """sha256 over the source of modules, named by their package."""
    digest = hashlib.sha256()
    for package, names in modules.items():
        for name in names:
            digest.update(importlib.resources.files(package).joinpath(f"{name}.py").read_bytes())
    return digest.hexdigest()


def fingerprint(files: Sequence[Path]) -> str:
    """sha256 over the contents of files, in order."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(str(path.stat().st_size).encode() + b"\n")
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    return digest.hexdigest()


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]
