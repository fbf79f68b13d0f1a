"""The events table: rows checked in one pass, then sorted into one sequence per buyer."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trainer.config.data import Data
from trainer.data.event_log.reading import read_log
from trainer.data.event_log.sources import EventSources, find_events
from trainer.data.id_forms import explain_unknown
from trainer.data.rejects import (
    REJECT_COLUMNS,
    UNKNOWN_PRODUCT,
    Check,
    Reject,
    RowChecks,
    first_problem,
    id_checks,
    open_rejects,
)
from trainer.data.tables.files import read_tables
from trainer.data.times import is_date_in_digits, is_spreadsheet_day, time_ms
from trainer.errors import DataError
from twotower.arrays import Int64, UInt64
from twotower.event_log import DISMISS
from twotower.events import AROUND_ID, DATE_IN_DIGITS_PROBLEM, DAY_MS, SPREADSHEET_DAY_PROBLEM

UNREADABLE_TIME = "unreadable time: neither ISO-8601 nor epoch time nor data.time_format"
# the code of events that the settings leave out
_LEFT_OUT = -1
_BATCH_ROWS = 250_000


class Events(NamedTuple):
    """All accepted events, sorted by buyer, time and a seeded hash of the product.

    `buyer`, `product` and `kind` are codes [M]; `time` is milliseconds since 1970; `start` [buyers + 1] bounds each
    buyer's events.
    """

    buyer: NDArray[np.int32]
    product: NDArray[np.int32]
    kind: NDArray[np.int8]
    time: Int64
    start: Int64


def tie_hash(ids: Sequence[str], seed: int) -> UInt64:
    """A seeded hash of each product id [N]: it orders events of one moment, whatever the order of rows and ids."""
    key = seed.to_bytes(8, "little")
    digests = b"".join(hashlib.blake2b(one.encode(), digest_size=8, key=key).digest() for one in ids)
    return np.frombuffer(digests, "<u8")


def read_events(sources: EventSources, product_ids: Sequence[str], config: Data, checks: RowChecks) -> pl.DataFrame:
    """The accepted events, those of files first: `buyer`, `row` of the product, code of the `kind`, `ms`.

    Rows are counted, rejected and accepted in one pass; only accepted rows stay in memory.
    """
    names = config.event_columns.model_dump()
    coded = _code_columns(product_ids, config)
    problem = first_problem(_event_checks(int(time.time() * 1000) + DAY_MS), names)
    optional = frozenset({"event"} if config.default_event else ())
    kept, unknown = [], set[str]()
    tables = read_tables(sources.files, names, optional, config.delimiter)
    for batch in itertools.chain(tables, _read_logs(sources.logs, checks)):
        # of times too: spreadsheets leave marks around all they hold
        stripped = batch.lazy().with_columns(pl.col("buyer", "product", "event", "time").str.strip_chars(AROUND_ID))
        if config.default_event:
            stripped = stripped.with_columns(pl.col("event").fill_null(config.default_event))
        checked = stripped.with_columns(coded).with_columns(problem).collect(engine="streaming")
        checks.rows += checked.height
        checked = _leave_out(checked, checks)
        for record in checked.filter(pl.col("reason").is_not_null()).select(REJECT_COLUMNS).iter_rows():
            checks.reject(Reject(*record))
            if record[-1] == UNKNOWN_PRODUCT:
                unknown.add(record[-2])
        accepted = checked.filter(pl.col("reason").is_null())
        kept.append(accepted.select("buyer", "row", "kind", "ms"))
    checks.hints += explain_unknown(unknown, product_ids)
    if not kept:
        raise DataError(f"{sources.first}: the log holds no interaction yet")
    return _drop_duplicates(pl.concat(kept), checks)


def _read_logs(folders: Sequence[Path], checks: RowChecks) -> Iterator[pl.DataFrame]:
    """The events of logs as the tables of files. Counts what is left out: what is there twice, forgotten, dismissed."""
    for folder in folders:
        found = read_log(folder)
        wanted = found.interactions.filter(pl.col("event_type") != DISMISS)
        left_out = {
            "repeated in the log": found.repeated,
            "of a forgotten buyer": found.forgotten,
            f"{DISMISS}, no sign of interest": found.interactions.height - wanted.height,
        }
        for reason, count in left_out.items():
            if count:
                checks.dropped[reason] += count
                checks.rows += count
        rows = wanted.with_row_index("line", offset=1).select(
            pl.lit(str(folder)).alias("file"),
            pl.col("line").cast(pl.Int64),
            pl.col("owner").alias("buyer"),
            pl.col("product_id").alias("product"),
            pl.col("event_type").alias("event"),
            pl.col("timestamp_ms").cast(pl.String).alias("time"),
        )
        yield from rows.iter_slices(_BATCH_ROWS)


def _leave_out(checked: pl.DataFrame, checks: RowChecks) -> pl.DataFrame:
    """The rows without those of events that the settings leave out; these are counted, whatever else they hold."""
    is_left_out = (pl.col("kind") == _LEFT_OUT).fill_null(value=False)
    for name, count in checked.filter(is_left_out)["event"].value_counts().iter_rows():
        checks.dropped[f"{name}, left out by data.event_names"] += count
    return checked.filter(~is_left_out)


def _code_columns(product_ids: Sequence[str], config: Data) -> list[pl.Expr]:
    """Columns `kind`, `row` and `ms`; null if the event name, the product or the time is unknown."""
    codes = {name: code for code, name in enumerate(config.event_weights, start=1)}
    named = {name: _LEFT_OUT if ours is None else codes[ours] for name, ours in config.event_names.items()}
    theirs = codes | named
    kind = pl.col("event").replace_strict(list(theirs), list(theirs.values()), default=None, return_dtype=pl.Int8)
    # An Enum is hashed once for all batches; its physical values are the places of the ids.
    row = pl.col("product").cast(pl.Enum(product_ids), strict=False).to_physical().cast(pl.Int32)
    return [kind.alias("kind"), row.alias("row"), time_ms(pl.col("time"), config.time_format).alias("ms")]


def _event_checks(latest_ms: int) -> list[Check]:
    written_time = pl.col("time")
    return [
        *id_checks("buyer", pl.col("buyer")),
        *id_checks("product", pl.col("product")),
        Check("missing event name", "event", pl.col("event").fill_null("") == ""),
        Check("unknown event name", "event", pl.col("kind").is_null()),
        Check("missing time", "time", written_time.fill_null("") == ""),
        Check(DATE_IN_DIGITS_PROBLEM, "time", is_date_in_digits(written_time)),
        Check(SPREADSHEET_DAY_PROBLEM, "time", is_spreadsheet_day(written_time)),
        Check(UNREADABLE_TIME, "time", pl.col("ms").is_null()),
        Check("time before 1970", "time", pl.col("ms") < 0),
        Check("time more than a day ahead", "time", pl.col("ms") > latest_ms),
        Check(UNKNOWN_PRODUCT, "product", pl.col("row").is_null()),
    ]


def _drop_duplicates(accepted: pl.DataFrame, checks: RowChecks) -> pl.DataFrame:
    """Each event once: nothing is wrong with a log that repeats one, as one whose times are days does."""
    once = accepted.unique(["buyer", "row", "kind", "ms"], keep="first", maintain_order=True)
    if again := accepted.height - once.height:
        checks.dropped["exact duplicate"] += again
    return once


def keep_newest(events: Events, limit: int) -> Events:
    """The newest `limit` events of each buyer."""
    sizes = np.diff(events.start)
    place = np.arange(len(events.buyer)) - events.start[events.buyer]
    kept = place >= (sizes - limit)[events.buyer]
    start = np.concatenate(([0], np.cumsum(np.minimum(sizes, limit))))
    return Events(events.buyer[kept], events.product[kept], events.kind[kept], events.time[kept], start)


def load_history(
    events: Sequence[str], product_ids: Sequence[str], config: Data, rejects_path: Path
) -> tuple[list[str], Events, Counter[str]]:
    """Buyers' histories against a given catalogue: buyer ids, events, and rejected rows by reason.

    Events of one moment stand in the order of `twotower.history.latest`, as in the services. Writes `rejects_path`.
    """
    sources = find_events(events)
    with open_rejects(rejects_path) as rejects:
        checks = RowChecks("events", rejects)
        accepted = read_events(sources, product_ids, config, checks)
    by_id = np.argsort(np.argsort(np.array(product_ids))).astype(np.uint64)
    by_name = np.argsort(np.argsort(np.array(list(config.event_weights))))
    buyers, coded = sort_events(accepted, by_id, [0, *by_name.tolist()])
    return buyers, coded, checks.rejected


def sort_events(
    accepted: pl.DataFrame, tie: UInt64, kind_order: Sequence[int] | None = None
) -> tuple[list[str], Events]:
    """Codes buyers in the order of their ids, and sorts events by buyer, time, the product's `tie` [N] and kind."""
    buyers = accepted["buyer"].unique().sort()
    order = pl.Series("tie", tie)
    last = pl.col("kind") if kind_order is None else pl.col("kind").replace_strict(dict(enumerate(kind_order)))
    coded = accepted.with_columns(
        pl.col("buyer").cast(pl.Enum(buyers)).to_physical().cast(pl.Int32), tie=order.gather(accepted["row"]), last=last
    ).sort("buyer", "ms", "tie", "last")
    buyer = coded["buyer"].to_numpy()
    start = np.searchsorted(buyer, np.arange(len(buyers) + 1)).astype(np.int64)
    events = Events(buyer, coded["row"].to_numpy(), coded["kind"].to_numpy(), coded["ms"].to_numpy(), start)
    return buyers.to_list(), events
