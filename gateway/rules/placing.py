"""The list of the ranked products: what it must have in it, and the pins at their places."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cached_property

from gateway.rules.answers import Answers
from gateway.rules.plans import Needed, Plan
from gateway.rules.ranking import Ranked


class Placed(Mapping[str, str]):
    """Product id → the rule that moved it to its place. Worked out when asked: most lists are shown without it."""

    def __init__(self, work_out: Callable[[], dict[str, str]]) -> None:
        self._work_out = work_out

    @cached_property
    def _rules(self) -> dict[str, str]:
        return self._work_out()

    def __getitem__(self, product_id: str) -> str:
        return self._rules[product_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rules)

    def __len__(self) -> int:
        return len(self._rules)

    def __repr__(self) -> str:
        return f"Placed({self._rules})"


def arrange(plan: Plan, answers: Answers, ranked: Ranked, k: int) -> tuple[list[int], Placed]:
    """The rows of a list of k in their order, and which rule moved each."""
    pins = ranked.pins
    pinned = {row for _, row, _ in pins}
    others = ranked.rows
    if pinned:
        # they are the first rows, unless a limit has put some behind
        first = others[: len(pins)]
        others = others[len(pins) :] if pinned.issuperset(first) else [row for row in others if row not in pinned]
    length = min(k, len(ranked.rows))
    size = max(0, length - len(pins))
    body, placed_by = others[:size], dict[int, str]()
    if plan.needed:
        spare = [*others[size:], *_named(plan, answers, pinned)]
        _bring_needed(plan, answers, body, spare, pinned, k - len(pins), placed_by)
    for at, row, rule in pins:
        body.insert(min(at - 1, len(body)), row)
        placed_by[row] = rule

    def rules() -> dict[str, str]:
        moved: dict[int, str] = {}
        for moves in ranked.moves:
            moved.update(moves())
        moved.update(placed_by)
        return {answers.ids[row]: moved[row] for row in body if row in moved}

    return body, Placed(rules)


def lacks(plan: Plan, answers: Answers, one: Needed, k: int) -> bool:
    """Whether the answers have fewer products of a rule than a list of k must have."""
    excluded, bits, missing = plan.excluded_bit, answers.bits, one.count(k)
    bit = one.mark.bit or -1
    if bit >= 0 and not bit & answers.union:
        return True
    for rows in (answers.own, answers.also):
        for row in rows:
            own = bits[row]
            if (own & bit or bit < 0) and not own & excluded:
                missing -= 1
                if missing <= 0:
                    return False
    return True


def _bring_needed(
    plan: Plan,
    answers: Answers,
    body: list[int],
    spare: list[int],
    pinned: Collection[int],
    room: int,
    placed_by: dict[int, str],
) -> None:
    """Adds products that the list must have, and that are only among `spare`, up to `room` products beside the pins;
    then they take the places of others.
    """
    length = len(body) + len(pinned)
    bits, some, protected = answers.bits, plan.needed_bits, set[int]()
    relevant = body if some < 0 else [row for row in body if bits[row] & some]
    for one in plan.needed:
        # a list that has few products takes in what it must have; a share counts the places that it fills
        count = min(one.n + one.count_share(length), room + len(pinned))
        # all bits, of those that every product fulfils
        bit = one.mark.bit or -1
        there = [row for row in relevant if bits[row] & bit or bit < 0][: max(count, 1)]
        protected.update(there)
        lacking = count - len(there)
        if lacking > 0:
            lacking -= sum(one.mark.holds(bits[row]) for row in pinned)
        if lacking <= 0:
            continue
        for row in [row for row in spare if (bits[row] & bit or bit < 0) and row not in body][:lacking]:
            if _bring(row, body, room, protected):
                placed_by[row] = one.rule
        relevant = body


def _named(plan: Plan, answers: Answers, pinned: Collection[int]) -> list[int]:
    """The rows of products that `also` has named, that may be shown, and that no list has taken yet."""
    excluded, bits, ids = plan.excluded_bit, answers.bits, answers.ids
    rows = [row for row in answers.also if row not in pinned and not bits[row] & excluded]
    if len(answers.parts) > 1:
        own = {ids[row] for row in answers.own}
        rows = [row for row in rows if ids[row] not in own]
    return rows


def _bring(row: int, body: list[int], room: int, protected: set[int]) -> bool:
    """Adds a row, or puts it in the place of the last one that no rule needs. Returns False if all are needed."""
    if len(body) < room:
        body.append(row)
        protected.add(row)
        return True
    at = next((at for at in reversed(range(len(body))) if body[at] not in protected), None)
    if at is None:
        return False
    body[at] = row
    protected.add(row)
    return True
