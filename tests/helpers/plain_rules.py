"""What a list under rules is, by its definition: one product after the other, with no bits, codes or arrays."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from gateway.clients.answers import Hits
from gateway.rules.plans import exclusion
from gateway.schemas.rule import AtMost, Boost, Bury, FreshShare, Include, NoRepeats, Pin, Rule
from tests.helpers.rules import holds
from twotower.artifact.catalogue import Product
from twotower.conditions.evaluation import given
from twotower.conditions.language import NEVER, Comparison, Condition, Fact, both
from twotower.serving import wire


def plain_list(
    products: Mapping[str, Product],
    rules: Sequence[Rule],
    facts: Mapping[str, Fact],
    shown: Collection[str],
    k: int,
    answers: Sequence[Hits],
) -> tuple[list[str], dict[str, str]]:
    """The products of a list of k and the rule that moved each, of what the answers rank and name."""
    acting = [(rule, condition) for rule in rules if (condition := given(rule.condition, facts)) != NEVER]

    def meet(kind: type[Rule], one: str) -> list[Rule]:
        return [rule for rule, when in acting if isinstance(rule, kind) and holds(when, products[one])]

    def is_allowed(one: str) -> bool:
        return not any(holds(exclusion(rule, when), products[one]) for rule, when in acting)

    scores, named = _taken_in(answers)
    ranked = [one for one in scores if is_allowed(one)]
    moved: dict[str, str] = {}

    def boosted(place: int) -> float:
        factor = math.prod(rule.factor for rule in meet(Boost, ranked[place]))
        return own[place] * factor if own[place] > 0 else own[place] / factor

    # a place has its own score
    own = sorted((scores[one] for one in ranked), reverse=True)
    order = sorted(range(len(ranked)), key=boosted, reverse=True)
    for place, before in enumerate(order):
        if place < before and (by := meet(Boost, ranked[before])):
            moved[ranked[before]] = by[0].name
    ranked = [ranked[before] for before in order]

    down = [one for one in ranked if meet(Bury, one)]
    # a rule that buries all moves none
    if not any(isinstance(rule, Bury) and not rule.when for rule, _ in acting):
        moved.update({one: meet(Bury, one)[0].name for one in down})
    ranked = [one for one in ranked if one not in down] + down

    later = [one for one in ranked if one in shown and meet(NoRepeats, one)]
    pins: dict[int, tuple[str, str]] = {}
    for rule in [rule for rule, _ in acting if isinstance(rule, Pin)]:
        one = rule.product_id
        is_free = rule.place <= k and rule.place not in pins and one not in [other for other, _ in pins.values()]
        if is_free and (one in scores or one in named) and is_allowed(one) and rule in meet(Pin, one):
            pins[rule.place] = (one, rule.name)
    pinned = [one for _, (one, _) in sorted(pins.items())]
    ranked = [*pinned, *(one for one in ranked if one not in later and one not in pinned)]
    later = [one for one in later if one not in pinned]

    kept, over, counts = list[str](), list[str](), Counter[tuple[str, str]]()
    for one in ranked:
        limits = [rule for rule in meet(AtMost, one) if getattr(products[one], rule.field)]
        groups = [(rule.name, getattr(products[one], rule.field)) for rule in limits]
        if any(counts[group] >= rule.n for rule, group in zip(limits, groups, strict=True)):
            over.append(one)
        else:
            counts.update(groups)
            kept.append(one)
    filled = [*kept, *over, *later]
    others = [one for one in filled if one not in pinned]
    room, size = k - len(pinned), max(0, min(k, len(filled)) - len(pinned))
    body, spare = others[:size], others[size:]
    spare += [one for one in named if one not in pinned and is_allowed(one)]
    needed = [(rule, when) for rule, when in acting if isinstance(rule, Include | FreshShare)]
    moved.update(_bring_needed(products, needed, body, spare, pinned, room))
    for place, (one, name) in sorted(pins.items()):
        body.insert(place - 1, one)
        moved[one] = name
    return body, {one: moved[one] for one in body if one in moved}


def _taken_in(answers: Sequence[Hits]) -> tuple[dict[str, float], list[str]]:
    """The scores of the ranked products, in the order in which they came, and the products that are only named."""
    scores: dict[str, float] = {}
    named: dict[str, None] = {}
    for hits in answers:
        ids = wire.unpack_ids(hits.packed_ids)
        ranked = len(ids) - hits.also
        for one, score in zip(ids[:ranked], hits.scores.tolist()[:ranked], strict=True):
            scores.setdefault(one, score)
        named.update(dict.fromkeys(ids[ranked:]))
    return scores, [one for one in named if one not in scores]


def _bring_needed(
    products: Mapping[str, Product],
    needed: Sequence[tuple[Include | FreshShare, Condition]],
    body: list[str],
    spare: Sequence[str],
    pinned: Sequence[str],
    room: int,
) -> dict[str, str]:
    """Puts into the body what it must have; by which rule each came."""
    moved, protected, length = dict[str, str](), set[str](), len(body) + len(pinned)
    for rule, when in needed:
        if isinstance(rule, Include):
            wanted, count = when, rule.n
        else:
            wanted = both(when, Comparison("age_days", "<=", (rule.days,)))
            count = math.ceil(rule.share * length - 1e-9)
        count = min(count, room + len(pinned))
        there = [one for one in body if holds(wanted, products[one])][: max(count, 1)]
        protected.update(there)
        lacking = count - len(there)
        if lacking > 0:
            lacking -= sum(holds(wanted, products[one]) for one in pinned)
        coming = [one for one in spare if holds(wanted, products[one]) and one not in body]
        for one in coming[: max(lacking, 0)]:
            free = [place for place, other in enumerate(body) if other not in protected]
            if len(body) < room:
                body.append(one)
            elif free:
                body[free[-1]] = one
            else:
                continue
            protected.add(one)
            moved[one] = rule.name
    return moved
