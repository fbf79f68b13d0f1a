"""Session-based nearest neighbours, V-SKNN and STAN: baselines for shops whose buyers come without a login.

A training session is a buyer's training events. A case is answered by the sessions that share a product with it.
Products of the history are candidates like all others.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import sparse

from trainer.data.events import Events
from trainer.data.split import Cases
from trainer.evaluate.baselines import Scorer
from twotower.arrays import Float32, Float64, Int64
from twotower.events import DAY_MS

# the weight of the product at a place of a history, from the place (1 = first) and the history's length
Weigh = Callable[[Int64, Int64], Float64]


class VsknnSettings(NamedTuple):
    """V-SKNN as session-rec tuned it for Diginetica.

    `neighbours` nearest sessions of the `recent` newest ones that share a product; `idf`: weight of a candidate's
    inverse document frequency.
    """

    neighbours: int = 1500
    recent: int = 10_000
    idf: float = 10.0


class StanSettings(NamedTuple):
    """STAN as session-rec tuned it for Diginetica.

    `history`: places in the history after which a product weighs 1/e; `days`: the same for a session's age;
    `distance`: the same for a candidate's distance from the shared product, in places of the neighbour.
    """

    neighbours: int = 500
    recent: int = 5000
    history: float = 1.25
    days: float = 80.0
    distance: float = 5.0


class Sessions(NamedTuple):
    """Training sessions, oldest first [S], and their distinct products with the last place [E] of each (1 = first).

    `end` [S] is the last event's time. `products` [E] and `places` [E] are grouped by session: `bounds` [S + 1].
    `holders` [E] are the sessions of each product and `held` [E] their entries: grouped by product, `holder_bounds`
    [N + 1].
    """

    end: Int64
    bounds: Int64
    products: Int64
    places: Int64
    holder_bounds: Int64
    holders: Int64
    held: Int64

    @property
    def sizes(self) -> Int64:
        return np.diff(self.bounds)


class Pairs(NamedTuple):
    """Cases and the training sessions that share a product with them [P], sorted by case.

    `weight`: sum of the weights that the shared products have in the case. `step`: how far back the newest shared
    product is in the case (1 = last). `place`: its last place in the session.
    """

    row: Int64
    session: Int64
    weight: Float64
    step: Int64
    place: Int64

    def take(self, chosen: Int64) -> Pairs:
        row, session, weight, step, place = self
        return Pairs(row[chosen], session[chosen], weight[chosen], step[chosen], place[chosen])


def vsknn_scorer(events: Events, train_stop: Int64, products: int, settings: VsknnSettings | None = None) -> Scorer:
    """V-SKNN: sessions weighted by the shared products, which weigh (place / length)^2.

    A session's candidates weigh 0.1 less for each step back of the newest shared product, and more if they are rare.
    Source: Ludewig and Jannach 2018, "Evaluation of Session-based Recommendation Algorithms"; idf as in session-rec.
    """
    chosen = settings or VsknnSettings()
    sessions = group_sessions(events, train_stop, products)
    counts = np.bincount(events.product[_training(events, train_stop)], minlength=products)
    idf = np.log(len(sessions.end) / np.maximum(counts, 1))
    values = 1 + chosen.idf * idf[sessions.products]
    shape = (len(sessions.end), products)
    candidates = sparse.csr_matrix((values, sessions.products, sessions.bounds), shape=shape, dtype=np.float32)

    def score(cases: Cases) -> Float32:
        pairs = shared_products(events, cases, sessions, lambda place, length: (place / length) ** 2)
        pairs = pairs.take(_first_of_rows(pairs.row, -sessions.end[pairs.session], chosen.recent))
        pairs = pairs.take(_first_of_rows(pairs.row, -pairs.weight, chosen.neighbours))
        values = pairs.weight * np.maximum(1 - 0.1 * pairs.step, 0)
        found = sparse.csr_matrix((values, (pairs.row, pairs.session)), shape=(len(cases), len(sessions.end)))
        return np.asarray((found.astype(np.float32) @ candidates).todense(), np.float32)

    return score


def stan_scorer(events: Events, train_stop: Int64, products: int, settings: StanSettings | None = None) -> Scorer:
    """STAN: the cosine of the case and a session, times three decays.

    They are exponential: in the history's places, in the session's age, and in the candidate's distance from the newest
    shared product. Source: Garg et al. 2019, "Sequence and Time Aware Neighborhood for Session-based Recommendations".
    """
    chosen = settings or StanSettings()
    sessions = group_sessions(events, train_stop, products)

    def weigh(place: Int64, length: Int64) -> Float64:
        return np.exp((place - length) / chosen.history)

    def score(cases: Cases) -> Float32:
        pairs = shared_products(events, cases, sessions, weigh)
        pairs = pairs.take(_first_of_rows(pairs.row, -sessions.end[pairs.session], chosen.recent))
        row, _, place, length = _distinct(events, cases)
        norms = np.sqrt(np.bincount(row, weigh(place, length) ** 2, minlength=len(cases)))
        age = (events.time[cases.cut - 1][pairs.row] - sessions.end[pairs.session]) / DAY_MS
        cosine = pairs.weight / (norms[pairs.row] * np.sqrt(sessions.sizes[pairs.session]))
        near = cosine * np.exp(-age / chosen.days)
        best = _first_of_rows(pairs.row, -near, chosen.neighbours)
        pairs, near = pairs.take(best), near[best]
        pair, entry = _expand(sessions.bounds[pairs.session], sessions.sizes[pairs.session])
        distance = np.abs(sessions.places[entry] - pairs.place[pair])
        values = near[pair] * np.exp(-distance / chosen.distance)
        places = (pairs.row[pair], sessions.products[entry])
        scores = sparse.csr_matrix((values.astype(np.float32), places), shape=(len(cases), products))
        return np.asarray(scores.todense(), np.float32)

    return score


def group_sessions(events: Events, train_stop: Int64, products: int) -> Sessions:
    """Returns the sessions that have a training event, sorted by the time of their last one."""
    used = np.flatnonzero(train_stop > events.start[:-1])
    used = used[np.argsort(events.time[train_stop[used] - 1], kind="stable")]
    sizes = train_stop[used] - events.start[used]
    session, event = _expand(events.start[used], sizes)
    place = event - events.start[used][session] + 1
    code = session * products + events.product[event]
    keys, newest = np.unique(code[::-1], return_index=True)  # the first in reverse is the last place
    owner, product = keys // products, keys % products
    by_product = np.argsort(product, kind="stable")
    return Sessions(
        events.time[train_stop[used] - 1],
        np.searchsorted(owner, np.arange(len(used) + 1)),
        product,
        place[::-1][newest],
        np.searchsorted(product[by_product], np.arange(products + 1)),
        owner[by_product],
        by_product,
    )


def shared_products(events: Events, cases: Cases, sessions: Sessions, weigh: Weigh) -> Pairs:
    """Returns every pair of a case and a session with a product in common.

    `weigh(place, length)` gives the weight of the product at a place of a history; a repeated product has the last.
    """
    row, product, place, length = _distinct(events, cases)
    first = sessions.holder_bounds[product]
    source, entry = _expand(first, sessions.holder_bounds[product + 1] - first)
    session = sessions.holders[entry]
    step = (length - place + 1)[source]
    order = np.lexsort((step, session, row[source]))
    source, session, step, entry = source[order], session[order], step[order], entry[order]
    code = row[source] * len(sessions.end) + session
    starts = np.flatnonzero(np.diff(code, prepend=-1))
    weight = np.add.reduceat(weigh(place, length)[source], starts) if len(starts) else np.zeros(0)
    place_in_session = sessions.places[sessions.held[entry[starts]]]
    # a pair's products are sorted by step: the first is the newest
    return Pairs(row[source[starts]], session[starts], weight, step[starts], place_in_session)


def _training(events: Events, train_stop: Int64) -> Int64:
    return np.flatnonzero(np.arange(len(events.buyer)) < train_stop[events.buyer])


def _distinct(events: Events, cases: Cases) -> tuple[Int64, Int64, Int64, Int64]:
    """Returns each case's distinct products [H]: row, product, last place in the history (1 = first), its length."""
    length = cases.cut - cases.start
    row, event = _expand(cases.start, length)
    place = event - cases.start[row] + 1
    code = row * (int(events.product.max()) + 1) + events.product[event]
    _, newest = np.unique(code[::-1], return_index=True)
    kept = len(code) - 1 - newest
    return row[kept], events.product[event[kept]].astype(np.int64), place[kept], length[row[kept]]


def _expand(first: Int64, size: Int64) -> tuple[Int64, Int64]:
    """Returns the ranges first..first + size, one after another, and the number of the range of each element."""
    owner = np.repeat(np.arange(len(size)), size)
    inside = np.arange(len(owner)) - np.repeat(np.cumsum(size) - size, size)
    return owner, first[owner] + inside


def _first_of_rows(row: Int64, key: Int64 | Float64, limit: int) -> Int64:
    """Returns the places of the `limit` smallest keys of each row; of equal keys the later place comes first."""
    order = np.lexsort((-np.arange(len(row)), key, row))
    _, sizes = np.unique(row, return_counts=True)
    rank = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(order[rank < limit])
