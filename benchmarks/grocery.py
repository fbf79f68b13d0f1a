"""A SYNTHETIC grocery: weekly baskets of staples that change slowly, and a few other products.

Each buyer has a dozen staples, each taken in some weeks and not in others. After about ten weeks a staple gives way to
another product of its category. Every basket adds products of the buyer's categories, the popular ones most.
"""

from __future__ import annotations

import csv
import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

PRODUCTS, CATEGORIES, BUYERS, WEEKS = 1200, 30, 800, 26
_STAPLES, _LIKED, _OTHERS = 12, 8, 3
# share of weeks in which a staple is taken, and the chance per week that it is replaced
_LEAST, _MOST, _REPLACED = 0.2, 0.9, 0.1
_START = datetime(2025, 1, 6, 9, tzinfo=UTC)


class _Buyer(NamedTuple):
    """The categories that a buyer likes, and each staple with the share of weeks in which it is taken."""

    liked: list[int]
    staples: dict[int, float]


def write_grocery(folder: Path, seed: int = 7, buyers: int = BUYERS, weeks: int = WEEKS) -> None:
    """Writes events.csv and products.csv."""
    draw = random.Random(seed)
    with (folder / "products.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["product_id", "title", "description", "metadata"])
        for product in range(PRODUCTS):
            category = f"aisle {product % CATEGORIES}"
            table.writerow([f"g{product}", f"{category} product {product}", "", json.dumps({"category": category})])
    with (folder / "events.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["distinct_id", "product_id", "event_name", "created_at"])
        for buyer in range(buyers):
            for moment, basket in _baskets(draw, weeks):
                table.writerows([f"b{buyer}", f"g{product}", "Purchase", moment.isoformat()] for product in basket)


def _baskets(draw: random.Random, weeks: int) -> list[tuple[datetime, list[int]]]:
    """A buyer's baskets: one on the same day of each week, unless it would be empty."""
    liked = draw.sample(range(CATEGORIES), _LIKED)
    buyer = _Buyer(liked, {})
    while len(buyer.staples) < _STAPLES:
        buyer.staples[_product(draw, draw.choice(liked))] = draw.uniform(_LEAST, _MOST)
    day = _START + timedelta(days=draw.randrange(7), minutes=draw.randrange(600))
    baskets = []
    for week in range(weeks):
        for product in list(buyer.staples):
            if draw.random() < _REPLACED:
                share = buyer.staples.pop(product)
                buyer.staples[_product(draw, product % CATEGORIES)] = share
        basket = {product for product, share in buyer.staples.items() if draw.random() < share}
        basket |= {_product(draw, draw.choice(liked)) for _ in range(draw.randrange(_OTHERS + 1))}
        if basket:
            baskets.append((day + timedelta(weeks=week), sorted(basket)))
    return baskets


def _product(draw: random.Random, category: int) -> int:
    """A product of a category; the first ones are popular."""
    place = int(PRODUCTS // CATEGORIES * draw.random() ** 2)
    return place * CATEGORIES + category
