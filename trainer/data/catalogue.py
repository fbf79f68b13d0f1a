"""The products table: checked rows, with their metadata, prices and attributes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import polars as pl

from trainer.config.data import DEFAULT_ATTRIBUTES, Data
from trainer.data import fields
from trainer.data.rejects import REJECT_COLUMNS, Reject, RowChecks, Summary, first_problem, id_checks, open_rejects
from trainer.data.tables.files import find_files, read_tables
from trainer.errors import DataError
from twotower.arrays import Int64
from twotower.events import AROUND_ID

# More attributes of one product are not read.
_MAX_ATTRIBUTES = 32
_ATTRIBUTE = "attribute "
_SEARCHED = "search field "
Value = TypeVar("Value")


@dataclass(frozen=True)
class Products:
    """The catalogue, in the order of the files; row i is product i everywhere.

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

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Int64) -> Products:
        """The products of these rows, in their order."""
        columns = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Products(**{name: [column[row] for row in rows] for name, column in columns.items()})

    def without_descriptions(self) -> Products:
        """The catalogue as it is read by titles alone: a description stays only where there is no title."""
        texts = zip(self.titles, self.descriptions, strict=True)
        return replace(self, descriptions=["" if title.strip() else text for title, text in texts])


def load_products(products: Sequence[str], config: Data, work: Path) -> tuple[Products, Summary]:
    """Reads and checks the products alone. Writes `work`/rejects.csv; raises DataError as `load_dataset` does."""
    files = find_files(products, "products")
    work.mkdir(parents=True, exist_ok=True)
    with open_rejects(work / "rejects.csv") as rejects:
        checks = RowChecks("products", rejects)
        catalogue = read_products(files, config, checks)
    checks.check_share(config.max_reject_share)
    checks.log_fields(len(catalogue))
    return catalogue, Summary(
        product_rows=checks.rows, rejected_products=dict(checks.rejected), fields=checks.field_facts()
    )


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
    names = config.product_columns.names()
    attributes = {f"{_ATTRIBUTE}{path}": path for path in config.attribute_paths}
    searched = {f"{_SEARCHED}{path}": path for path in config.search_fields}
    paths = config.metadata_paths.paths() | attributes | searched
    columns: dict[str, list[Any]] = {name: [] for name in Products.__dataclass_fields__}
    seen: set[str] = set()
    for record in _product_rows(files, config):
        checks.rows += 1
        if record["reason"] is None and record["id"] in seen:
            record |= {"reason": "duplicate product id", "column": names["id"], "value": record["id"]}
        if record["reason"] is not None:
            checks.reject(Reject(*(record[name] for name in REJECT_COLUMNS)))
            continue
        seen.add(record["id"])
        try:
            content = fields.read_object(record["metadata"] or "")
        except ValueError as wrong:
            value, reason, content = record["metadata"][:200], f"{wrong} (product kept)", {}
            checks.reject(Reject(record["file"], record["line"], names["metadata"], value, reason))
        found = {name: fields.find(content, path) for name, path in paths.items()}
        checks.note_paths(name for name, value in found.items() if not fields.is_missing(value))
        _append(columns, record, found, checks)
    if not columns["ids"]:
        raise DataError(f"{files[0]}: no product is left after the checks; see {checks.path}")
    _check_paths(files[0], config, checks)
    return Products(**columns)


def _product_rows(files: Sequence[Path], config: Data) -> Iterator[dict[str, Any]]:
    """Every row with the `reason`, `column` and `value` of its first problem, or null."""
    names = config.product_columns.names()
    stripped = pl.col("id").str.strip_chars(AROUND_ID)
    problem = first_problem(id_checks("id", stripped), names)
    for batch in read_tables(files, names, config.product_columns.optional(), config.delimiter):
        yield from batch.with_columns(problem, id=stripped).iter_rows(named=True)


def _check_paths(file: Path, config: Data, checks: RowChecks) -> None:
    named = {name: path for name, path in config.metadata_paths.model_dump().items() if path is not None}
    missing = [f"data.metadata_paths.{name}={path}" for name, path in named.items() if name not in checks.paths]
    missing += [
        f"{path} of data.attribute_paths"
        for path in config.attribute_paths
        if f"{_ATTRIBUTE}{path}" not in checks.paths and path != DEFAULT_ATTRIBUTES
    ]
    missing += [
        f"{path} of data.search_fields" for path in config.search_fields if f"{_SEARCHED}{path}" not in checks.paths
    ]
    if missing:
        raise DataError(f"{file}: no product has a value at {', '.join(missing)}")


def _append(
    columns: dict[str, list[Any]], record: Mapping[str, Any], found: Mapping[str, Any], checks: RowChecks
) -> None:
    def read(name: str, reader: Callable[[Any], Value | None]) -> Value | None:
        # the metadata says more than a column of the same name
        value = found[name] if not fields.is_missing(found[name]) else record[name]
        return checks.fields[name].read(value, reader)

    columns["ids"].append(record["id"])
    for ours, name in (("titles", "title"), ("descriptions", "description")):
        columns[ours].append(record[name] or "")
        checks.fields[name].read(record[name], fields.as_text)
    columns["brands"].append(read("brand", fields.as_name) or "")
    columns["categories"].append(read("category", fields.as_name) or "")
    price, currency = read("price", fields.as_price), read("currency", fields.as_name)
    columns["prices"].append(price.amount if price else None)
    columns["currencies"].append(currency or (price.currency if price else ""))
    is_in_stock = read("in_stock", fields.as_flag)
    columns["in_stock"].append(is_in_stock is None or is_in_stock)
    columns["attributes"].append(_attributes(found, checks))
    columns["searched"].append(_searched(found, checks))


def _attributes(found: Mapping[str, Any], checks: RowChecks) -> tuple[str, ...]:
    values = {name: value for name, value in found.items() if name.startswith(_ATTRIBUTE)}
    read = {name: checks.fields["attributes"].read(value, fields.as_names) or [] for name, value in values.items()}
    return tuple(f"{name.removeprefix(_ATTRIBUTE)}={value}" for name, names in read.items() for value in names)


def _searched(found: Mapping[str, Any], checks: RowChecks) -> str:
    values = [value for name, value in found.items() if name.startswith(_SEARCHED)]
    return " ".join(
        name for value in values for name in checks.fields["search fields"].read(value, fields.as_names) or []
    )
