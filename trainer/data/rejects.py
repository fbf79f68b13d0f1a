"""Rows that cannot be used: checked, counted by reason, and written to rejects.csv."""

from __future__ import annotations

import csv
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import polars as pl

from trainer.data.missing import is_missing
from trainer.errors import DataError
from twotower.events import MAX_ID_BYTES

log = logging.getLogger(__name__)
Value = TypeVar("Value")
UNKNOWN_PRODUCT = "product is not in the catalogue"
# of values that cannot be used
_EXAMPLES = 3
_MAX_KEYS = 1000
REJECT_COLUMNS = ("file", "line", "column", "value", "reason")


@dataclass
class FieldCount:
    """How many products have a field, how many have a value that cannot be used, and three of these."""

    found: int = 0
    unusable: int = 0
    examples: list[str] = field(default_factory=list)

    def read(self, value: Any, reader: Callable[[Any], Value | None]) -> Value | None:
        """What `reader` makes of a value, counted; None if it raises ValueError."""
        try:
            read = reader(value)
        except ValueError:
            self.unusable += 1
            if len(self.examples) < _EXAMPLES and (shown := str(value)[:60]) not in self.examples:
                self.examples.append(shown)
            return None
        self.found += not is_missing(read)
        return read

    def add(self, product: FieldCount) -> None:
        """Counts a product whose field has several values, counted in `product`."""
        self.found += product.found > 0
        self.unusable += product.unusable
        self.examples += [one for one in product.examples if one not in self.examples]
        del self.examples[_EXAMPLES:]


@dataclass(frozen=True)
class Summary:
    """What was read: rows per table, rejected or repaired rows by reason, harmless rows that were left out, what the
    products' fields hold, and events too old to count."""

    event_rows: int = 0
    product_rows: int = 0
    rejected_events: dict[str, int] = field(default_factory=dict)
    rejected_products: dict[str, int] = field(default_factory=dict)
    dropped_events: dict[str, int] = field(default_factory=dict)
    dropped_products: dict[str, int] = field(default_factory=dict)
    fields: dict[str, dict[str, Any]] = field(default_factory=dict)
    older_events: int = 0
    # up to which change of the live catalogue the products have all: epoch and number
    catalogue: tuple[str, int] | None = None


class Reject(NamedTuple):
    """One row that cannot be used, or only in part."""

    file: str
    line: int
    column: str
    value: str
    reason: str


class RejectFile:
    """A rejects.csv that is open for writing; `see` sends a reader to it."""

    def __init__(self, path: Path, writer: Any, see: str) -> None:
        self.path = path
        self.see = see
        self._writer = writer

    def write(self, reject: Reject) -> None:
        self._writer.writerow(reject)


@contextmanager
def open_rejects(path: Path, is_kept: bool = True) -> Iterator[RejectFile]:
    """Creates rejects.csv with its header. No message names a file that is not kept."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(REJECT_COLUMNS)
        yield RejectFile(path, writer, f"; see {path}" if is_kept else "")


class RowChecks:
    """The rows of one table that were read, its rejects by reason, and what was left out without harm.

    `fields` counts the products' fields; `paths` are the fields that the metadata of any product has. `hints` say why
    rows were rejected, `notes` what was done with rows that were not, `examples` are three rejects of each reason.
    """

    def __init__(self, table: str, file: RejectFile) -> None:
        self.table = table
        self.rows = 0
        self.rejected: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.fields: dict[str, FieldCount] = defaultdict(FieldCount)
        self.paths: set[str] = set()
        self.metadata_keys: dict[str, None] = {}
        self.examples: dict[str, list[Reject]] = defaultdict(list)
        self.hints: list[str] = []
        self.notes: list[str] = []
        self.unknown_events: Counter[str] = Counter()
        self.see = file.see
        self._file = file

    def reject(self, reject: Reject) -> None:
        self.rejected[reject.reason] += 1
        if len(self.examples[reject.reason]) < _EXAMPLES:
            self.examples[reject.reason].append(reject)
        self._file.write(reject)

    def note_keys(self, content: Mapping[str, Any]) -> None:
        """Remembers the names that the metadata of any product has, up to a limit."""
        if len(self.metadata_keys) < _MAX_KEYS:
            self.metadata_keys.update(dict.fromkeys(content))

    def note_paths(self, names: Iterable[str]) -> None:
        self.paths.update(names)

    def check_share(self, limit: float, unknown_limit: float = 1.0) -> None:
        """Raises DataError if more than this share of the rows was rejected, or is of unknown products."""
        unknown = self.rejected[UNKNOWN_PRODUCT]
        others = Counter({reason: count for reason, count in self.rejected.items() if reason != UNKNOWN_PRODUCT})
        self._check(others, limit, "data.max_reject_share")
        self._check(Counter({UNKNOWN_PRODUCT: unknown}), unknown_limit, "data.max_unknown_share")

    def reasons(self) -> str:
        """What to look at if no row is left: the most frequent reasons, and the file of rejects."""
        counts = (self.rejected + self.dropped).most_common(3)
        return "".join(f"; {count:,} {reason}" for reason, count in counts) + self.see

    def _check(self, counts: Counter[str], limit: float, setting: str) -> None:
        rejected = counts.total()
        if rejected <= limit * self.rows:
            return
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common(3))
        raise DataError(
            f"{rejected:,} of {self.rows:,} rows of {self.table} ({rejected / self.rows:.1%}) were rejected, the limit "
            f"is {limit:.1%} ({setting}): {'; '.join([reasons, *self.hints])}{self.see}"
        )

    def field_facts(self) -> dict[str, dict[str, Any]]:
        return {name: asdict(count) for name, count in self.fields.items()}

    def field_warnings(self, products: int) -> list[str]:
        """Sentences about values that cannot be used, and about products without a title."""
        said = [
            f"{count.unusable:,} products have a value of {name} that cannot be used, as "
            f"{', '.join(map(repr, count.examples))}"
            for name, count in self.fields.items()
            if count.unusable
        ]
        if missing := products - self.fields["title"].found:
            said.append(f"{missing:,} of {products:,} products have no title")
        return said


@dataclass(frozen=True)
class Check:
    """A reason to reject a row if `when` is true; `ours` is our name of the column at fault."""

    reason: str
    ours: str
    when: pl.Expr


def id_checks(ours: str, column: pl.Expr) -> list[Check]:
    return [
        Check(f"missing {ours} id" if ours != "id" else "missing product id", ours, column.fill_null("") == ""),
        Check(f"id longer than {MAX_ID_BYTES} bytes", ours, column.str.len_bytes() > MAX_ID_BYTES),
        Check("id with control characters", ours, column.str.contains(r"[\x00-\x1f\x7f]")),
        Check(
            "id is a spreadsheet's short form of a long number",
            ours,
            column.str.contains("^[0-9\u0660-\u0669](?:[.,\u066b][0-9\u0660-\u0669]+)?[eE]\\+[0-9]+$"),
        ),
    ]


def first_problem(checks: Sequence[Check], names: Mapping[str, Sequence[str]]) -> list[pl.Expr]:
    """Columns `reason`, `column` and `value` of the first check that a row fails; null if it fails none.

    `names` maps our names of columns to those of the files.
    """

    def pick(then: Callable[[Check], pl.Expr]) -> pl.Expr:
        return pl.coalesce(*(pl.when(check.when).then(then(check)) for check in checks))

    return [
        pick(lambda check: pl.lit(check.reason)).alias("reason"),
        pick(lambda check: pl.lit(" or ".join(names[check.ours]))).alias("column"),
        pick(lambda check: pl.col(check.ours).fill_null("").str.slice(0, 200)).alias("value"),
    ]
