"""The products table: checked rows, with their metadata, prices and attributes."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from pathlib import Path
from sys import intern
from typing import Any, NamedTuple, TypeVar

import numpy as np

from trainer.config.data import DEFAULT_ATTRIBUTES, Data, listed, may_lack
from trainer.data import fields
from trainer.data.availability import as_flag
from trainer.data.filters import left_out
from trainer.data.missing import is_missing
from trainer.data.objects import read_object
from trainer.data.prices import as_price
from trainer.data.product_rows import Row, read_rows
from trainer.data.rejects import REJECT_COLUMNS, FieldCount, Reject, RowChecks
from trainer.data.tables.columns import plain_name
from trainer.errors import DataError
from twotower.arrays import Int64

# More attributes of one product are not read.
_MAX_ATTRIBUTES = 32
_ATTRIBUTE = "attribute "
# what two equal rows have in common, apart from where they stand
_SAID = ("title", "description", "metadata", "brand", "category", "price", "currency", "in_stock")
_SEARCHED = "search field "
Value = TypeVar("Value")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Products:
    """The catalogue, in the order of the files; row i is product i everywhere.

    `skus`: further ids, such as SKU or barcode, and `images`: URLs of pictures; empty if these were not read.
    `searched`: the words of the fields that a search reads beside title, brand, category and attributes.
    """

    ids: list[str]
    titles: list[str]
    descriptions: list[str]
    brands: list[str]
    categories: list[str]
    prices: list[float | None]
    currencies: list[str]
    in_stock: list[bool]
    attributes: list[tuple[str, ...]]
    searched: list[str]
    skus: list[tuple[str, ...]] = field(default_factory=list)
    images: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Int64) -> Products:
        """The products of these rows, in their order."""
        columns = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Products(**{name: [column[row] for row in rows] if column else [] for name, column in columns.items()})

    def without_descriptions(self) -> Products:
        """The catalogue as it is read by titles alone: a description stays only where there is no title."""
        texts = zip(self.titles, self.descriptions, strict=True)
        return replace(self, descriptions=["" if title.strip() else text for title, text in texts])


class _Reading(NamedTuple):
    """How values are read: what parts names in a text, and the fields whose column comes before the metadata."""

    separator: str
    columns_first: frozenset[str]

    @classmethod
    def of(cls, config: Data) -> _Reading:
        columns, paths = config.product_columns.model_dump(), config.metadata_paths.model_dump()
        return cls(config.separator, frozenset(name for name in paths if columns[name] and not paths[name]))


def attribute_codes(attributes: Sequence[Sequence[str]]) -> Int64:
    """Codes [N, A] of each product's attributes, in no meaningful order, 0 = none; at most 32 per product.

    An attribute that only one product has gets no code: the product's own vector can learn as much.
    """
    counts = Counter(name for names in attributes for name in set(names))
    codes = {name: code for code, name in enumerate((name for name in counts if counts[name] > 1), start=1)}
    kept = [[codes[name] for name in names if name in codes][:_MAX_ATTRIBUTES] for names in attributes]
    padded = np.zeros((len(kept), max(map(len, kept), default=0)), np.int64)
    for row, one in enumerate(kept):
        padded[row, : len(one)] = one
    return padded


def read_products(files: Sequence[Path], config: Data, checks: RowChecks) -> Products:
    """The accepted products, in the order of the files; `checks.fields` counts what their fields hold.

    Raises DataError if none is left, or if no product has a value at a path that the settings name.
    """
    attributes = {f"{_ATTRIBUTE}{paths[0]}": paths for paths in map(listed, config.attribute_paths)}
    searched = {f"{_SEARCHED}{path}": [path] for path in config.search_fields}
    written = config.metadata_paths.paths() | attributes | searched
    paths = {name: [fields.steps(path) for path in theirs] for name, theirs in written.items()}
    named = list(paths) if "$" in config.product_columns.names()["metadata"] else []
    loose_paths = {name: [[(at, plain_name(key)) for at, key in path] for path in paths[name]] for name in named}
    columns: dict[str, list[Any]] = {name: [] for name in Products.__dataclass_fields__}
    reading = _Reading.of(config)
    for record in _accepted(read_rows(files, config, checks), config, checks):
        content = _content(record, config, checks)
        checks.note_keys(content)
        found = {name: fields.find_first(content, path) for name, path in paths.items()}
        if lost := [name for name in named if found[name] is None]:
            # of a whole row, whose columns are named as loosely as others
            loose = {plain_name(key): value for key, value in content.items()}
            found |= {name: fields.find_first(loose, loose_paths[name]) for name in lost}
        checks.note_paths(name for name, value in found.items() if value is not None)
        _append(columns, record, found, checks, reading)
    if not columns["ids"]:
        raise DataError(f"{files[0]}: no product is left after the checks{checks.reasons()}")
    _check_paths(files[0], config, checks)
    return Products(**columns)


def _accepted(rows: Iterable[Row], config: Data, checks: RowChecks) -> Iterator[Row]:
    """The rows without a problem whose product id no earlier row has; all are counted."""
    column = " or ".join(config.product_columns.names()["id"])
    seen: dict[str, int] = {}
    says = itemgetter(*_SAID)
    for record in rows:
        checks.rows += 1
        if (dropped := left_out(record, config.product_filter)) is not None:
            checks.dropped[f"{dropped}, left out by data.product_filter"] += 1
            continue
        if not record["id"] and config.repeated_products == "first":
            # of an event log that names no product
            checks.dropped["row without product id"] += 1
            continue
        # what a row says, apart from where it stands
        content = hash(says(record))
        if record["reason"] is None and record["id"] in seen:
            if seen[record["id"]] == content:
                checks.dropped["exact duplicate"] += 1
                continue
            if config.repeated_products == "first":
                checks.dropped["repeated product id, the first row counts"] += 1
                continue
            record |= {"reason": "duplicate product id", "column": column, "value": record["id"]}
        if record["reason"] is not None:
            checks.reject(Reject(*(record[name] for name in REJECT_COLUMNS)))
            continue
        seen[record["id"]] = content
        yield record


def _content(record: Row, config: Data, checks: RowChecks) -> dict[str, Any]:
    """The product's metadata; {} and a reject if it cannot be read."""
    try:
        return read_object(record["metadata"] or "")
    except ValueError as wrong:
        value, reason = record["metadata"][:200], f"{wrong} (product kept)"
        column = " or ".join(config.product_columns.names()["metadata"])
        checks.reject(Reject(record["file"], record["line"], column, value, reason))
        return {}


def _check_paths(file: Path, config: Data, checks: RowChecks) -> None:
    optional = may_lack(config.metadata_paths)
    missing = [
        f"data.metadata_paths.{name}={path}"
        for name, path in config.metadata_paths.model_dump().items()
        if name not in optional and name not in checks.paths
    ]
    missing += [
        f"{path} of data.attribute_paths"
        for path in config.attribute_paths
        if isinstance(path, str) and path != DEFAULT_ATTRIBUTES and f"{_ATTRIBUTE}{path}" not in checks.paths
    ]
    missing += [
        f"{path} of data.search_fields" for path in config.search_fields if f"{_SEARCHED}{path}" not in checks.paths
    ]
    if missing:
        raise DataError(f"{file}: no product has a value at {', '.join(missing)}")


def _append(
    columns: dict[str, list[Any]],
    record: Mapping[str, Any],
    found: Mapping[str, Any],
    checks: RowChecks,
    reading: _Reading,
) -> None:
    def read(name: str, reader: Callable[[Any], Value | None]) -> Value | None:
        # the metadata says more than a column of the same name, unless the settings name the column alone
        value = found[name]
        if value is None or (name in reading.columns_first and not is_missing(record[name])):
            value = record[name]
        return checks.fields[name].read(value, reader)

    columns["ids"].append(record["id"])
    for ours, name in (("titles", "title"), ("descriptions", "description")):
        columns[ours].append(checks.fields[name].read(record[name], fields.as_text) or "")
    for ours, name in (("brands", "brand"), ("categories", "category")):
        # one text for all products of a brand
        columns[ours].append(intern(read(name, lambda value: fields.as_name(value, reading.separator)) or ""))
    price, currency = read("price", as_price), read("currency", fields.as_name)
    columns["prices"].append(price.amount if price else None)
    # the currency beside a price is the product's, too
    checks.fields["currency"].found += bool(price and price.currency and not currency)
    columns["currencies"].append(intern(currency or (price.currency if price else "")))
    is_in_stock = read("in_stock", as_flag)
    columns["in_stock"].append(is_in_stock is None or is_in_stock)
    columns["skus"].append(tuple(" ".join(one.split()) for one in read("sku", fields.as_names) or ()))
    columns["images"].append(read("image", fields.as_url) or "")
    columns["attributes"].append(_attributes(found, checks, reading.separator))
    columns["searched"].append(_searched(found, checks, reading.separator))


def _attributes(found: Mapping[str, Any], checks: RowChecks, separator: str) -> tuple[str, ...]:
    """All values of all attributes; a product counts once, whatever their number."""
    one, read = FieldCount(), []
    for name, value in found.items():
        if name.startswith(_ATTRIBUTE):
            pairs = one.read(value, lambda given: fields.as_attributes(given, separator)) or []
            path = name.removeprefix(_ATTRIBUTE)
            read += [f"{path}.{own}={inner}" if own else f"{path}={inner}" for own, inner in pairs]
    checks.fields["attributes"].add(one)
    return tuple(read)


def _searched(found: Mapping[str, Any], checks: RowChecks, separator: str) -> str:
    """The values of all search fields; a product counts once, whatever their number."""
    values = [value for name, value in found.items() if name.startswith(_SEARCHED)]
    if not values:
        return ""
    one, read = FieldCount(), []
    for value in values:
        read += one.read(value, lambda given: fields.as_names(given, separator)) or []
    checks.fields["search fields"].add(one)
    return " ".join(read)
