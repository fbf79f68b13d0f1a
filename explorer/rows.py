"""Lists of products as the rows of a page."""

from __future__ import annotations

from typing import Any

from explorer.gateway import Answer
from explorer.reasons import with_reasons


def rows_of(answer: Answer) -> list[dict[str, Any]]:
    """The rows of a list, each with its place, and with reasons if the answer has them."""
    body = answer.body
    rows = [
        {"place": place, "product": product, "score": score}
        for place, (product, score) in enumerate(zip(body["products"], body["scores"], strict=True), 1)
    ]
    return with_reasons(rows, body.get("reasons"))


def mark_changes(rows: list[dict[str, Any]], before: list[str]) -> list[dict[str, Any]]:
    """Adds `change` to each row, against an earlier list of ids: "new", or by how many places it rose (negative: fell).

    Without an earlier list nothing is marked.
    """
    if not before:
        return rows
    places = {product_id: place for place, product_id in enumerate(before, 1)}
    return [
        row | {"change": places[one] - row["place"] if (one := row["product"]["product_id"]) in places else "new"}
        for row in rows
    ]


def previewed_rows(products: list[dict[str, Any]], before: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a preview's list, marked against the list before."""
    rows = [
        {"place": place, "product": one, "score": one["score"], "placed_by": one["placed_by"]}
        for place, one in enumerate(products, 1)
    ]
    return mark_changes(rows, [] if products is before else [one["product_id"] for one in before])
