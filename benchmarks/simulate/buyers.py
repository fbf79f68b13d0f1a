"""How simulated buyers behave in front of a list: they look, click, buy, and get bored.

A position-based click model (Craswell et al., WSDM 2008): a click needs a look, whose chance falls with the rank, and
appeal, which does not depend on it. All shops get the same random numbers: at the same place the same buyer looks at
the same ranks, and has the same luck with the same product.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from benchmarks.simulate.world import DAY_ONE, World
from twotower.arrays import Float64, Int64, Mask

K = 10
# chance of a look at each rank
LOOKS = np.arange(1, K + 1) ** -0.6
# lists in one visit
_LISTS = 2
# what is left of the appeal after each time a product was shown in vain, clicked on, or bought
_SHOWN, _CLICKED, _BOUGHT = 0.85, 0.5, 0.1
_PURCHASE_OF_CART = 0.35
_DELIVERY_DAYS = 7
_DAY_MS = 86_400_000
# products that a buyer of a shop without histories has seen, which the shop leaves out
_REMEMBERED = 50


class Served(NamedTuple):
    """What a shop answers: rows of products, best first, and the id of the list."""

    products: list[int]
    recommendation_id: str


class Day(NamedTuple):
    """What all shops share on one day: who visits (in this order), what attracts them, and all random numbers.

    `appeal` [B, P]; `looks` [lists, B, K]; `luck` [lists, B, P]; `mood` [lists, B, 2, P] decides on cart and purchase.
    `found` [B] are products that buyers find by themselves.
    """

    number: int
    visitors: Int64
    appeal: Float64
    looks: Float64
    luck: Float64
    mood: Float64
    found: Int64


class Counts(NamedTuple):
    """One shop's day: products shown, clicks, clicks on products that came after day one, purchases."""

    shown: int
    clicks: int
    new_clicks: int
    new_shown: int
    purchases: int


def draw_day(world: World, number: int) -> Day:
    """The same day for every shop."""
    rng, (buyers, products) = np.random.default_rng([world.seed, 31, number]), (len(world.buyer_ids), len(world.ids))
    appeal = world.appeal(number, world.interests(number))
    appeal[:, world.arrival > number] = 0
    visitors = rng.permutation(np.flatnonzero(rng.random(buyers) < world.visit_share))
    chosen = np.cumsum(appeal, axis=1)
    found = (chosen < rng.random((buyers, 1)) * chosen[:, -1:]).sum(axis=1)
    looks, luck = rng.random((_LISTS, buyers, K)), rng.random((_LISTS, buyers, products))
    return Day(number, visitors, appeal, looks, luck, rng.random((_LISTS, buyers, 2, products)), found)


@dataclass
class Shop:
    """One shop as its buyers know it: `ask` gives a list for a buyer; `tell` takes what happened, if it is given;
    `wake` is called as a day begins.

    `interest` [B, P] is what boredom leaves of the appeal. `left` [P] are the pieces in stock, `due` [P] the day of the
    next delivery.
    """

    name: str
    world: World
    ask: Callable[[str, Sequence[int]], Served]
    tell: Callable[[list[dict[str, Any]]], None] | None
    wake: Callable[[], None]
    interest: Float64 = field(init=False)
    left: Int64 = field(init=False)
    due: Int64 = field(init=False)
    seen: dict[int, list[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.interest = np.ones((len(self.world.buyer_ids), len(self.world.ids)))
        self.left = self.world.units.copy()
        self.due = np.zeros(len(self.world.ids), np.int64)

    @property
    def sold_out(self) -> Mask:
        return self.left <= 0

    def live(self, day: Day) -> Counts:
        """All visits of a day."""
        self.wake()
        delivered = self.sold_out & (self.due <= day.number)
        self.left[delivered] = self.world.units[delivered]
        total = np.zeros(5, np.int64)
        for place, buyer in enumerate(day.visitors.tolist()):
            # the visits are spread over the day
            moment = int(DAY_ONE.timestamp() * 1000) + (day.number - 1) * _DAY_MS
            moment += round((place + 1) / (len(day.visitors) + 2) * _DAY_MS)
            total += self._visit(day, buyer, moment)
        return Counts(*total.tolist())

    def _visit(self, day: Day, buyer: int, moment: int) -> Int64:
        """Finds one product alone, then looks at two lists; says what happened after each."""
        counts = np.zeros(5, np.int64)
        self._tell(buyer, [(int(day.found[buyer]), "View", None)], moment)
        for nth in range(_LISTS):
            served = self.ask(self.world.buyer_ids[buyer], self.seen.get(buyer, []))
            events = list(self._look(day, nth, buyer, served))
            self._tell(buyer, events, moment + 60_000 * (nth + 1))
            clicked = [product for product, event, _ in events if event == "View"]
            is_new = self.world.arrival > 0
            bought = sum(event == "Purchase" for _, event, _ in events)
            counts += [
                len(served.products),
                len(clicked),
                int(is_new[clicked].sum()),
                int(is_new[served.products].sum()),
                bought,
            ]
        return counts

    def _look(self, day: Day, nth: int, buyer: int, served: Served) -> Iterator[tuple[int, str, str | None]]:
        """The events of a list: (product, event, list)."""
        for rank, product in enumerate(served.products):
            if day.looks[nth, buyer, rank] >= LOOKS[rank]:
                continue
            stocked = 1.0 if self.left[product] > 0 else 0.15
            appeal = day.appeal[buyer, product] * self.interest[buyer, product] * stocked
            if day.luck[nth, buyer, product] >= appeal:
                self.interest[buyer, product] *= _SHOWN
                continue
            self.interest[buyer, product] *= _CLICKED
            yield product, "View", served.recommendation_id
            cart, purchase = day.mood[nth, buyer, :, product]
            if cart >= self.world.people.cart_share[buyer] or self.left[product] <= 0:
                continue
            yield product, "AddToCart", served.recommendation_id
            if purchase < _PURCHASE_OF_CART:
                self.interest[buyer, product] *= _BOUGHT
                self.left[product] -= 1
                self.due[product] = day.number + _DELIVERY_DAYS
                yield product, "Purchase", served.recommendation_id

    def _tell(self, buyer: int, events: Sequence[tuple[int, str, str | None]], moment: int) -> None:
        seen = self.seen.setdefault(buyer, [])
        seen.extend(product for product, _, _ in events if product not in seen)
        del seen[:-_REMEMBERED]
        if self.tell is None or not events:
            return
        rows = [
            {
                "buyer_id": self.world.buyer_ids[buyer],
                "product_id": self.world.ids[product],
                "event_type": event,
                "timestamp": str(moment + 1000 * place),
            }
            | ({"recommendation_id": named} if named else {})
            for place, (product, event, named) in enumerate(events)
        ]
        self.tell(rows)
