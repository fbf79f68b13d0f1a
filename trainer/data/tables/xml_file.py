"""Reads product feeds in XML, RSS or Atom, as text columns: Google Merchant's form and its like."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError

import polars as pl
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import iterparse

from trainer.data.tables.columns import ColumnNames
from trainer.data.tables.json_file import rows_of_records
from trainer.errors import DataError
from twotower.events import AROUND_ID

# the elements that are one product each, of RSS, Atom and feeds without a standard
_RECORDS = frozenset({"item", "entry", "product", "offer"})
# the namespace of Google's attributes, whose names come before those of RSS and Atom
_GOOGLE = "{http://base.google.com/"


class _Stream:
    """The bytes of a file, for a reader that asks for some at a time."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def read(self, _size: int = -1) -> bytes:
        return next(self._chunks, b"")


def read_xml(
    path: Path, chunks: Iterator[bytes], columns: ColumnNames, optional: frozenset[str]
) -> Iterator[pl.DataFrame]:
    """Yields the rows of a feed, batch by batch; `line` is the place of the product in it, 1 the first.

    `chunks` are the file's bytes; `columns` maps our names to those of elements, without a namespace. One product at a
    time is in memory. Raises DataError if it is no well-formed XML, has a DTD, or holds no product.
    """
    return rows_of_records(path, _records(path, chunks), columns, optional)


def _records(path: Path, chunks: Iterator[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    place, above, root = 0, list[Element](), ""
    try:
        for event, element in iterparse(_Stream(chunks), events=("start", "end"), forbid_dtd=True):
            root = root or _local(element)
            if event == "start":
                above.append(element)
                continue
            above.pop()
            if _local(element) not in _RECORDS or any(_local(one) in _RECORDS for one in above):
                continue
            place += 1
            yield place, _record(element)
            if above:
                above[-1].remove(element)
    except ParseError as error:
        raise DataError(f"{path} is not well-formed XML: {error}") from None
    except DefusedXmlException:
        raise DataError(f"{path} holds a document type or entities of its own, which are not read") from None
    if not place:
        raise DataError(f"{path} is XML (<{root}>) without an {', '.join(sorted(_RECORDS))}; wanted a product feed")


def _record(element: Element) -> dict[str, Any]:
    """The product's values by the names of their elements; a name that stands there several times has a list."""
    found: dict[str, Any] = dict(element.attrib)
    google = [one for one in element if one.tag.startswith(_GOOGLE)]
    known = {_local(one) for one in google if _value(one) is not None}
    others = [one for one in element if not one.tag.startswith(_GOOGLE) and _local(one) not in known]
    several: dict[str, list[Any]] = {}
    for one in [*google, *others]:
        if (value := _value(one)) is not None:
            several.setdefault(_local(one), []).append(value)
    return found | {name: values[0] if len(values) == 1 else values for name, values in several.items()}


def _value(element: Element) -> Any:
    """The element's text, or an object of what is in it; None if it is empty."""
    if len(element):
        return _record(element) or None
    return (element.text or "").strip(AROUND_ID) or None


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]
