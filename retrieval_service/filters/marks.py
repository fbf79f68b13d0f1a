"""Which products of an answer fulfil which conditions, worked out for all products at once and kept.

A list has few of the products, but most lists of a shop have the same conditions.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval_service.filters.conditions import SlotTable, VersionColumns, VersionTable, read_marks
from retrieval_service.live.view import LiveView
from retrieval_service.query import Answer
from twotower.arrays import Int32, Int64
from twotower.caller import check_caller
from twotower.conditions.evaluation import matches
from twotower.conditions.language import Condition
from twotower.sharding import order_of

# what is kept counts for so long: prices, stock and ages change
_SECONDS = 0.5
# sets of conditions that are kept; one is 8 bytes a product
_KEPT = 16
_WORD = 64
_CODES = 1 << 31
_KINDS = ((8, "<u1"), (16, "<u2"), (32, "<u4"), (64, "<u8"))

Bits = NDArray[np.uint64]


class _Tried(NamedTuple):
    """Bits [N + M + 1, words] of the products of a version, then of its live slots, and until when they count."""

    bits: Bits
    slots: int
    until: float


class Packed(NamedTuple):
    """Of the products of an answer: bits, and codes of brands and categories; see `Hits.marks` and what follows it."""

    marks: bytes = b""
    brand_codes: bytes = b""
    category_codes: bytes = b""


_NOTHING = Packed()


class Marks:
    """Of one version. `names`: brands and categories by their codes."""

    def __init__(
        self, columns: VersionColumns, names: tuple[list[str], list[str]], is_name: Callable[[str, str], bool]
    ) -> None:
        self._columns, self._is_name = columns, is_name
        self._kept: OrderedDict[str, _Tried] = OrderedDict()
        self._size = len(columns.price)
        self._code_of = [{name: code for code, name in enumerate(one)} for one in names]
        self._codes = [
            np.where(np.array(one)[codes] == "", -1, codes).astype(np.int32) if one else codes
            for one, codes in zip(names, (columns.codes["brand"], columns.codes["category"]), strict=True)
        ]

    def packed(
        self, view: LiveView | None, texts: Sequence[str], answers: Sequence[Answer], coded: Sequence[bool]
    ) -> list[Packed]:
        """What is said of the products of each answer. `coded`: whether the codes of brands, and of categories, are."""
        found = [_NOTHING] * len(answers)
        for text in set(texts) if any(coded) else set(texts) - {""}:
            check_caller()
            places = [place for place, one in enumerate(texts) if one == text]
            rows = self._rows(view, [answers[place] for place in places])
            bits = _narrowed(self._bits(view, text)[rows], text.count("\n") + 1) if text else None
            brands, categories = self._codes_of(view, rows) if any(coded) else (None, None)
            columns = (bits, brands if coded[0] else None, categories if coded[1] else None)
            start = 0
            for place in places:
                part = slice(start, start := start + len(answers[place].rows))
                found[place] = Packed(*(b"" if one is None else one[part].tobytes() for one in columns))
        return found

    def _codes_of(self, view: LiveView | None, rows: Int64) -> tuple[Int32, Int32]:
        brands, categories = (codes[np.minimum(rows, self._size - 1)] for codes in self._codes)
        if view is None:
            return brands, categories
        slots = view.all_slots
        for place in np.flatnonzero(rows >= self._size).tolist():
            slot = int(rows[place]) - self._size
            for codes, known, names, own in (
                (brands, self._code_of[0], slots.brands, slots.brand),
                (categories, self._code_of[1], slots.categories, slots.category),
            ):
                name = names.name(int(own[slot]))
                codes[place] = known.get(name, _code_of_new(name, len(known))) if name else -1
        return brands, categories

    def _rows(self, view: LiveView | None, answers: Sequence[Answer]) -> Int64:
        """The row of each product, from N on its slot; -1 for one that has left since."""
        rows = np.concatenate([one.rows for one in answers]).astype(np.int64)
        # slots may have moved since
        others = np.flatnonzero((rows < 0) | (rows >= self._size)).tolist()
        if others:
            ids = [one for answer in answers for one in answer.product_ids]
            known, slot_of = self._columns.rows, {} if view is None else view.all_slots.by_id
            for place in others:
                one = ids[place]
                rows[place] = self._size + slot_of[one] if one in slot_of else known.get(one, -1)
        return rows

    def _bits(self, view: LiveView | None, text: str) -> Bits:
        kept, slots = self._kept.get(text), 0 if view is None else view.all_slots.count
        if kept is not None and kept.slots == slots and time.monotonic() < kept.until:
            return kept.bits
        wanted = read_marks(text, "marks")
        # new slots show at once, what is known of the others counts until its time is over
        if kept is not None and time.monotonic() < kept.until:
            trained, until = kept.bits[: self._size], kept.until
        else:
            trained, until = _bits_of(wanted, self._columns.at(None)), time.monotonic() + _SECONDS
        parts = [trained]
        if view is not None and slots:
            table = SlotTable(view.all_slots, np.arange(slots), self._is_name, self._columns.first_seen)
            parts.append(_bits_of(wanted, table))
        # the last row is that of products that have left
        bits = np.concatenate([*parts, np.zeros_like(trained[:1])])
        self._kept[text] = _Tried(bits, slots, until)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return bits


def _code_of_new(name: str, known: int) -> int:
    """The code of a name that the version lacks, behind its own ones: the same in every replica."""
    return known + order_of(name) % (_CODES - known)


def _bits_of(conditions: Sequence[Condition], table: VersionTable | SlotTable) -> Bits:
    bits: Bits = np.zeros((table.size, -(-len(conditions) // _WORD)), np.uint64)
    for place, one in enumerate(conditions):
        bits[:, place // _WORD] |= matches(one, table).astype(np.uint64) << np.uint64(place % _WORD)
    return bits


def _narrowed(bits: Bits, conditions: int) -> NDArray[np.unsignedinteger[Any]] | None:
    """The bits in as few bytes as so many conditions take; None if none is true of any product."""
    if not bits.any():
        return None
    if bits.shape[1] > 1:
        return bits
    return bits[:, 0].astype(next(kind for size, kind in _KINDS if conditions <= size))
