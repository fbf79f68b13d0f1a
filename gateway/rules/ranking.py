"""The order in which a list takes the products of the answers: what rules hide, boost, bury, limit and pin.

Plain loops over a hundred numbers are faster here than numpy's calls. What depends on a product's bits alone is worked
out once a plan: few of the possible bits occur.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import mul
from typing import NamedTuple

from gateway.rules.answers import Answers
from gateway.rules.plans import Mark, Plan

# a limit of `at_most`, by its place in the plan, and the code of a brand or category
Group = tuple[int, int]
# place, row and rule
Pinned = tuple[int, int, str]
Moves = Callable[[], dict[int, str]]
Repeated = Sequence[tuple[Mark, frozenset[str]]]


class Ranked(NamedTuple):
    """Rows in the order in which a list takes them; `good`: how many come before those that only fill it up.

    `moves`: give the rule that moved each row, later ones count; few lists ask for it. `pins`: by place.
    """

    rows: list[int]
    good: int
    full: list[Group]
    moves: list[Moves]
    pins: list[Pinned]


def rank(plan: Plan, answers: Answers, repeated: Repeated, k: int) -> Ranked:
    """All products that may be shown in a list of k. `repeated`: conditions, and products that were shown lately."""
    bits, rows = answers.bits, answers.own
    if excluded := plan.excluded_bit & answers.union:
        rows = [row for row in rows if not bits[row] & excluded]
    moves: list[Moves] = []
    if rows and plan.boosts and (plan.boost_bits < 0 or plan.boost_bits & answers.union):
        rows = _boost(plan, answers, rows, moves)
    if plan.buried:
        rows = _bury(plan, answers, rows, moves)
    rows, later = _split_shown(answers, rows, repeated) if repeated else (rows, [])
    pins = _pins(plan, answers, k) if plan.pins else []
    if pins:
        # they have their places: the limits count them first
        pinned = dict.fromkeys(row for _, row, _ in pins)
        rows = [*pinned, *[row for row in rows if row not in pinned]]
        later = [row for row in later if row not in pinned]
    over: list[int] = []
    full: list[Group] = []
    if plan.at_most:
        rows, over, full = _limit(plan, answers, rows)
    return Ranked([*rows, *over, *later], len(rows), full, moves, pins)


def _boost(plan: Plan, answers: Answers, rows: list[int], moves: list[Moves]) -> list[int]:
    """The rows in the order of their boosted scores; adds to `moves` which have come up."""
    own = list(map(answers.bits.__getitem__, rows))
    factors = map(plan.factors.__getitem__, own)
    # a place has its own score: where exploration or diversity puts a product first, it stays
    scores = sorted(map(answers.scores.__getitem__, rows), reverse=True)
    if scores[-1] > 0:
        boosted = list(map(mul, scores, factors))
    else:
        boosted = [score * by if score > 0 else score / by for score, by in zip(scores, factors, strict=True)]
    order = sorted(range(len(rows)), key=boosted.__getitem__, reverse=True)

    def moved() -> dict[int, str]:
        up = [before for place, before in enumerate(order) if place < before]
        return {rows[before]: rule for before in up if (rule := plan.booster(own[before]))}

    moves.append(moved)
    return list(map(rows.__getitem__, order))


def _bury(plan: Plan, answers: Answers, rows: list[int], moves: list[Moves]) -> list[int]:
    """The rows, those behind that are buried; adds these to `moves`."""
    # where all are buried, none comes before another
    if plan.buried_bits < 0 or not plan.buried_bits & answers.union:
        return rows
    bits, some = answers.bits, plan.buried_bits
    down = [row for row in rows if bits[row] & some]
    if not down:
        return rows
    moves.append(lambda: {row: next(name for name, mark in plan.buried if bits[row] & mark.bit) for row in down})
    return [row for row in rows if not bits[row] & some] + down


def _split_shown(answers: Answers, rows: list[int], repeated: Repeated) -> tuple[list[int], list[int]]:
    """The rows that were not shown lately, and those that were."""
    ids, bits = answers.ids, answers.bits
    shown = frozenset[str]().union(*(one for _, one in repeated))
    known = [row for row in rows if ids[row] in shown]
    later = [row for row in known if any(ids[row] in one and mark.holds(bits[row]) for mark, one in repeated)]
    if not later:
        return rows, []
    behind = set(later)
    return [row for row in rows if row not in behind], later


def _limit(plan: Plan, answers: Answers, rows: list[int]) -> tuple[list[int], list[int], list[Group]]:
    """The rows within the limits of brands and categories, those beyond, and the groups that are full."""
    bits, some, counts = answers.bits, plan.limited_bits, dict[Group, int]()
    if some >= 0 and not some & answers.union:
        return rows, [], []
    over, codes, limits, at_most = list[int](), answers.codes, plan.limits, plan.at_most
    for row in rows if some < 0 else [row for row in rows if bits[row] & some]:
        # products without a brand are of no brand
        groups = [(place, code) for place, _, field in limits[bits[row]] if (code := codes[field][row]) >= 0]
        for one in groups:
            if one in counts and counts[one] >= at_most[one[0]][0].n:
                over.append(row)
                break
        else:
            for one in groups:
                counts[one] = counts.get(one, 0) + 1
    beyond = set(over)
    kept = [row for row in rows if row not in beyond] if over else rows
    return kept, over, [one for one, count in counts.items() if count >= at_most[one[0]][0].n]


def _pins(plan: Plan, answers: Answers, k: int) -> list[Pinned]:
    """The pins, by place; the first rule counts where two want a place or a product."""
    excluded, bits = plan.excluded_bit, answers.bits
    row_of = answers.rows_of(plan.pinned_ids)
    places, rows = dict[int, tuple[int, str]](), set[int]()
    for pin, mark in plan.pins:
        row = row_of.get(pin.product_id)
        if row is None or row in rows or pin.place in places or pin.place > k:
            continue
        if bits[row] & excluded or not mark.holds(bits[row]):
            continue
        places[pin.place] = (row, pin.name)
        rows.add(row)
    return [(place, *found) for place, found in sorted(places.items())]
