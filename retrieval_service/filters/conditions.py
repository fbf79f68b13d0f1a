"""The products of a version, and the live ones, as conditions look at them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from retrieval_service.live.slots import LiveNames, Slots
from twotower.arrays import Float64, Int32, Int64, Mask
from twotower.conditions.language import FACTS, Condition, comparisons
from twotower.conditions.parsing import ConditionError, parse
from twotower.errors import InvalidInput

_DAY_SECONDS = 86_400.0
# of a filter and of the conditions of a query
_MAX_CHARACTERS = 1 << 18


@dataclass(frozen=True)
class VersionColumns:
    """The columns [N] of a version. `codes_of`: field and names → their codes; `codes`: field → codes [N]."""

    rows: Mapping[str, int]
    codes_of: Callable[[str, Sequence[str]], Sequence[int]]
    codes: Mapping[str, Int32]
    price: Float64
    in_stock: Mask
    first_seen: Float64

    def at(self, rows: Int64 | None) -> VersionTable:
        """These rows, or all."""
        return VersionTable(self, rows)


class VersionTable:
    """Rows of a version; see `twotower.conditions.evaluation.Table`."""

    def __init__(self, columns: VersionColumns, rows: Int64 | None) -> None:
        self._columns = columns
        self._at = slice(None) if rows is None else rows
        self._places = rows
        self.size = len(columns.price) if rows is None else len(rows)

    def equal(self, field: str, values: Sequence[str]) -> Mask:
        if field == "product_id":
            rows = [row for row in map(self._columns.rows.get, values) if row is not None]
            return _among(rows, self._places, self.size)
        found: Mask = np.isin(self._columns.codes[field][self._at], self._columns.codes_of(field, values))
        return found

    def number(self, field: str) -> Float64:
        columns = self._columns
        numbers: Float64 = columns.price[self._at] if field == "price" else _ages(columns.first_seen[self._at])
        return numbers

    def flag(self, field: str) -> Mask:
        flags: Mask = self._columns.in_stock[self._at]
        return flags


class SlotTable:
    """Live products, by their slots. `is_name`: kind and name → whether the version has it, so it is meant exactly."""

    def __init__(self, slots: Slots, chosen: Int64, is_name: Callable[[str, str], bool], first_seen: Float64) -> None:
        self._slots, self._chosen, self._is_name, self._first_seen = slots, chosen, is_name, first_seen
        self.size = len(chosen)

    def equal(self, field: str, values: Sequence[str]) -> Mask:
        if field == "product_id":
            return np.isin(self._chosen, self._slots.slots_of(values))
        names, codes = self._column(field)
        wanted = [code for one in values for code in names.codes(one, is_name=self._is_name(field, one))]
        found: Mask = np.isin(codes[self._chosen], wanted)
        return found

    def number(self, field: str) -> Float64:
        if field == "price":
            prices: Float64 = self._slots.price[self._chosen]
            return prices
        base = self._slots.base[self._chosen]
        # what the version does not have is new
        return np.where(base < 0, 0.0, _ages(self._first_seen[np.maximum(base, 0)]))

    def flag(self, field: str) -> Mask:
        flags: Mask = self._slots.in_stock[self._chosen]
        return flags

    def _column(self, field: str) -> tuple[LiveNames, Int64]:
        slots = self._slots
        return (slots.brands, slots.brand) if field == "brand" else (slots.categories, slots.category)


def read_condition(text: str, field: str) -> Condition:
    """The condition of a query. Raises InvalidInput for `field` if it is none, or depends on more than a product."""
    if len(text) > _MAX_CHARACTERS:
        raise InvalidInput(field, len(text), f"characters, the limit is {_MAX_CHARACTERS}")
    try:
        condition = parse(text)
    except ConditionError as error:
        raise InvalidInput(field, text, str(error)) from None
    facts = [one.field for one in comparisons(condition) if one.field in FACTS]
    if facts:
        raise InvalidInput(field, text, f"{facts[0]} is no field of a product")
    return condition


def read_marks(text: str, field: str) -> list[Condition]:
    """The conditions of a query, one a line; none of the empty text."""
    return [read_condition(line, field) for line in text.split("\n")] if text else []


def _among(wanted: Sequence[int], rows: Int64 | None, size: int) -> Mask:
    if rows is not None:
        found: Mask = np.isin(rows, wanted)
        return found
    mask: Mask = np.zeros(size, np.bool_)
    mask[list(wanted)] = True
    return mask


def _ages(first_seen: Float64) -> Float64:
    """Days since a product was first seen, NaN if that is not known."""
    ages: Float64 = (time.time() - first_seen) / _DAY_SECONDS
    return ages
