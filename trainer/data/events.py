"""The events table: rows checked in one pass, then sorted into one sequence per buyer."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trainer.config.data import OTHER_EVENTS, Data, Filter
from trainer.data.accepted import Accepted, AcceptedRows
from trainer.data.event_log.reading import read_log
from trainer.data.event_log.searches import with_queries
from trainer.data.event_log.sources import EventSources, find_events
from trainer.data.filters import filter_columns, keeps, optional_filters
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
from trainer.data.searches import Searches, searches_of
from trainer.data.tables.files import read_tables
from trainer.data.time_forms import HIJRI_PROBLEM, explain_unreadable, find_form
from trainer.data.times import is_date_in_digits, is_spreadsheet_day, time_ms
from trainer.data.visitors import Visitors
from trainer.errors import DataError
from twotower.arrays import Int64, UInt64
from twotower.event_log import DISMISS
from twotower.events import AROUND_ID, DATE_IN_DIGITS_PROBLEM, DAY_MS, SPREADSHEET_DAY_PROBLEM

UNREADABLE_TIME = (
    "unreadable time: neither ISO-8601, epoch time, a date with slashes or a month's name, nor data.time_format"
)
UNKNOWN_EVENT = "unknown event name"
# the code of events that the settings leave out
_LEFT_OUT = -1
# the years 1340 to 1500, which are of our time in the Hijri calendar
_HIJRI_MS = (-19_880_899_200_000, -14_831_769_600_000)
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


def read_events(sources: EventSources, product_ids: Sequence[str], config: Data, checks: RowChecks) -> Accepted:
    """The accepted events, those of files first.

    Rows are counted, rejected and accepted in one pass; only accepted rows stay in memory, at 17 bytes each, and those
    whose time is in a form that the whole column decides.
    """
    names = config.event_columns.names()
    coded = _code_columns(product_ids, config)
    problem = first_problem(_event_checks(int(time.time() * 1000) + DAY_MS), names)
    kept, undecided, unknown, visitors = AcceptedRows(), [], set[str](), Visitors()
    files = ((batch, config.event_filter) for batch in _read_batches(sources.files, config))
    # filters look at columns of files
    unfiltered: Filter = {}
    logs = ((batch, unfiltered) for batch in _read_logs(sources.logs, checks))
    for batch, wanted in itertools.chain(files, logs):
        checked = batch.with_columns(coded).with_columns(problem).collect(engine="streaming")
        checks.rows += checked.height
        visitors.note(checked)
        checked = _leave_out(_filter(checked, wanted, checks), checks, config)
        late = checked.filter(reason=UNREADABLE_TIME)
        if late.height:
            undecided.append(late)
            checked = checked.filter(pl.col("reason").ne_missing(UNREADABLE_TIME))
        kept.add(_settle(checked, checks, unknown))
    if undecided:
        late = _decide_times(pl.concat(undecided, how="diagonal"), problem, kept.height, checks)
        kept.add(_settle(late, checks, unknown))
    checks.hints += explain_unknown(unknown, product_ids)
    if not kept.batches:
        raise DataError(f"{sources.first}: the log holds no interaction yet")
    return kept.finish(visitors, checks)


def _decide_times(late: pl.DataFrame, problem: list[pl.Expr], plain: int, checks: RowChecks) -> pl.DataFrame:
    """The rows whose time no single row explains, with what the whole column says; `plain` rows need no column."""
    form = find_form(late["time"])
    checks.hints += form.hints
    read = late.with_columns(form.read(pl.col("time")).alias("ms"))
    count = read.height - read["ms"].null_count()
    if count and plain:
        checks.notes.append(
            f"times are written in two ways: {plain:,} as ISO-8601 or epoch time, {count:,} in another form"
        )
    checked = read.with_columns(problem)
    why = explain_unreadable(pl.col("time"), pl.lit(form.problem or UNREADABLE_TIME))
    return checked.with_columns(reason=pl.when(pl.col("reason") == UNREADABLE_TIME).then(why).otherwise("reason"))


def _read_batches(files: Sequence[Path], config: Data) -> Iterator[pl.LazyFrame]:
    """The rows as they stand in the files, without marks around them; those of an order have its buyer and time."""
    names = config.event_columns.names()
    columns = names | filter_columns(config.event_filter)
    optional = config.event_columns.optional(config.default_event) | optional_filters(config.event_filter)
    stripped = [pl.col(name).str.strip_chars(AROUND_ID) for name in names]
    batches: Iterable[pl.DataFrame] = read_tables(files, columns, optional, config.delimiter)
    if "group" in names and files:
        batches = [_fill_orders(pl.concat(batches))]
    for batch in batches:
        # of times too: spreadsheets leave marks around all they hold
        rows = batch.lazy().with_columns(stripped)
        if config.default_event:
            rows = rows.with_columns(pl.col("event").fill_null(config.default_event))
        if "anonymous" in names:
            has_buyer = pl.col("buyer").fill_null("") != ""
            rows = rows.with_columns(buyer=pl.when(has_buyer).then("buyer").otherwise("anonymous"), named=has_buyer)
        yield rows


def _fill_orders(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of an order with what its first row has: buyer, time and what filters look at."""
    filled = [name for name in rows.columns if name not in {"file", "line", "group", "product", "event", "query"}]
    blank_is_null = [pl.when(pl.col(name).str.strip_chars() != "").then(pl.col(name)).alias(name) for name in filled]
    first = [pl.col(name).fill_null(pl.col(name).drop_nulls().first().over("group")) for name in filled]
    rows = rows.with_columns(blank_is_null)
    is_order = pl.col("group").fill_null("") != ""
    return (
        rows
        if rows["group"].null_count() == rows.height
        else pl.concat([rows.filter(is_order).with_columns(first), rows.filter(~is_order)])
    )


def _filter(checked: pl.DataFrame, kept: Filter, checks: RowChecks) -> pl.DataFrame:
    """The rows with the wanted values; the others are counted, by value."""
    for column in kept:
        is_kept, value = keeps(column, kept)
        for name, count in checked.filter(~is_kept).select(value.alias("value"))["value"].value_counts().iter_rows():
            checks.dropped[f"{column} is {name or 'blank'}, left out by data.event_filter"] += count
        checked = checked.filter(is_kept)
    return checked


def _leave_out(checked: pl.DataFrame, checks: RowChecks, config: Data) -> pl.DataFrame:
    """The rows less those of events and buyers that the settings leave out; these are counted, whatever they hold."""
    is_left_out = (checked["kind"] == _LEFT_OUT).fill_null(value=False)
    if is_left_out.any():
        for name, count in checked.filter(is_left_out)["event"].value_counts().iter_rows():
            checks.dropped[f"{name}, left out by data.event_names"] += count
        checked = checked.filter(~is_left_out)
    if config.unknown_buyers:
        is_unknown = pl.col("buyer").str.to_lowercase().is_in([one.lower() for one in config.unknown_buyers])
        for name, count in checked.filter(is_unknown)["buyer"].value_counts().iter_rows():
            checks.dropped[f"buyer {name}, left out by data.unknown_buyers"] += count
        checked = checked.filter(~is_unknown.fill_null(value=False))
    return checked


def _settle(checked: pl.DataFrame, checks: RowChecks, unknown: set[str]) -> pl.DataFrame:
    """The rows without a problem, as `buyer`, `row`, `kind`, `ms` and any `query`; the others are rejected."""
    good = checked["reason"].is_null()
    if not good.all():
        for record in checked.filter(~good).select(REJECT_COLUMNS).iter_rows():
            checks.reject(reject := Reject(*record))
            if reject.reason == UNKNOWN_PRODUCT:
                unknown.add(reject.value)
            elif reject.reason == UNKNOWN_EVENT:
                checks.unknown_events[reject.value] += 1
        checked = checked.filter(good)
    columns = ["buyer", "row", "kind", "ms"]
    # millions of rows without a query need no column of nulls
    has_query = "query" in checked.columns and checked["query"].null_count() < checked.height
    return checked.select(*columns, *(["query"] if has_query else []))


def _read_logs(folders: Sequence[Path], checks: RowChecks) -> Iterator[pl.LazyFrame]:
    """The events of logs as the tables of files. Counts what is left out: what is there twice, forgotten, dismissed."""
    for folder in folders:
        found = read_log(folder, with_lists="searches")
        wanted = with_queries(found).filter(pl.col("event_type") != DISMISS)
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
            "query",
        )
        yield from (part.lazy() for part in rows.iter_slices(_BATCH_ROWS))


def _code_columns(product_ids: Sequence[str], config: Data) -> list[pl.Expr]:
    """Columns `kind`, `row` and `ms`; null if the event name, the product or the time is unknown."""
    codes = {name: code for code, name in enumerate(config.event_weights, start=1)}
    named = {name: _LEFT_OUT if ours is None else codes[ours] for name, ours in config.event_names.items()}
    theirs = codes | named
    # a row without a name has no other name
    other = pl.when(pl.col("event") != "").then(theirs.pop(OTHER_EVENTS, None))
    kind = pl.col("event").replace_strict(list(theirs), list(theirs.values()), default=other, return_dtype=pl.Int8)
    # An Enum is hashed once for all batches; its physical values are the places of the ids.
    row = pl.col("product").cast(pl.Enum(product_ids), strict=False).to_physical().cast(pl.Int32)
    return [kind.alias("kind"), row.alias("row"), time_ms(pl.col("time"), config.time_format).alias("ms")]


def _event_checks(latest_ms: int) -> list[Check]:
    written_time = pl.col("time")
    return [
        *id_checks("buyer", pl.col("buyer")),
        *id_checks("product", pl.col("product")),
        Check("missing event name", "event", pl.col("event").fill_null("") == ""),
        Check(UNKNOWN_EVENT, "event", pl.col("kind").is_null()),
        Check("missing time", "time", written_time.fill_null("") == ""),
        Check(DATE_IN_DIGITS_PROBLEM, "time", is_date_in_digits(written_time)),
        Check(SPREADSHEET_DAY_PROBLEM, "time", is_spreadsheet_day(written_time)),
        Check(UNREADABLE_TIME, "time", pl.col("ms").is_null()),
        Check(HIJRI_PROBLEM, "time", pl.col("ms").is_between(*_HIJRI_MS)),
        Check("time before 1970", "time", pl.col("ms") < 0),
        Check("time more than a day ahead", "time", pl.col("ms") > latest_ms),
        Check(UNKNOWN_PRODUCT, "product", pl.col("row").is_null()),
    ]


def keep_newest(events: Events, limit: int) -> Events:
    """The newest `limit` events of each buyer."""
    sizes = np.diff(events.start)
    place = np.arange(len(events.buyer)) - events.start[events.buyer]
    kept = place >= (sizes - limit)[events.buyer]
    start = np.concatenate(([0], np.cumsum(np.minimum(sizes, limit))))
    return Events(events.buyer[kept], events.product[kept], events.kind[kept], events.time[kept], start)


def load_searches(events: Sequence[str], product_ids: Sequence[str], config: Data, rejects_path: Path) -> Searches:
    """The searches of events against a given catalogue. Writes `rejects_path`.

    Raises DataError if a file cannot be read or too large a share of the rows is rejected.
    """
    sources = find_events(events)
    with open_rejects(rejects_path) as rejects:
        checks = RowChecks("events", rejects)
        accepted = read_events(sources, product_ids, config, checks)
    checks.check_share(config.max_reject_share, config.max_unknown_share)
    return searches_of(accepted, sources.logs, config.event_weights)


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


def sort_events(accepted: Accepted, tie: UInt64, kind_order: Sequence[int] | None = None) -> tuple[list[str], Events]:
    """Codes buyers in the order of their ids, and sorts events by buyer, time, the product's `tie` [N] and kind.

    Takes the events out of `accepted`, part by part, so that they are in memory once.
    """
    order = pl.Series("tie", tie)
    last = pl.col("kind") if kind_order is None else pl.col("kind").replace_strict(dict(enumerate(kind_order)))
    buyers, total, done = accepted.buyers, accepted.height, 0
    buyer, product = np.empty(total, np.int32), np.empty(total, np.int32)
    kind, ms = np.empty(total, np.int8), np.empty(total, np.int64)
    while accepted.parts:
        part = accepted.parts.pop(0)
        coded = part.with_columns(tie=order.gather(part["row"]), last=last).sort("buyer", "ms", "tie", "last")
        here = slice(done, done + coded.height)
        buyer[here], product[here] = coded["buyer"].to_numpy(), coded["row"].to_numpy()
        kind[here], ms[here] = coded["kind"].to_numpy(), coded["ms"].to_numpy()
        done += coded.height
    start = np.searchsorted(buyer, np.arange(len(buyers) + 1)).astype(np.int64)
    return buyers.to_list(), Events(buyer, product, kind, ms, start)
