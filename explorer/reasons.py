"""The reasons of a list as the pages show them: a sentence, shares in percent, and the history behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

# what carries a score beside the products of a history, in the order shown
_PARTS = ("taste", "popularity", "others")
# a smaller part is not worth a line
_SHOWN = 0.005


def with_reasons(rows: Sequence[dict[str, Any]], reasons: Sequence[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """Adds `reason` to each row; nothing if the gateway gave none."""
    if reasons is None:
        return list(rows)
    return [row | {"reason": reason} for row, reason in zip(rows, reasons, strict=True)]


def with_shares(rows: Sequence[dict[str, Any]], products: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Adds `shares` to each row with a history behind it: what carries its score, with titles and percent."""
    return [row | {"shares": _shares(row["reason"], products)} if "reason" in row else row for row in rows]


def numbered(history: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The history with an `anchor` at each product's newest event, and how many rows each product carries."""
    named = Counter(one["product_id"] for row in rows for one in row.get("reason", {}).get("because", ()))
    met, found = set[str](), []
    for one in history:
        product_id = one["product_id"]
        found.append(one | {"anchor": product_id not in met, "carries": named[product_id]})
        met.add(product_id)
    return found


def _shares(reason: Mapping[str, Any], products: Mapping[str, Any]) -> list[dict[str, Any]]:
    shares: list[dict[str, Any]] = [
        {
            "product_id": one["product_id"],
            "event_type": one["event_type"],
            "title": products.get(one["product_id"], {}).get("title") or one["product_id"],
            "share": one["share"],
        }
        for one in reason["because"]
    ]
    parts = [{"part": name, "share": reason[name]} for name in _PARTS if reason[name] is not None]
    return shares + [one for one in parts if abs(one["share"]) >= _SHOWN]
