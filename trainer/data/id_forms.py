"""Ids that differ only in how they are written: found, so that the run can say so."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Sequence

import polars as pl

from twotower.arrays import Int64
from twotower.events import INVISIBLE

_DIGITS = {chr(zero + digit): str(digit) for zero in (0x660, 0x6F0) for digit in range(10)}
_LATIN = str.maketrans(_DIGITS)
_UNSEEN = re.compile(f"[{re.escape(INVISIBLE)}]")
# what both sides are compared without, and how to say it
_CHANGES: list[tuple[str, Callable[[str], str]]] = [
    ("without .0 at their end", lambda ident: ident.removesuffix(".0")),
    ("without regard to zeros at their start", lambda ident: ident.lstrip("0")),
    ("without regard to capital letters", str.casefold),
    ("with digits of another script", lambda ident: ident.translate(_LATIN)),
    ("in another normal form (NFKC)", lambda ident: unicodedata.normalize("NFKC", ident)),
    ("without characters that cannot be seen", lambda ident: _UNSEEN.sub("", ident)),
    ("without commas", lambda ident: ident.replace(",", "")),
    ("without signs around them", lambda ident: re.sub(r"^[\W_]+|[\W_]+$", "", ident)),
    ("as the part after their last slash", lambda ident: ident.rsplit("/", 1)[-1]),
]
# of the unknown ids that a change must explain
_SHARE = 0.5
# ids that tables write where no buyer is known
_WORDS = (
    "nan null none nil n/a na undefined unknown anonymous anon guest visitor - 0 0.0 -1 false {} [] \\n #n/a <na> "
    "زائر ضيف مجهول"
)
_PHRASES = ["(not set)", "not set", "غير معروف", "غير مسجل", "غير محدد", "لا يوجد", "null@null.com", "anonymous_user"]
NO_ONE = frozenset([*_WORDS.split(), *_PHRASES, "00000000-0000-0000-0000-000000000000"])
# warns of one buyer with more of the events than this, among at least so many buyers
_ROBOT_SHARE, _MANY_BUYERS = 0.1, 20


def explain_unknown(unknown: Collection[str], known: Sequence[str]) -> list[str]:
    """A sentence if most of the `unknown` ids would be `known`, written in another way."""
    for what, change in _CHANGES:
        found = {change(ident) for ident in unknown} & {change(ident) for ident in known} if unknown else set()
        if found and len(found) >= _SHARE * len(unknown):
            return [f"{len(found):,} of {len(unknown):,} of these product ids would be in the catalogue {what}"]
    return []


def warn_of_look_alikes(what: str, ids: Sequence[str]) -> list[str]:
    """A sentence if some ids differ only in how they are written."""
    folded = (
        pl.Series(ids, dtype=pl.String)
        .str.normalize("NFKC")
        .str.to_lowercase()
        .str.replace_many(list(_DIGITS), list(_DIGITS.values()))
        .str.replace_all(_UNSEEN.pattern, "")
        # of spreadsheets and pandas, in ids that are numbers
        .str.replace(r"^0*([0-9]+?)(?:\.0)?$", "$1")
    )
    if not (alike := len(ids) - folded.n_unique()):
        return []
    first = folded[folded.is_duplicated().arg_true()[0]]
    pair = [ids[row] for row in (folded == first).arg_true()[:2]]
    return [
        f"{alike:,} ids of {what} differ from another one only by capital letters, the script of digits, normal form, "
        f"characters that cannot be seen, zeros at the start or .0 at the end, as {' and '.join(map(ascii, pair))}; "
        f"they count as different {what}"
    ]


def warn_of_no_one(buyers: Sequence[str], events: Int64) -> list[str]:
    """A sentence if ids of buyers, with so many events [buyers], look as if they stood for no one."""
    found = {buyer: int(count) for buyer, count in zip(buyers, events, strict=True) if buyer.casefold() in NO_ONE}
    if not found:
        return []
    shown = ", ".join(f"{buyer!r} ({count:,} events)" for buyer, count in found.items())
    return [f"buyers whose id looks like none: {shown}; leave them out with data.unknown_buyers=[{', '.join(found)}]"]


def warn_of_robots(buyers: Sequence[str], events: Int64) -> list[str]:
    """A sentence if one buyer has a large part of the events [buyers]."""
    most, total = int(events.argmax()), int(events.sum())
    if len(buyers) < _MANY_BUYERS or events[most] <= _ROBOT_SHARE * total:
        return []
    return [
        f"one buyer, {buyers[most]!r}, has {events[most]:,} of {total:,} events: a robot or a till? Popularity counts "
        "a buyer once for a product; data.unknown_buyers leaves the buyer out"
    ]
