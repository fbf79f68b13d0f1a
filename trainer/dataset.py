"""Checked rows: files to a catalogue and to time-ordered sequences per buyer, rejected rows counted by reason."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trainer.config.data import Data
from trainer.errors import DataError
from trainer.source import find_files, open_table
from twotower.events import (
    AROUND_ID,
    BLANK,
    DATE_IN_DIGITS,
    DAY_MS,
    EPOCH_TIME,
    ISO_TIME,
    MAX_ID_BYTES,
    NO_DATE_IN_DIGITS,
)
from twotower.text.normalise import NUMERALS

_MOST_ATTRIBUTES = 32
# a price: a comma is between thousands, or before the decimals where it is the last sign and no thousands can follow it
# ("12,50", "0,750", "1.299,00")
_COMMA_GROUPS = re.compile(r"[-+]?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?")
_COMMA_DECIMALS = re.compile(r"[-+]?(?:[0-9]+,[0-9]{1,2}|0,[0-9]+|[1-9][0-9]{0,2}(?:\.[0-9]{3})+,[0-9]+)")
REJECT_COLUMNS = ("file", "line", "column", "value", "reason")


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


class Events(NamedTuple):
    """All accepted events, sorted by buyer, time and a seeded hash of the product.

    `buyer`, `product` and `kind` are codes [M]; `time` is milliseconds since 1970; `start` [buyers + 1] bounds each
    buyer's events.
    """

    buyer: NDArray[np.int32]
    product: NDArray[np.int32]
    kind: NDArray[np.int8]
    time: NDArray[np.int64]
    start: NDArray[np.int64]


@dataclass(frozen=True)
class Summary:
    """What was read: rows per table, and rejected or mended rows by reason."""

    event_rows: int = 0
    product_rows: int = 0
    rejected_events: dict[str, int] = field(default_factory=dict)
    rejected_products: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Dataset:
    """A checked data set. `buyers` are the ids of the buyer codes; `event_names` the names of the kinds 1, 2, ..."""

    products: Products
    buyers: list[str]
    events: Events
    event_names: list[str]
    summary: Summary


class Reject(NamedTuple):
    """One row that could not be used, or not wholly."""

    file: str
    line: int
    column: str
    value: str
    reason: str


@dataclass(frozen=True)
class _Check:
    """A reason to reject a row: where `when` holds, `column` of the file is to blame."""

    reason: str
    ours: str
    when: pl.Expr


def load_dataset(
    events: Sequence[str], products: Sequence[str], config: Data, seed: int, work: Path,
    say: Callable[[str], None] = lambda line: None,
) -> Dataset:  # fmt: skip
    """Reads and checks both tables. Writes `work`/rejects.csv.

    Raises DataError where a file cannot be read or more than the configured share of a table's rows is rejected.
    """
    work.mkdir(parents=True, exist_ok=True)
    product_files, event_files = find_files(products, "products"), find_files(events, "events")
    rejects = work / "rejects.csv"
    with rejects.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(REJECT_COLUMNS)
        try:
            say("reading products")
            catalogue, product_rows, product_counts = _load_products(product_files, config, work, writer)
            say(f"{len(catalogue):,} products; reading events")
            frame, event_rows, event_counts = _load_events(event_files, catalogue.ids, config, work, writer)
        finally:
            shutil.rmtree(work / "unpacked", ignore_errors=True)
    summary = Summary(event_rows, product_rows, dict(event_counts), dict(product_counts))
    _stop_above(config.max_reject_share, "products", product_rows, product_counts, rejects)
    _stop_above(config.max_reject_share, "events", event_rows, event_counts, rejects)
    if frame.is_empty():
        raise DataError(f"{event_files[0]}: no event is left after the checks; see {rejects}")
    buyers, coded = _sequence(frame, tie_hash(catalogue.ids, seed))
    return Dataset(catalogue, buyers, coded, list(config.event_weights), summary)


def data_facts(data: Dataset) -> dict[str, Any]:
    """What was read: counts, rejects by reason, events by kind, first and last time."""
    events = data.events
    kinds = np.bincount(events.kind, minlength=len(data.event_names) + 1)[1:]
    return asdict(data.summary) | {
        "events": len(events.buyer),
        "buyers": len(data.buyers),
        "products": len(data.products),
        "event_kinds": dict(zip(data.event_names, kinds.tolist(), strict=True)),
        "oldest_event_ms": int(events.time.min()),
        "newest_event_ms": int(events.time.max()),
    }


def load_products(products: Sequence[str], config: Data, work: Path) -> tuple[Products, Summary]:
    """Reads and checks the products alone, and tells what was read. Writes `work`/rejects.csv; raises DataError as
    `load_dataset` does."""
    work.mkdir(parents=True, exist_ok=True)
    rejects = work / "rejects.csv"
    with rejects.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(REJECT_COLUMNS)
        try:
            catalogue, rows, counts = _load_products(find_files(products, "products"), config, work, writer)
        finally:
            shutil.rmtree(work / "unpacked", ignore_errors=True)
    _stop_above(config.max_reject_share, "products", rows, counts, rejects)
    return catalogue, Summary(product_rows=rows, rejected_products=dict(counts))


def tie_hash(ids: Sequence[str], seed: int) -> NDArray[np.uint64]:
    """A seeded hash of each product id [N]: the order of ties, so that neither row nor id order can matter."""
    key = seed.to_bytes(8, "little")
    digests = b"".join(hashlib.blake2b(one.encode(), digest_size=8, key=key).digest() for one in ids)
    return np.frombuffer(digests, "<u8")


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


def _load_products(files: Sequence[Path], config: Data, work: Path, writer: Any) -> tuple[Products, int, Counter[str]]:
    names = config.product_columns.model_dump()
    table = open_table(files, names, frozenset({"description", "metadata"}), config.delimiter, work / "unpacked")
    ident = pl.col("id").str.strip_chars(AROUND_ID)
    checks = [*_id_checks("id", ident)]
    rows = 0
    paths = config.metadata_paths.model_dump() | {f"attribute {path}": path for path in config.attribute_paths}
    counts: Counter[str] = Counter()
    columns: dict[str, list[Any]] = {name: [] for name in Products.__dataclass_fields__}
    seen: set[str] = set()
    try:
        frame = table.frame.with_columns(_problem(checks, names), id=ident).collect(engine="streaming")
    except pl.exceptions.PolarsError as error:
        raise _unreadable(files, error) from None
    for record in frame.iter_rows(named=True):
        rows += 1
        if record["reason"] is None and record["id"] in seen:
            record |= {"reason": "duplicate product id", "column": names["id"], "value": record["id"]}
        if record["reason"] is not None:
            _reject(writer, counts, Reject(*(record[name] for name in REJECT_COLUMNS)))
            continue
        seen.add(record["id"])
        fields, bad = _metadata(record["metadata"], paths)
        if bad:
            value = record["metadata"][:200]
            _reject(
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


def _load_events(
    files: Sequence[Path], product_ids: Sequence[str], config: Data, work: Path, writer: Any
) -> tuple[pl.DataFrame, int, Counter[str]]:
    names = config.event_columns.model_dump()
    table = open_table(files, names, frozenset(), config.delimiter, work / "unpacked")
    codes = {name: code for code, name in enumerate(config.event_weights, start=1)}
    theirs = {**codes, **{name: codes[ours] for name, ours in config.event_names.items()}}
    kinds = pl.LazyFrame(
        {"event": list(theirs), "kind": list(theirs.values())}, schema={"event": pl.String, "kind": pl.Int8}
    )
    known = pl.LazyFrame({"product": product_ids, "row": np.arange(len(product_ids), dtype=np.int32)})
    strip = [pl.col(name).str.strip_chars(AROUND_ID) for name in ("buyer", "product", "event")]
    frame = (
        table.frame.with_columns(strip)
        .join(kinds, on="event", how="left", maintain_order="left")
        .join(known, on="product", how="left", maintain_order="left")
        .with_columns(ms=time_ms(pl.col("time")))
    )
    limit = int(time.time() * 1000) + DAY_MS
    checks = [
        *_id_checks("buyer", pl.col("buyer")),
        *_id_checks("product", pl.col("product")),
        _Check("missing event name", "event", pl.col("event").fill_null("") == ""),
        _Check("unknown event name", "event", pl.col("kind").is_null()),
        _Check("missing time", "time", pl.col("time").fill_null("").str.strip_chars(BLANK) == ""),
        _Check(NO_DATE_IN_DIGITS, "time", _in_digits(pl.col("time").str.strip_chars(BLANK))),
        _Check("unreadable time", "time", pl.col("ms").is_null()),
        _Check("time before 1970", "time", pl.col("ms") < 0),
        _Check("time more than a day ahead", "time", pl.col("ms") > limit),
        _Check("product is not in the catalogue", "product", pl.col("row").is_null()),
    ]
    checked = frame.with_columns(_problem(checks, names))
    counts: Counter[str] = Counter()
    try:
        rows = int(table.frame.select(pl.len()).collect(engine="streaming").item())
        for record in (
            checked.filter(pl.col("reason").is_not_null())
            .select(REJECT_COLUMNS)
            .collect(engine="streaming")
            .iter_rows()
        ):
            _reject(writer, counts, Reject(*record))
        accepted = (
            checked.filter(pl.col("reason").is_null())
            .select("buyer", "row", "kind", "ms", "line", pl.col("file").cast(pl.Categorical))
            .collect(engine="streaming")
        )
    except pl.exceptions.PolarsError as error:
        raise _unreadable(files, error) from None
    first = accepted.select(pl.struct("buyer", "row", "kind", "ms").is_first_distinct()).to_series()
    for again in accepted.filter(~first).iter_rows(named=True):
        what = f"{again['buyer']}, {product_ids[again['row']]}"
        _reject(writer, counts, Reject(again["file"], again["line"], names["buyer"], what, "exact duplicate event"))
    return accepted.filter(first).select("buyer", "row", "kind", "ms"), rows, counts


def _unreadable(files: Sequence[Path], error: Exception) -> DataError:
    first = str(error).strip().split("\n", 1)[0]
    return DataError(f"{', '.join(map(str, files[:3]))}: cannot be read ({first})")


def _id_checks(ours: str, column: pl.Expr) -> list[_Check]:
    return [
        _Check(f"missing {ours} id" if ours != "id" else "missing product id", ours, column.fill_null("") == ""),
        _Check(f"id longer than {MAX_ID_BYTES} bytes", ours, column.str.len_bytes() > MAX_ID_BYTES),
        _Check("id with control characters", ours, column.str.contains(r"[\x00-\x1f\x7f]")),
    ]


def _problem(checks: Sequence[_Check], names: Mapping[str, str]) -> list[pl.Expr]:
    """The first check that holds, as columns reason, column and value."""

    def pick(then: Callable[[_Check], pl.Expr]) -> pl.Expr:
        return pl.coalesce(*(pl.when(check.when).then(then(check)) for check in checks))

    return [
        pick(lambda check: pl.lit(check.reason)).alias("reason"),
        pick(lambda check: pl.lit(names[check.ours])).alias("column"),
        pick(lambda check: pl.col(check.ours).fill_null("").str.slice(0, 200)).alias("value"),
    ]


def time_ms(column: pl.Expr) -> pl.Expr:
    """Milliseconds since 1970 as `twotower.events.parse_time` reads them, null where a text is no time."""
    column = column.str.strip_chars(BLANK)
    number = column.cast(pl.Float64, strict=False)
    epoch = pl.when(number.abs() >= 1e11).then(number).otherwise(number * 1000).round().cast(pl.Int64, strict=False)
    part = column.str.extract_groups(f"^{ISO_TIME}$").struct
    date = pl.concat_str(*(part.field(place) for place in "123"), separator="-")
    clock = pl.concat_str(*(part.field(place).fill_null("00") for place in "456"), separator=":")
    moment = (date + "T" + clock).str.to_datetime("%Y-%m-%dT%H:%M:%S", strict=False, time_unit="us")
    micros = part.field("7").fill_null("0").str.pad_end(6, "0").str.slice(0, 6).cast(pl.Int64, strict=False)
    zone = part.field("8")
    digits = zone.str.slice(1).str.replace(":", "").str.pad_end(4, "0")
    minutes = digits.str.slice(0, 2).cast(pl.Int64, strict=False) * 60 + digits.str.slice(2, 2).cast(
        pl.Int64, strict=False
    )
    offset = (
        pl.when(zone.str.starts_with("+")).then(minutes).when(zone.str.starts_with("-")).then(-minutes).otherwise(0)
    )
    iso = (moment.dt.epoch("us") + micros) // 1000 - offset * 60_000
    return pl.when(column.str.contains(f"^{EPOCH_TIME}$") & ~_in_digits(column)).then(epoch).otherwise(iso)


def _in_digits(column: pl.Expr) -> pl.Expr:
    return column.str.contains(f"^(?:{DATE_IN_DIGITS})$")


def load_history(
    events: Sequence[str], product_ids: Sequence[str], config: Data, work: Path, rejects: Path
) -> tuple[list[str], Events, Counter[str]]:
    """Buyers' histories against a given catalogue: buyer ids, events, and rejected rows by reason.

    Ties in time stand in the order of `twotower.history.latest`, in which services see them. Writes `rejects`.
    """
    files = find_files(events, "events")
    with rejects.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(REJECT_COLUMNS)
        frame, _, counts = _load_events(files, product_ids, config, work, writer)
    shutil.rmtree(work / "unpacked", ignore_errors=True)
    by_id = np.argsort(np.argsort(np.array(product_ids))).astype(np.uint64)
    by_name = np.argsort(np.argsort(np.array(list(config.event_weights))))
    buyers, coded = _sequence(frame, by_id, [0, *by_name.tolist()])
    return buyers, coded, counts


def _sequence(
    frame: pl.DataFrame, tie: NDArray[np.uint64], kind_order: Sequence[int] | None = None
) -> tuple[list[str], Events]:
    """Codes buyers in the order of their ids and sorts events by buyer, time, `tie` [N] and kind."""
    buyers = frame["buyer"].unique().sort()
    order = pl.Series("tie", tie)
    last = pl.col("kind") if kind_order is None else pl.col("kind").replace_strict(dict(enumerate(kind_order)))
    coded = frame.with_columns(
        pl.col("buyer").cast(pl.Enum(buyers)).to_physical().cast(pl.Int32), tie=order.gather(frame["row"]), last=last
    ).sort("buyer", "ms", "tie", "last")
    buyer = coded["buyer"].to_numpy()
    start = np.searchsorted(buyer, np.arange(len(buyers) + 1)).astype(np.int64)
    events = Events(buyer, coded["row"].to_numpy(), coded["kind"].to_numpy(), coded["ms"].to_numpy(), start)
    return buyers.to_list(), events


def _reject(writer: Any, counts: Counter[str], reject: Reject) -> None:
    counts[reject.reason] += 1
    writer.writerow(reject)


def _stop_above(limit: float, table: str, rows: int, counts: Counter[str], rejects: Path) -> None:
    rejected = sum(counts.values())
    if rejected <= limit * rows:
        return
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common(3))
    raise DataError(
        f"{rejected:,} of {rows:,} rows of {table} ({rejected / rows:.1%}) were rejected, the limit is {limit:.1%} "
        f"(data.max_reject_share): {reasons}; look at {rejects}"
    )
