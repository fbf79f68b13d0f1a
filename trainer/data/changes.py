"""What `--products` names: files, and `log:PATH` for the changes of products that a recorder has copied there."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from trainer.config.data import Data
from trainer.data.catalogue import Products, read_products
from trainer.data.rejects import RowChecks, Summary, open_rejects
from trainer.data.tables.files import find_files
from trainer.errors import DataError
from twotower.errors import CorruptArtifact
from twotower.live.records import DEFAULTS, Position, State
from twotower.live.snapshot import read_snapshot, snapshot_file

log = logging.getLogger(__name__)

_PREFIX = "log:"
# our columns of a product's fields
_COLUMNS = {
    "title": "titles",
    "description": "descriptions",
    "brand": "brands",
    "category": "categories",
    "price": "prices",
    "currency": "currencies",
    "image": "images",
    "in_stock": "in_stock",
}


@dataclass(frozen=True)
class ProductSources:
    """Files of products, and the file of their changes, if one is named."""

    files: list[Path]
    changes: Path | None = None

    def contents(self) -> list[Path]:
        """Every file that decides which products there are."""
        return [*self.files, *([self.changes] if self.changes else [])]

    def overlay(self, products: Products) -> Overlaid:
        """The products with their changes. Raises DataError if the file of changes cannot be read."""
        if self.changes is None:
            return Overlaid(products)
        try:
            snapshot = read_snapshot(self.changes)
        except CorruptArtifact as error:
            raise DataError(str(error)) from None
        overlaid = _overlay(products, snapshot.states)
        log.info(
            f"{len(snapshot.states):,} changed products, up to change {snapshot.position.sequence:,}: "
            f"{len(products):,} products become {len(overlaid):,}"
        )
        return Overlaid(overlaid, snapshot.position)


@dataclass(frozen=True)
class Overlaid:
    """Products, and the change up to which they have all; None without changes."""

    products: Products
    position: Position | None = field(default=None)


def find_products(patterns: Sequence[str]) -> ProductSources:
    """The files that paths, globs and `log:PATH` name. Raises DataError if one names none."""
    logs = list(dict.fromkeys(one for one in patterns if one.startswith(_PREFIX)))
    files = find_files([one for one in patterns if not one.startswith(_PREFIX)], "products")
    if not logs:
        return ProductSources(files)
    path = snapshot_file(Path(logs[0].removeprefix(_PREFIX)))
    if len(logs) > 1:
        raise DataError(f"--products names {len(logs)} logs; a shop has one")
    if not path.is_file():
        raise DataError(f"--products {logs[0]}: there is no {path}; does a recorder run, and were products changed?")
    return ProductSources(files, path)


def _overlay(products: Products, states: Sequence[State]) -> Products:
    """The products without deleted ones, with the changed fields, and with new ones at the end.

    Hidden ones stay: what buyers did with them is worth learning, and the services hide them.
    """
    columns: dict[str, list[Any]] = {one.name: list(getattr(products, one.name)) for one in fields(products)}
    # a catalogue that was read without them has no list
    columns["skus"] = columns["skus"] or [()] * len(products)
    columns["images"] = columns["images"] or [""] * len(products)
    row_of = {ident: row for row, ident in enumerate(products.ids)}
    deleted = set[int]()
    for state in sorted(states, key=lambda one: one.sequence):
        row = row_of.get(state.product_id)
        if state.is_deleted:
            deleted.update([] if row is None else [row])
        elif row is not None:
            for name, value in ({**DEFAULTS, **state.fields} if state.is_whole else state.fields).items():
                columns[_COLUMNS[name]][row] = value
        elif state.is_whole:
            _append(columns, state)
        else:
            log.warning(f"the changes of {state.product_id!r} are left out: no file has this product")
    kept = [row for row in range(len(columns["ids"])) if row not in deleted]
    if not kept:
        raise DataError("the changes delete every product")
    return Products(**{name: [column[row] for row in kept] for name, column in columns.items()})


def _append(columns: dict[str, list[Any]], state: State) -> None:
    columns["ids"].append(state.product_id)
    columns["attributes"].append(())
    columns["searched"].append("")
    columns["skus"].append(())
    for name, value in {**DEFAULTS, **state.fields}.items():
        columns[_COLUMNS[name]].append(value)


def load_products(products: Sequence[str], config: Data, work: Path) -> tuple[Products, Summary]:
    """Reads and checks the products alone. Writes `work`/rejects.csv; raises DataError as `load_dataset` does."""
    sources = find_products(products)
    work.mkdir(parents=True, exist_ok=True)
    with open_rejects(work / "rejects.csv") as rejects:
        checks = RowChecks("products", rejects)
        found = sources.overlay(read_products(sources.files, config, checks))
    checks.check_share(config.max_reject_share)
    for sentence in [*checks.notes, *checks.field_warnings(len(found.products))]:
        log.warning(sentence)
    return found.products, Summary(
        product_rows=checks.rows,
        rejected_products=dict(checks.rejected),
        dropped_products=dict(checks.dropped),
        fields=checks.field_facts(),
        catalogue=found.position,
    )
