"""Ids that differ only in how they are written: found, so that the run can say so."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import polars as pl

# what both sides are compared without, and how to say it
_CHANGES: list[tuple[str, Callable[[str], str]]] = [
    ("without .0 at their end", lambda ident: ident.removesuffix(".0")),
    ("without regard to zeros at their start", lambda ident: ident.lstrip("0")),
    ("without regard to capital letters", str.casefold),
]
# of the unknown ids that a change must explain
_SHARE = 0.5


def explain_unknown(unknown: Collection[str], known: Sequence[str]) -> list[str]:
    """A sentence if most of the `unknown` ids would be `known`, written in another way."""
    for what, change in _CHANGES:
        found = {change(ident) for ident in unknown} & {change(ident) for ident in known} if unknown else set()
        if found and len(found) >= _SHARE * len(unknown):
            return [f"{len(found):,} of {len(unknown):,} of these product ids would be in the catalogue {what}"]
    return []


def warn_of_look_alikes(what: str, ids: Sequence[str]) -> list[str]:
    """A sentence if some ids differ only by capital letters, normal form or the script of digits."""
    folded = pl.Series(ids, dtype=pl.String).str.normalize("NFKC").str.to_lowercase()
    if not (alike := len(ids) - folded.n_unique()):
        return []
    pair = [ids[row] for row in folded.is_duplicated().arg_true()[:2]]
    return [
        f"{alike:,} ids of {what} differ from another one only by capital letters or normal form, "
        f"as {' and '.join(map(repr, pair))}; they count as different {what}"
    ]
