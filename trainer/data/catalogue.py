"""The products table: checked rows, metadata, prices, attributes."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trainer.config.data import Data
from trainer.data.files import find_files, open_table
from trainer.data.rejects import (
    REJECT_COLUMNS,
    Reject,
    Summary,
    id_checks,
    problem,
    reject_rows,
    stop_above,
    unreadable,
)
from trainer.errors import DataError
from twotower.events import (
    AROUND_ID,
)
from twotower.text.normalise import NUMERALS

_MOST_ATTRIBUTES = 32


# a price: a comma is between thousands, or before the decimals where it is the last sign and no thousands can follow it
# ("12,50", "0,750", "1.299,00")
_COMMA_GROUPS = re.compile(r"[-+]?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?")


_COMMA_DECIMALS = re.compile(r"[-+]?(?:[0-9]+,[0-9]{1,2}|0,[0-9]+|[1-9][0-9]{0,2}(?:\.[0-9]{3})+,[0-9]+)")


@dataclass(frozen=True)
class Products:
    """The catalogue, in the order of the files; row i is product i everywhere."""

    ids: list[str]
    titles: list[str]
    descriptions: list[str]
    brands: list[str]
    categories: list[str]
    prices: list[float | None]
    currencies: list[str]
    in_stock: list[bool]
    attributes: list[tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.ids)


def load_products(products: Sequence[str], config: Data, work: Path) -> tuple[Products, Summary]:
    """Reads and checks the products alone, and tells what was read. Writes `work`/rejects.csv; raises DataError as
    `load_dataset` does."""
    work.mkdir(parents=True, exist_ok=True)
    rejects = work / "rejects.csv"
    with rejects.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(REJECT_COLUMNS)
        try:
            catalogue, rows, counts = read_products(find_files(products, "products"), config, work, writer)
        finally:
            shutil.rmtree(work / "unpacked", ignore_errors=True)
    stop_above(config.max_reject_share, "products", rows, counts, rejects)
    return catalogue, Summary(product_rows=rows, rejected_products=dict(counts))


def attribute_codes(attributes: Sequence[Sequence[str]]) -> NDArray[np.int64]:
    """Codes [N, A] of each product's attributes, in no order that means anything, 0 = none.

    An attribute of a single product tells nothing that the product does not; of one product at most 32 count.
    """
    counts = Counter(name for names in attributes for name in set(names))
    codes = {name: code for code, name in enumerate((name for name in counts if counts[name] > 1), start=1)}
    kept = [[codes[name] for name in names if name in codes][:_MOST_ATTRIBUTES] for names in attributes]
    found = np.zeros((len(kept), max(map(len, kept), default=0)), np.int64)
    for row, one in enumerate(kept):
        found[row, : len(one)] = one
    return found


def read_products(files: Sequence[Path], config: Data, work: Path, writer: Any) -> tuple[Products, int, Counter[str]]:
    names = config.product_columns.model_dump()
    table = open_table(files, names, frozenset({"description", "metadata"}), config.delimiter, work / "unpacked")
    ident = pl.col("id").str.strip_chars(AROUND_ID)
    checks = [*id_checks("id", ident)]
    rows = 0
    paths = config.metadata_paths.model_dump() | {f"attribute {path}": path for path in config.attribute_paths}
    counts: Counter[str] = Counter()
    columns: dict[str, list[Any]] = {name: [] for name in Products.__dataclass_fields__}
    seen: set[str] = set()
    try:
        frame = table.frame.with_columns(problem(checks, names), id=ident).collect(engine="streaming")
    except pl.exceptions.PolarsError as error:
        raise unreadable(files, error) from None
    for record in frame.iter_rows(named=True):
        rows += 1
        if record["reason"] is None and record["id"] in seen:
            record |= {"reason": "duplicate product id", "column": names["id"], "value": record["id"]}
        if record["reason"] is not None:
            reject_rows(writer, counts, Reject(*(record[name] for name in REJECT_COLUMNS)))
            continue
        seen.add(record["id"])
        fields, bad = _metadata(record["metadata"], paths)
        if bad:
            value = record["metadata"][:200]
            reject_rows(
                writer,
                counts,
                Reject(record["file"], record["line"], names["metadata"], value, f"{bad} (product kept)"),
            )
        _append(columns, record, fields)
    if not columns["ids"]:
        raise DataError(f"{files[0]}: no product is left after the checks; see {work / 'rejects.csv'}")
    return Products(**columns), rows, counts


def _append(columns: dict[str, list[Any]], record: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
    columns["ids"].append(record["id"])
    columns["titles"].append(record["title"] or "")
    columns["descriptions"].append(record["description"] or "")
    columns["brands"].append(_as_name(fields.get("brand")))
    columns["categories"].append(_as_name(fields.get("category")))
    columns["prices"].append(_as_number(fields.get("price")))
    columns["currencies"].append(_as_name(fields.get("currency")))
    columns["in_stock"].append(_as_flag(fields.get("in_stock")))
    columns["attributes"].append(
        tuple(
            f"{name.removeprefix('attribute ')}={value}"
            for name in fields
            if name.startswith("attribute ")
            for value in _as_names(fields[name])
        )
    )


def _metadata(text: str | None, paths: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """The fields at their paths, and what is wrong with the object ("" where nothing is)."""
    if text is None or not text.strip():
        return {}, ""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return {}, "metadata is not JSON"
    if content is None:
        return {}, ""
    if not isinstance(content, dict):
        return {}, "metadata is not a JSON object"
    found = {}
    for name, path in paths.items():
        value: Any = content
        for key in path.removeprefix("$").strip(".").split("."):
            value = value.get(key) if isinstance(value, dict) else None
        found[name] = value
    return found, ""


def _as_name(value: Any) -> str:
    if isinstance(value, list):
        value = value[0] if value else None
    # a NaN, which JSON does not have, is how pandas writes that there is nothing
    if value is None or isinstance(value, (bool, dict)) or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    # lone surrogates come from broken \u escapes and cannot be stored as UTF-8
    return str(value).encode("utf-8", "ignore").decode().strip()


def _as_names(value: Any) -> list[str]:
    """The names in a value that is one or a list of them, each once."""
    names = [_as_name(one) for one in (value if isinstance(value, list) else [value])]
    return list(dict.fromkeys(name for name in names if name))


def _as_number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    text = str(value).translate(NUMERALS).strip()
    if _COMMA_GROUPS.fullmatch(text):
        text = text.replace(",", "")
    elif _COMMA_DECIMALS.fullmatch(text):
        text = text.replace(".", "").replace(",", ".")
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _as_flag(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lower() not in {"false", "0", "no", "لا"}
    return True if value is None else bool(value)
