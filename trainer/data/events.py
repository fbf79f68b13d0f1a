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

from trainer.cluster.parts import Engine
from trainer.config.data import Data, Filter
from trainer.data.accepted import Accepted, AcceptedRows
from trainer.data.event_checks import UNKNOWN_EVENT, UNREADABLE_TIME, Checked, EventChecks
from trainer.data.event_log.reading import read_log
from trainer.data.event_log.searches import with_queries
from trainer.data.event_log.sources import EventSources, find_events
from trainer.data.event_reader import EventReader, event_columns
from trainer.data.id_forms import explain_unknown
from trainer.data.rejects import UNKNOWN_PRODUCT, Reject, RowChecks, open_rejects
from trainer.data.searches import Searches, searches_of
from trainer.data.tables.sections import Section, WholeFiles, split_files
from trainer.data.time_forms import explain_unreadable, find_form
from trainer.data.visitors import Visitors
from trainer.errors import DataError
from twotower.arrays import Int64, UInt64
from twotower.event_log import DISMISS

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


def read_events(
    sources: EventSources, product_ids: Sequence[str], config: Data, checks: RowChecks, engine: Engine
) -> Accepted:
    """The accepted events, those of files first. The engine reads and checks the files.

    Rows are counted, rejected and accepted in one pass; only accepted rows stay in memory, at 17 bytes each, and those
    whose time is in a form that the whole column decides.
    """
    now_ms = int(time.time() * 1000)
    rules = EventChecks(product_ids, config, now_ms)
    sections = _sections(sources.files, config, engine)
    files = engine.flat_map(sections, EventReader, product_ids, config, now_ms)
    # filters look at columns of files
    unfiltered: Filter = {}
    logs = (rules.check(batch, unfiltered) for batch in _read_logs(sources.logs, checks))
    kept, undecided, unknown, visitors = AcceptedRows(), [], set[str](), Visitors()
    for checked in itertools.chain(files, logs):
        visitors.add(checked.visitors)
        if checked.undecided.height:
            undecided.append(checked.undecided)
        kept.add(_count(checked, checks, unknown))
    if undecided:
        late = _decide_times(pl.concat(undecided, how="diagonal"), rules, kept.height, checks)
        kept.add(_count(late, checks, unknown))
    checks.hints += explain_unknown(unknown, product_ids)
    if not kept.batches:
        raise DataError(f"{sources.first}: the log holds no interaction yet")
    return kept.finish(visitors, checks)


def _sections(files: Sequence[Path], config: Data, engine: Engine) -> list[Section]:
    """What the engine reads: whole files if it is one machine, or if rows far apart belong to one order."""
    if not files:
        return []
    if not engine.has_workers or config.event_columns.group is not None:
        return [WholeFiles(tuple(files))]
    return list(split_files(files, *event_columns(config), config.delimiter))


def _count(checked: Checked, checks: RowChecks, unknown: set[str]) -> pl.DataFrame:
    """The accepted rows; all others are counted and rejected."""
    checks.rows += checked.rows
    for reason, count in checked.dropped.iter_rows():
        checks.dropped[reason] += count
    for record in checked.rejected.iter_rows():
        checks.reject(reject := Reject(*record))
        if reject.reason == UNKNOWN_PRODUCT:
            unknown.add(reject.value)
        elif reject.reason == UNKNOWN_EVENT:
            checks.unknown_events[reject.value] += 1
    return checked.accepted


def _decide_times(late: pl.DataFrame, rules: EventChecks, plain: int, checks: RowChecks) -> Checked:
    """The rows whose time no single row explains, with what the whole column says; `plain` rows need no column."""
    form = find_form(late["time"])
    checks.hints += form.hints
    read = late.with_columns(form.read(pl.col("time")).alias("ms"))
    count = read.height - read["ms"].null_count()
    if count and plain:
        checks.notes.append(
            f"times are written in two ways: {plain:,} as ISO-8601 or epoch time, {count:,} in another form"
        )
    return rules.check_again(read, explain_unreadable(pl.col("time"), pl.lit(form.problem or UNREADABLE_TIME)))


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


def keep_newest(events: Events, limit: int) -> Events:
    """The newest `limit` events of each buyer."""
    sizes = np.diff(events.start)
    place = np.arange(len(events.buyer)) - events.start[events.buyer]
    kept = place >= (sizes - limit)[events.buyer]
    start = np.concatenate(([0], np.cumsum(np.minimum(sizes, limit))))
    return Events(events.buyer[kept], events.product[kept], events.kind[kept], events.time[kept], start)


def load_searches(
    events: Sequence[str], product_ids: Sequence[str], config: Data, rejects_path: Path, engine: Engine
) -> Searches:
    """The searches of events against a given catalogue. Writes `rejects_path`.

    Raises DataError if a file cannot be read or too large a share of the rows is rejected.
    """
    sources = find_events(events)
    with open_rejects(rejects_path) as rejects:
        checks = RowChecks("events", rejects)
        accepted = read_events(sources, product_ids, config, checks, engine)
    checks.check_share(config.max_reject_share, config.max_unknown_share)
    return searches_of(accepted, sources.logs, config.event_weights)


def load_history(
    events: Sequence[str], product_ids: Sequence[str], config: Data, rejects_path: Path, engine: Engine
) -> tuple[list[str], Events, Counter[str]]:
    """Buyers' histories against a given catalogue: buyer ids, events, and rejected rows by reason.

    Events of one moment stand in the order of `twotower.history.latest`, as in the services. Writes `rejects_path`.
    """
    sources = find_events(events)
    with open_rejects(rejects_path) as rejects:
        checks = RowChecks("events", rejects)
        accepted = read_events(sources, product_ids, config, checks, engine)
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
