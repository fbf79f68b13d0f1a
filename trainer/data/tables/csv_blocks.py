"""Reads a CSV file once, as checked blocks of whole records: archive, encoding and line ends."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import zstandard

from trainer.data.fingerprint import CHUNK
from trainer.data.tables.zstd_file import ZstdFile
from trainer.errors import DataError
from trainer.progress import track

BLOCK_BYTES = 8 << 20
_UNPACK: dict[str, Callable[..., object]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open, ".zst": ZstdFile}


# A longer record is one whose quote is never closed: reading on would hold the rest of the file in memory.
_MAX_RECORD_BYTES = 64 << 20


# The first bytes of files that are not text.
_SIGNATURES = {
    b"\x1f\x8b": "a .gz file: give it a name that ends in .gz",
    b"PK\x03\x04": "a zip or Excel file inside an archive: unpack it",
    b"BZh": "a .bz2 file: give it a name that ends in .bz2",
    b"\xfd7zXZ\x00": "an .xz file: give it a name that ends in .xz",
    b"\x28\xb5\x2f\xfd": "a .zst file: give it a name that ends in .zst",
    b"\xd0\xcf\x11\xe0": "an old Excel file (.xls), or one with a password: save it as .xlsx or CSV",
    b"PAR1": "a Parquet file: give it a name that ends in .parquet",
    b"7z\xbc\xaf\x27\x1c": "a .7z archive: unpack it",
    b"Rar!": "a .rar archive: unpack it",
    b"%PDF": "a PDF file: export the table as CSV",
    b"SQLite format 3": "an SQLite database: export the table as CSV",
    codecs.BOM_UTF16_LE: "UTF-16: save it as UTF-8",
    codecs.BOM_UTF16_BE: "UTF-16: save it as UTF-8",
}


class Block(NamedTuple):
    """Whole records of a file as UTF-8 text; `line` is the number of its first line."""

    line: int
    text: bytes


def read_blocks(path: Path, block_bytes: int = BLOCK_BYTES, chunks: Iterable[bytes] | None = None) -> Iterator[Block]:
    """Yields the records of a CSV file in blocks of about `block_bytes`, without a byte order mark.

    `chunks` are the file's bytes, unpacked; by default, they are read here.

    The file may be packed: .gz, .bz2, .xz, .zst.

    Raises DataError if the file is empty, is not UTF-8 text, or is a damaged archive.
    """
    line = 1
    for raw in whole_records(chunks or read_chunks(path, min(CHUNK, block_bytes)), block_bytes):
        yield checked_block(path, line, raw)
        line += raw.count(b"\n")


def checked_block(path: Path, line: int, raw: bytes) -> Block:
    """Records that begin at a line of a file, without a byte order mark. Raises DataError if they are not UTF-8."""
    text = raw.removeprefix(codecs.BOM_UTF8) if line == 1 else raw
    _check_encoding(path, line, text)
    return Block(line, text)


def starts_as_json(text: bytes) -> bool:
    """Whether the first bytes of a file are those of an object or of a list of these."""
    start = text.removeprefix(codecs.BOM_UTF8).lstrip()
    return re.match(rb"\{|\[\s*[\[{\]]", start) is not None


def starts_as_html(text: bytes) -> bool:
    """Whether the first bytes of a file are those of a page, as of a login or an error that was saved in its place."""
    return (
        re.match(rb"<(?:!DOCTYPE\s+html|html)\b", text.removeprefix(codecs.BOM_UTF8).lstrip(), re.IGNORECASE)
        is not None
    )


def starts_as_xml(text: bytes) -> bool:
    """Whether the first bytes of a file are those of an XML document."""
    return (
        re.match(rb"<(?:\?xml\b|!--|!DOCTYPE\b|[A-Za-z_])", text.removeprefix(codecs.BOM_UTF8).lstrip(), re.IGNORECASE)
        is not None
    )


def starts_as_table(text: bytes) -> bool:
    """Whether the first bytes of a file may be those of a CSV file: neither JSON nor XML nor a page."""
    return not (starts_as_json(text) or starts_as_html(text) or starts_as_xml(text))


def is_packed(path: Path) -> bool:
    """Whether a file has the name of an archive that is unpacked on the way."""
    return path.suffix.lower() in _UNPACK


def is_zip(path: Path) -> bool:
    """Whether a file is a zip archive, as Excel's .xlsx files are, whatever it is called."""
    if not path.is_file():
        # of a pipe, what is read is gone
        return False
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def read_chunks(path: Path, chunk_bytes: int = CHUNK) -> Iterator[bytes]:
    """Yields the unpacked bytes of a file. Raises DataError if it is empty, no text or a damaged archive."""
    # The unpacked size of an archive is not known before the end.
    total = None if is_packed(path) else -(-path.stat().st_size // chunk_bytes)
    is_empty = True
    try:
        with _open_binary(path) as file:
            chunks = iter(lambda: file.read(chunk_bytes), b"")
            for chunk in track(chunks, f"reading {path.name}", "MiB", total):
                if is_empty:
                    _check_signature(path, chunk)
                is_empty = False
                yield chunk
    except EOFError:
        raise DataError(f"{path} is a truncated {path.suffix} file: its end is missing; copy it again") from None
    except (gzip.BadGzipFile, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        raise DataError(f"{path} is not a sound {path.suffix} file: {error}") from None
    except OSError as error:
        # bz2 raises one for a damaged archive
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None
    if is_empty:
        raise DataError(f"{path} is empty")


def _open_binary(path: Path) -> BinaryIO:
    unpack = _UNPACK.get(path.suffix.lower())
    return unpack(path, "rb") if unpack else path.open("rb")  # type: ignore[return-value]


def whole_records(chunks: Iterable[bytes], block_bytes: int) -> Iterator[bytes]:
    """Joins chunks into blocks that end with a record; the last block is what remains."""
    held, in_quotes = bytearray(), False
    for chunk in chunks:
        held += chunk
        in_quotes ^= chunk.count(b'"') % 2 == 1
        if len(held) < block_bytes:
            continue
        end = _last_record_end(held, in_quotes)
        if not end and len(held) >= _MAX_RECORD_BYTES:
            end = held.rfind(b"\n") + 1 or len(held)
        if end:
            yield bytes(held[:end])
            del held[:end]
            in_quotes = held.count(b'"') % 2 == 1
    if held:
        yield bytes(held)


def _last_record_end(held: bytearray, in_quotes: bool) -> int:
    """The place after the last line end that no quotes enclose, or 0; `in_quotes` is the state at the end."""
    stop = len(held)
    while (place := held.rfind(b"\n", 0, stop)) >= 0:
        in_quotes ^= held.count(b'"', place, stop) % 2 == 1
        if not in_quotes:
            return place + 1
        stop = place
    return 0


def _check_signature(path: Path, start: bytes) -> None:
    for signature, what in _SIGNATURES.items():
        if start.startswith(signature):
            raise DataError(f"{path} is {what}")
    line = start[:4096].removeprefix(codecs.BOM_UTF8).split(b"\n", 1)[0]
    if b"\0" in line:
        raise DataError(f"{path} holds NUL characters, as UTF-16 does; save it as UTF-8")
    if b"\r" in line[:-1]:
        raise DataError(f"{path} ends its lines with CR alone; convert it: tr '\\r' '\\n'")


def _check_encoding(path: Path, line: int, text: bytes) -> None:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        bad_line = line + text.count(b"\n", 0, error.start)
        raise DataError(_wrong_encoding(path, bad_line, error)) from None


def _wrong_encoding(path: Path, line: int, error: UnicodeDecodeError) -> str:
    message = f"{path} is not UTF-8 (line {line}, byte 0x{error.object[error.start]:02x})"
    sample = error.object[max(0, error.start - 20) : error.start + 40]
    try:
        shown = sample.decode("windows-1256")
    except UnicodeDecodeError:
        return f"{message}; save it as UTF-8"
    # a name alone: the rest of the line may be a person's
    word = re.search("[\u0621-\u064a]+(?: [\u0621-\u064a]+)*", shown)
    if word is None:
        return f"{message}; save it as UTF-8"
    return (
        f"{message}; it reads as Windows-1256, common for Arabic exports: {word[0]!r}; "
        f"convert it: iconv -f WINDOWS-1256 -t UTF-8 {path.name}"
    )
