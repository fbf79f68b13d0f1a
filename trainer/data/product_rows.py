"""The rows of the products files: variants have what their product has, and properties are gathered by product."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from trainer.config.data import Data, ProductColumns, listed
from trainer.data import fields
from trainer.data.filters import FILTER, filter_columns, optional_filters
from trainer.data.missing import is_missing
from trainer.data.objects import read_object
from trainer.data.rejects import RowChecks, first_problem, id_checks
from trainer.data.tables.files import read_tables
from trainer.data.times import time_ms
from twotower.events import AROUND_ID

# a row by our names of the columns, with `file`, `line`, and the `reason`, `column` and `value` of its first problem
Row = dict[str, Any]
# what a variant has from its product, if its own row lacks it
# sku=A,size=S|sku=B,size=M
_VARIANT = re.compile(r"(?:^|\|)\s*sku=([^,|]+)")
_INHERITED = ("title", "description", "brand", "category", "price", "currency", "in_stock")


def read_rows(files: Sequence[Path], config: Data, checks: RowChecks) -> Iterator[Row]:
    """Every row, in the order of the files."""
    columns = config.product_columns
    rows = _gather(files, config, checks) if columns.property else _read(files, config)
    if columns.group:
        rows = _without_images(list(rows), checks)
    return _with_parents(list(rows), config) if columns.group or columns.parent or columns.variants else rows


def _read(files: Sequence[Path], config: Data) -> Iterator[Row]:
    names = config.product_columns.names() | filter_columns(config.product_filter)
    stripped = pl.col("id").str.strip_chars(AROUND_ID)
    problem = first_problem(id_checks("id", stripped), names)
    optional = config.product_columns.optional() | optional_filters(config.product_filter)
    for batch in read_tables(files, names, optional, config.delimiter):
        yield from batch.with_columns(problem, id=stripped).iter_rows(named=True)


def _without_images(rows: Sequence[Row], checks: RowChecks) -> Iterator[Row]:
    """The rows less those without a product, which hold a further picture of their group."""
    groups = {row["group"] for row in rows if row["id"] and row["group"]}
    for row in rows:
        if not row["id"] and row["group"] in groups and all(is_missing(row[name]) for name in _INHERITED):
            checks.rows += 1
            checks.dropped["row without product id, of a product's group"] += 1
        else:
            yield row


def _with_parents(rows: Sequence[Row], config: Data) -> Iterator[Row]:
    """The rows of variants with what their products have."""
    columns = config.product_columns
    parent_of: dict[str, Row] = {}
    for row in rows:
        for name in _names_for_variants(row, columns):
            parent_of.setdefault(name, row)
    for row in rows:
        parent = parent_of.get(_parent_name(row, columns))
        yield row if parent is None or parent is row else _inherit(row, parent)


def _names_for_variants(row: Row, columns: ProductColumns) -> Iterator[str]:
    """The names by which variants find a row as that of their product."""
    if columns.group:
        yield f"group {row['group']}"
    elif columns.variants:
        yield from (f"variant {sku.strip()}" for sku in _VARIANT.findall(row["variants"] or ""))
    else:
        # WooCommerce writes id:7 for a product without SKU
        yield from (f"parent {row['id']}", f"parent id:{row['id']}")
        yield f"parent {(row.get('sku') or '').strip(AROUND_ID)}"


def _parent_name(row: Row, columns: ProductColumns) -> str:
    if columns.group:
        return f"group {row['group']}" if row["group"] else ""
    if columns.variants:
        return f"variant {row['id']}"
    parent = (row["parent"] or "").strip(AROUND_ID)
    return f"parent {parent}" if parent else ""


def _inherit(row: Row, parent: Row) -> Row:
    names = [*_INHERITED, *(name for name in row if name.startswith(FILTER))]
    missing = {name: parent[name] for name in names if is_missing(row[name])}
    return row | missing | {"metadata": _merge(row["metadata"], parent["metadata"])}


def _merge(own: str | None, parents: str | None) -> str | None:
    """The metadata of a variant, with the values of its product where it has none."""
    if not own or not parents:
        return own or parents
    try:
        content, inherited = read_object(own), read_object(parents)
    except ValueError:
        # the row's own check names it
        return own
    return json.dumps(inherited | {key: value for key, value in content.items() if not is_missing(value)})


def _gather(files: Sequence[Path], config: Data, checks: RowChecks) -> Iterator[Row]:
    """One row for each product of files with one property a row; of a property's values, the newest counts."""
    named = config.product_columns.names()
    names: dict[str, tuple[str, ...]] = {
        ours: named[ours] for ours in ("id", "property", "property_value", "property_time") if ours in named
    }
    wanted = {path[0] for paths in config.metadata_paths.paths().values() for path in map(_keys, paths) if path}
    attributes = (path for paths in config.attribute_paths for path in listed(paths))
    wanted |= {path[0] for path in map(_keys, attributes) if path}
    stripped = pl.col("id").str.strip_chars(AROUND_ID)
    problem = first_problem(id_checks("id", stripped), names)
    products: dict[str, Row] = {}
    properties: dict[str, dict[str, tuple[int, str | None]]] = {}
    when = time_ms(pl.col("property_time")).fill_null(0) if "property_time" in names else pl.lit(0)
    for batch in read_tables(files, names, frozenset(), config.delimiter):
        checked = batch.with_columns(problem, id=stripped)
        yield from _without_properties(checked.filter(pl.col("reason").is_not_null()).iter_rows(named=True))
        good = checked.filter(pl.col("reason").is_null())
        for row in good.unique("id", keep="first", maintain_order=True).iter_rows(named=True):
            products.setdefault(row["id"], row)
        of_interest = good.filter(pl.col("property").is_in(wanted))
        for ident, key, value, ms in of_interest.select(
            "id", "property", "property_value", when.alias("ms")
        ).iter_rows():
            known = properties.setdefault(ident, {})
            if key not in known or known[key][0] <= ms:
                known[key] = (ms, value)
        checks.rows += len(good)
    # each product is counted once more, as a row
    checks.rows -= len(products)
    for row in _without_properties(products.values()):
        content = {key: value for key, (_, value) in properties.get(row["id"], {}).items()}
        yield row | {"metadata": json.dumps(content, ensure_ascii=False)}


def _without_properties(rows: Iterable[Row]) -> Iterator[Row]:
    empty = dict.fromkeys([*_INHERITED, "metadata", "sku", "image"])
    for row in rows:
        yield empty | {name: value for name, value in row.items() if not name.startswith("property")}


def _keys(path: str) -> list[str]:
    return [key for _, key in fields.steps(path) if key]
