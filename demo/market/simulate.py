"""The event log of the market: sessions of views, carts and purchases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from demo.market.buyers import COMPANIONS, FAVOURITES, Buyers, Market
from demo.market.stock import DAY_SECONDS, DAYS
from twotower.arrays import Float64, Int64, Mask

_BLOCK_EVENTS = 400_000
_LOCAL_OFFSET = 3 * 3_600


# Share of sessions starting in each local hour: quiet before dawn, busiest after the evening prayer.
_HOURS = np.array([5, 4, 2, 1, 0.6, 0.6, 1, 1.5, 2, 2.5, 3, 3.2, 3.5, 3.5, 3.5, 4, 4.5, 5, 5, 5.5, 6.5, 7.5, 7.5, 6.5])


class Log(NamedTuple):
    """Events. `kind` is an index into `EVENT_NAMES` of generate.py; `second` is Unix time."""

    buyer: npt.NDArray[np.int32]
    product: npt.NDArray[np.int32]
    kind: npt.NDArray[np.int8]
    second: Int64

    def take(self, order: Int64 | slice) -> Log:
        """Some of the events."""
        return Log(self.buyer[order], self.product[order], self.kind[order], self.second[order])

    def sorted(self) -> Log:
        """The events by time; those of one second by buyer."""
        return self.take(np.lexsort((self.buyer, self.second)))


@dataclass(frozen=True)
class _Looks:
    """Looks at products, ordered by buyer and then time. A look is one View, with the cart and purchase that follow.

    `session` numbers the sessions of the block, `actions` is the number of events of the look (1 to 3), and `opens`
    marks the first look of a session.
    """

    buyer: Int64
    session: Int64
    actions: Int64
    opens: Mask


def _activity(rng: np.random.Generator, buyers: int, events: int) -> Int64:
    """Number of events of each buyer: heavy-tailed, at least three, `events` in total."""
    raw = rng.lognormal(0.0, 0.95, buyers)
    raw = np.minimum(raw, 30.0 * raw.mean())
    edges = np.floor(np.cumsum(raw) / raw.sum() * (events - 3 * buyers) + 1e-6)
    edges[-1] = events - 3 * buyers
    counts: Int64 = 3 + np.diff(edges, prepend=0.0).astype(np.int64)
    return counts


def _plan_looks(rng: np.random.Generator, counts: Int64, cart_share: Float64) -> _Looks:
    """Decides how far each look goes down the funnel and where sessions end. Buyer `b` gets `counts[b]` events."""
    buyer = np.repeat(np.arange(len(counts)), counts)
    cart = rng.random(len(buyer)) < cart_share[buyer]
    purchase = cart & (rng.random(len(buyer)) < 0.35)
    actions = 1 + cart.astype(np.int64) + purchase
    used = np.cumsum(actions) - actions
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    used -= used[starts][buyer]
    keep = used < counts[buyer]
    buyer, used, actions = buyer[keep], used[keep], actions[keep]
    actions = np.minimum(actions, counts[buyer] - used)
    opens = rng.random(len(buyer)) < 0.17
    opens[0] = True
    opens[1:] |= buyer[1:] != buyer[:-1]
    return _Looks(buyer, np.cumsum(opens) - 1, actions, opens)


def _session_starts(rng: np.random.Generator, buyer: Int64, buyers: int) -> Int64:
    """Start second of each session, ascending for each buyer; `buyer` is the buyer of each session, ascending.

    Gaps are bursty: a buyer returns the same evening, then stays away for days. Buyers join and leave in the period.
    """
    end = DAYS - np.minimum(rng.exponential(9.0, buyers), DAYS * 0.5)
    begin = (end - 8.0) * rng.beta(0.7, 2.2, buyers)
    gap = rng.lognormal(0.0, 1.4, len(buyer))
    total = np.cumsum(gap)
    firsts = np.searchsorted(buyer, np.arange(buyers))
    before = (total - gap)[firsts]
    whole = np.bincount(buyer, gap, buyers) + rng.lognormal(0.0, 0.8, buyers)
    day = begin[buyer] + (total - before[buyer]) / whole[buyer] * (end - begin)[buyer]
    hour = rng.choice(24, len(buyer), p=_HOURS / _HOURS.sum())
    clock = hour * 3_600 + rng.integers(0, 3_600, len(buyer)) - _LOCAL_OFFSET
    second = np.floor(day).astype(np.int64) * DAY_SECONDS + clock
    span = 2 * DAYS * DAY_SECONDS
    # Sessions carry no content yet, so sorting their times for each buyer loses nothing.
    ordered: Int64 = np.sort(buyer * span + second + DAY_SECONDS) - buyer * span - DAY_SECONDS
    return ordered


def _event_seconds(rng: np.random.Generator, looks: _Looks, limit: int) -> Int64:
    """Second of each event, strictly ascending for each buyer, at most `limit`."""
    events_before = np.cumsum(looks.actions) - looks.actions
    event_look = np.repeat(np.arange(len(looks.buyer)), looks.actions)
    step = np.arange(len(event_look)) - events_before[event_look]
    median = np.array([45.0, 25.0, 150.0])[step]
    gap = np.ceil(median * rng.lognormal(0.0, 0.7, len(step))).astype(np.int64)
    opener = looks.opens[event_look] & (step == 0)
    gap[opener] = 0
    session = looks.session[event_look]
    elapsed = np.cumsum(gap)
    first_event = np.flatnonzero(opener)
    elapsed -= elapsed[first_event][session]
    session_buyer = looks.buyer[looks.opens]
    buyers = int(session_buyer[-1]) + 1
    start = _session_starts(rng, session_buyer, buyers)
    # A session may not begin before the previous one of the same buyer is over.
    last_event = np.append(first_event[1:], len(step)) - 1
    busy = elapsed[last_event] + rng.integers(600, 3_000, len(start))
    worked = np.cumsum(busy) - busy
    lane = session_buyer * (1 << 40)
    start = np.maximum.accumulate(start - worked + lane) + worked - lane
    second = start[session] + elapsed
    final_second = second[np.append(np.flatnonzero(np.diff(session_buyer[session])), len(second) - 1)]
    over = np.where(final_second > limit, final_second - limit + rng.integers(0, 6 * 3_600, buyers), 0)
    shifted: Int64 = second - over[session_buyer[session]]
    return shifted


def _browse(market: Market, people: Buyers, rng: np.random.Generator, looks: _Looks, second: Int64) -> Int64:
    """The product of each look. All sessions advance together, one look at a time."""
    first = np.flatnonzero(looks.opens)
    length = np.diff(np.append(first, len(looks.buyer)))
    order = np.argsort(-length, kind="stable")
    first, length = first[order], length[order]
    buyer = looks.buyer[first]
    day = np.clip(second[first] / DAY_SECONDS, 0.0, DAYS - 1e-6)
    week = (day // 7).astype(np.int64)
    product = np.empty(len(looks.buyer), dtype=np.int64)
    slot = people.interest(rng, buyer, day)
    kind = _opening_type(market, people, rng, buyer, slot)
    current = market.pick(rng, week, people.taste(rng, buyer, kind))
    product[first] = current
    for step in range(1, int(length[0])):
        active = int(np.searchsorted(-length, -step, side="left"))
        buyer, day, week = buyer[:active], day[:active], week[:active]
        current = _next_product(market, people, rng, (buyer, day, week), slot[:active], current[:active])
        product[first[:active] + step] = current
    return product


def _opening_type(market: Market, people: Buyers, rng: np.random.Generator, buyer: Int64, slot: Int64) -> Int64:
    """The type that a visit starts with: mostly a favourite, sometimes any type of the category or of the shop."""
    count = len(buyer)
    assortment = market.shelf.assortment
    roll = rng.random(count)
    category = np.where(roll < 0.05, assortment.draw_categories(rng, count), people.category[buyer, slot])
    anything = market.stocked[assortment.draw_types(rng, category)]
    favourite = people.favourites[buyer, slot, rng.integers(0, FAVOURITES, count)]
    return np.where(roll < 0.2, anything, favourite)


def _next_product(
    market: Market,
    people: Buyers,
    rng: np.random.Generator,
    visit: tuple[Int64, Float64, Int64],
    slot: Int64,
    current: Int64,
) -> Int64:
    """The next product of a visit: a companion of the current one, one of the same or a linked type, or any other."""
    buyer, day, week = visit
    count = len(buyer)
    shelf, category_of = market.shelf, market.shelf.assortment.category_of
    roll = rng.random(count)
    here = shelf.kind[current]
    kind = np.where(roll < 0.62, here, market.linked(rng, here))
    favourite = people.favourites[buyer, slot, rng.integers(0, FAVOURITES, count)]
    kind = np.where(roll >= 0.82, favourite, kind)
    other = people.interest(rng, buyer, day)
    kind = np.where(roll >= 0.92, _opening_type(market, people, rng, buyer, other), kind)
    taste = people.taste(rng, buyer, kind)
    follows = (category_of[kind] == category_of[here]) & (rng.random(count) < 0.6)
    taste = taste._replace(style=np.where(follows, shelf.style[current], taste.style))
    product = market.pick(rng, week, taste)
    # The first companion is followed more often than the last: a graded signal, not a fixed chain.
    nth = np.minimum((rng.random(count) ** 1.7 * COMPANIONS).astype(np.int64), COMPANIONS - 1)
    companion = np.where(roll < 0.28, market.complements[current, nth], market.look_alikes[current, nth])
    on_sale = shelf.launch_week[companion] <= week
    product = np.where((roll < 0.45) & on_sale, companion, product)
    again = np.flatnonzero(product == current)
    product[again] = market.pick(rng, week[again], taste.take(again))
    return product


def _restock(market: Market, rng: np.random.Generator, looks: _Looks, second: Int64, product: Int64) -> None:
    """Turns later looks into repeats of an earlier purchase, for types that run out. Changes `product` in place."""
    days = np.array([kind.restock_days for kind in market.shelf.assortment.types])[market.shelf.kind[product]]
    lane = looks.buyer * (1 << 40) + second
    bought = np.flatnonzero(looks.actions == 3)
    source = bought[(days[bought] > 0) & (rng.random(len(bought)) < 0.7)]
    due = lane[source] + (days[source] * rng.uniform(0.7, 1.3, len(source)) * DAY_SECONDS).astype(np.int64)
    for candidates, patience in ((bought, 24), (np.flatnonzero(looks.opens), 30)):
        place = np.searchsorted(lane[candidates], due)
        target = candidates[np.minimum(place, len(candidates) - 1)]
        fits = (place < len(candidates)) & (lane[target] >= due) & (lane[target] - due <= patience * DAY_SECONDS)
        product[target[fits]] = product[source[fits]]
        source, due = source[~fits], due[~fits]


def simulate(market: Market, buyers: int, events: int, seed: int, newest: datetime) -> Log:
    """All events of all buyers, sorted by time."""
    blocks = list(simulate_buyers(market, buyers, events, seed, newest))
    log = Log(*(np.concatenate(column) for column in zip(*blocks, strict=True))).sorted()
    log.second[-1] = int(newest.timestamp())
    return log


def simulate_buyers(market: Market, buyers: int, events: int, seed: int, newest: datetime) -> Iterator[Log]:
    """The events of some buyers at a time, not sorted; about `_BLOCK_EVENTS` of them are in memory at once.

    No event is after `newest`.
    """
    counts = _activity(np.random.default_rng([seed, 3]), buyers, events)
    limit = DAYS * DAY_SECONDS
    for block, (low, high) in enumerate(_blocks(counts)):
        rng = np.random.default_rng([seed, 4, block])
        people = Buyers.invite(market, rng, high - low)
        looks = _plan_looks(rng, counts[low:high], people.cart_share)
        times = _event_seconds(rng, looks, limit)
        begins = np.cumsum(looks.actions) - looks.actions
        seen = _browse(market, people, rng, looks, times[begins])
        _restock(market, rng, looks, times[begins], seen)
        of_look = np.repeat(np.arange(len(begins)), looks.actions)
        yield Log(
            buyer=(looks.buyer[of_look] + low).astype(np.int32),
            product=seen[of_look].astype(np.int32),
            kind=(np.arange(len(of_look)) - begins[of_look]).astype(np.int8),
            second=times + (int(newest.timestamp()) - limit),
        )


def _blocks(counts: Int64) -> Iterator[tuple[int, int]]:
    """Ranges of buyers, each with about `_BLOCK_EVENTS` events."""
    totals = np.cumsum(counts)
    low = 0
    while low < len(counts):
        used = int(totals[low - 1]) if low else 0
        high = max(low + 1, int(np.searchsorted(totals, used + _BLOCK_EVENTS, side="right")))
        yield low, high
        low = high
