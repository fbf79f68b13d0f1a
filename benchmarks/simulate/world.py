"""What is true in the simulated shop: products that arrive, buyers with tastes, and what attracts whom.

All of it is the demo market's own model of its buyers; nothing here reads a trained model or shares code with one.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from demo.market.buyers import Buyers, Market
from demo.market.catalogue import load_catalogue
from demo.market.generate import EVENT_NAMES
from demo.market.simulate import simulate
from demo.market.stock import DAYS, WEEKS, Assortment, Shelf, identifiers, stock
from demo.market.titles import product_rows
from twotower.arrays import Float64, Int64, Mask

# the end of the log that the first model is trained on
DAY_ONE = datetime(2025, 6, 30, 22, 0, tzinfo=UTC)
# share of the products that arrive in the simulated days
_ARRIVING = 0.4
# how much a product attracts a buyer, for each thing that is not as the buyer wants it
_OTHER_INTEREST, _NO_INTEREST, _OTHER_TYPE = 0.35, 0.02, 0.3
_OTHER_STYLE, _OTHER_LEVEL, _OTHER_BRAND = 0.5, 0.6, 0.7
_HIGHEST = 0.8
# a product in its first weeks attracts up to twice as much
_FRESH_DAYS = 17.0
_UNITS = (8, 60)


@dataclass(frozen=True)
class World:
    """The market: P products, B buyers. `arrival` [P] is the day on which a product comes, 0 if it was there before.

    `rows` are the products as products.csv holds them; `units` [P] how many pieces there are between two deliveries.
    """

    market: Market
    people: Buyers
    ids: list[str]
    buyer_ids: list[str]
    arrival: Int64
    units: Int64
    rows: list[tuple[str, str, str, str]]
    visit_share: Float64
    seed: int

    @classmethod
    def build(cls, products: int, buyers: int, days: int, seed: int) -> World:
        """Draws the world from the seed. As in the demo, the best product of each type is there from the start."""
        assortment = Assortment.of(load_catalogue())
        shelf = stock(assortment, np.random.default_rng([seed, 1]), products)
        draw = np.random.default_rng([seed, 11])
        late = (draw.random(products) < _ARRIVING) & (shelf.weight < 1)
        arrival = np.where(late, draw.integers(2, max(3, days - 4), products), 0)
        shelf = Shelf(**{**shelf.__dict__, "launch_week": np.where(late, WEEKS, 0)})
        market = Market.build(shelf, np.random.default_rng([seed, 2]))
        return cls(
            market=market,
            # the same people as those of `simulate`
            people=Buyers.invite(market, np.random.default_rng([seed, 4, 0]), buyers),
            ids=identifiers("P", products, 6).tolist(),
            buyer_ids=identifiers("B", buyers, 5).tolist(),
            arrival=arrival,
            units=draw.integers(*_UNITS, products),
            rows=[(row[0], row[1], row[2], row[3]) for row in product_rows(shelf, random.Random(seed))],
            visit_share=draw.beta(2.0, 2.0, buyers),
            seed=seed,
        )

    def write_history(self, path: Path, events: int) -> None:
        """Writes events.csv: what the buyers did before the first day."""
        log = simulate(self.market, len(self.buyer_ids), events, self.seed, DAY_ONE)
        frame = pl.DataFrame(
            {
                "distinct_id": np.array(self.buyer_ids)[log.buyer],
                "product_id": np.array(self.ids)[log.product],
                "event_name": np.array(EVENT_NAMES)[log.kind],
                "created_at": log.second,
            }
        )
        frame.write_csv(path)

    def write_products(self, path: Path, day: int, sold_out: Mask) -> None:
        """Writes products.csv as it is on a day: what has arrived, and what is sold out [P]."""
        rows = []
        for place, (ident, title, description, metadata) in enumerate(self.rows):
            if self.arrival[place] <= day:
                stocked = metadata.replace('"in_stock": false', '"in_stock": true')
                rows.append((ident, title, description, _sold_out(stocked) if sold_out[place] else stocked))
        names = ["product_id", "title", "description", "metadata"]
        pl.DataFrame(rows, schema=names, orient="row").write_csv(path)

    def arriving(self, day: int) -> dict[str, dict[str, Any]]:
        """The products that come on a day, as PUT /products takes them: id → fields."""
        found = {}
        for place in np.flatnonzero(self.arrival == day).tolist():
            ident, title, description, metadata = self.rows[place]
            given = {**json.loads(metadata), "in_stock": True}
            fields = {name: given[name] for name in ("brand", "category", "price", "currency", "in_stock")}
            found[ident] = {"title": title, "description": description, **fields}
        return found

    def interests(self, day: int) -> Int64:
        """The interest [B] that drives each buyer's visit on a day."""
        rng, buyers = np.random.default_rng([self.seed, 21, day]), len(self.buyer_ids)
        return self.people.interest(rng, np.arange(buyers), np.full(buyers, float(DAYS + day)))

    def appeal(self, day: int, slot: Int64) -> Float64:
        """The probability [B, P] that a buyer who looks at a product clicks on it, for a visit with interest `slot`."""
        shelf, people = self.market.shelf, self.people
        category = shelf.assortment.category_of[shelf.kind]  # [P]
        everyone = np.arange(len(self.buyer_ids))
        matched = people.category[:, :, None] == category  # [B, interests, P]
        active = np.isfinite(people.base)[:, :, None]
        matched &= active
        current = matched[everyone, slot]  # [B, P]
        known = matched.any(axis=1)
        place = matched.argmax(axis=1)  # [B, P]
        by_interest = np.where(current, 1.0, np.where(known, _OTHER_INTEREST, _NO_INTEREST))
        place = np.where(current, slot[:, None], place)
        column = everyone[:, None]
        types = (people.favourites[column, place] == shelf.kind[:, None]).any(axis=2)
        gap = np.abs(people.price_level[column, place] - shelf.price_level)
        quality = 0.35 + 0.65 * np.sqrt(shelf.weight)
        age = np.where(self.arrival > 0, day - self.arrival, np.inf)
        fresh = np.where(age >= 0, 1 + np.exp(-np.maximum(age, 0) / _FRESH_DAYS), 0.0)
        appeal = by_interest * np.where(types, 1.0, _OTHER_TYPE) * quality * fresh
        appeal *= np.where(people.style[column, place] == shelf.style, 1.0, _OTHER_STYLE)
        appeal *= np.where(people.brand[column, place] == shelf.brand, 1.0, _OTHER_BRAND)
        appeal *= _OTHER_LEVEL**gap
        result: Float64 = np.minimum(appeal, _HIGHEST)
        return result


def _sold_out(metadata: str) -> str:
    return metadata.replace('"in_stock": true', '"in_stock": false')
