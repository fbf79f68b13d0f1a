"""The events table: checked rows, sorted into one sequence per buyer."""

from __future__ import annotations

import csv
import hashlib
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trainer.config.data import Data
from trainer.data.files import find_files, open_table
from trainer.data.rejects import REJECT_COLUMNS, Check, Reject, id_checks, problem, reject_rows, unreadable
from twotower.events import (
    AROUND_ID,
    BLANK,
    DATE_IN_DIGITS,
    DAY_MS,
    EPOCH_TIME,
    ISO_TIME,
    NO_DATE_IN_DIGITS,
)


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


def tie_hash(ids: Sequence[str], seed: int) -> NDArray[np.uint64]:
    """A seeded hash of each product id [N]: the order of ties, so that neither row nor id order can matter."""
    key = seed.to_bytes(8, "little")
    digests = b"".join(hashlib.blake2b(one.encode(), digest_size=8, key=key).digest() for one in ids)
    return np.frombuffer(digests, "<u8")


def read_events(
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
        *id_checks("buyer", pl.col("buyer")),
        *id_checks("product", pl.col("product")),
        Check("missing event name", "event", pl.col("event").fill_null("") == ""),
        Check("unknown event name", "event", pl.col("kind").is_null()),
        Check("missing time", "time", pl.col("time").fill_null("").str.strip_chars(BLANK) == ""),
        Check(NO_DATE_IN_DIGITS, "time", _in_digits(pl.col("time").str.strip_chars(BLANK))),
        Check("unreadable time", "time", pl.col("ms").is_null()),
        Check("time before 1970", "time", pl.col("ms") < 0),
        Check("time more than a day ahead", "time", pl.col("ms") > limit),
        Check("product is not in the catalogue", "product", pl.col("row").is_null()),
    ]
    checked = frame.with_columns(problem(checks, names))
    counts: Counter[str] = Counter()
    try:
        rows = int(table.frame.select(pl.len()).collect(engine="streaming").item())
        for record in (
            checked.filter(pl.col("reason").is_not_null())
            .select(REJECT_COLUMNS)
            .collect(engine="streaming")
            .iter_rows()
        ):
            reject_rows(writer, counts, Reject(*record))
        accepted = (
            checked.filter(pl.col("reason").is_null())
            .select("buyer", "row", "kind", "ms", "line", pl.col("file").cast(pl.Categorical))
            .collect(engine="streaming")
        )
    except pl.exceptions.PolarsError as error:
        raise unreadable(files, error) from None
    first = accepted.select(pl.struct("buyer", "row", "kind", "ms").is_first_distinct()).to_series()
    for again in accepted.filter(~first).iter_rows(named=True):
        what = f"{again['buyer']}, {product_ids[again['row']]}"
        reject_rows(writer, counts, Reject(again["file"], again["line"], names["buyer"], what, "exact duplicate event"))
    return accepted.filter(first).select("buyer", "row", "kind", "ms"), rows, counts


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
        frame, _, counts = read_events(files, product_ids, config, work, writer)
    shutil.rmtree(work / "unpacked", ignore_errors=True)
    by_id = np.argsort(np.argsort(np.array(product_ids))).astype(np.uint64)
    by_name = np.argsort(np.argsort(np.array(list(config.event_weights))))
    buyers, coded = sequence(frame, by_id, [0, *by_name.tolist()])
    return buyers, coded, counts


def sequence(
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
