"""The products table: checked rows, with their metadata, prices and attributes."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from trainer.config.data import Data
from trainer.data.rejects import REJECT_COLUMNS, Reject, RowChecks, Summary, first_problem, id_checks, open_rejects
from trainer.data.tables.files import find_files, read_tables
from trainer.errors import DataError
from twotower.arrays import Int64
from twotower.events import AROUND_ID
from twotower.text.normalise import NUMERALS

# More attributes of one product are not read.
_MAX_ATTRIBUTES = 32
_ATTRIBUTE = "attribute "
# A comma in a price separates thousands, or decimals if it is the last sign and no thousands can follow it
# ("12,50", "0,750", "1.299,00").
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
    return catalogue, Summary(product_rows=checks.rows, rejected_products=dict(checks.rejected))


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
    """The accepted products, in the order of the files. Raises DataError if none is left."""
    names = config.product_columns.model_dump()
    attributes = {f"{_ATTRIBUTE}{path}": path for path in config.attribute_paths}
    paths = config.metadata_paths.model_dump() | attributes
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
        fields, wrong = _read_metadata(record["metadata"], paths)
        if wrong:
            value, reason = record["metadata"][:200], f"{wrong} (product kept)"
            checks.reject(Reject(record["file"], record["line"], names["metadata"], value, reason))
        _append(columns, record, fields)
    if not columns["ids"]:
        raise DataError(f"{files[0]}: no product is left after the checks; see {checks.path}")
    return Products(**columns)


def _product_rows(files: Sequence[Path], config: Data) -> Iterator[dict[str, Any]]:
    """Every row with the `reason`, `column` and `value` of its first problem, or null."""
    names = config.product_columns.model_dump()
    stripped = pl.col("id").str.strip_chars(AROUND_ID)
    problem = first_problem(id_checks("id", stripped), names)
    for batch in read_tables(files, names, frozenset({"description", "metadata"}), config.delimiter):
        yield from batch.with_columns(problem, id=stripped).iter_rows(named=True)


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
            f"{name.removeprefix(_ATTRIBUTE)}={value}"
            for name in fields
            if name.startswith(_ATTRIBUTE)
            for value in _as_names(fields[name])
        )
    )


def _read_metadata(text: str | None, paths: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """The fields at their paths, and what is wrong with the object ("" if nothing is)."""
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
    fields = {}
    for name, path in paths.items():
        value: Any = content
        for key in path.removeprefix("$").strip(".").split("."):
            value = value.get(key) if isinstance(value, dict) else None
        fields[name] = value
    return fields, ""


def _as_name(value: Any) -> str:
    if isinstance(value, list):
        value = value[0] if value else None
    # pandas writes a missing value as NaN, which JSON does not have.
    if value is None or isinstance(value, (bool, dict)) or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    # Lone surrogates come from broken \u escapes and cannot be stored as UTF-8.
    return str(value).encode("utf-8", "ignore").decode().strip()


def _as_names(value: Any) -> list[str]:
    """The names in a value that is a name or a list of names, each once."""
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
