"""Reasons as sentences, in Arabic and in English.

The Arabic verbs address a man and a woman with the same letters.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Sentence:
    """One reason in both languages."""

    ar: str
    en: str


class Cause(NamedTuple):
    """What the buyer did, and the title of the product."""

    event_type: str
    title: str


class _Verb(NamedTuple):
    """What stands before the titles, and what stands after them."""

    ar: tuple[str, str]
    en: tuple[str, str]
    again: Sentence


POPULAR = Sentence("من الأكثر رواجًا لدى المتسوقين", "Popular with shoppers")
CHOSEN = Sentence("يختاره كثير من المتسوقين", "Many shoppers choose it")
PLACED = Sentence("اختيار المتجر", "The shop's choice")
_NEAR = Sentence("قريب في المعنى من بحثك", "Close in meaning to your search")
_SIMILAR = Sentence("قريب في وصفه وفي من يختارونه", "Close in its description and in who chooses it")
_VERBS = {
    "View": _Verb(("شاهدت", ""), ("you viewed", ""), Sentence("سبق أن شاهدته", "You viewed it before")),
    "AddToCart": _Verb(
        ("أضفت", "إلى السلة"),
        ("you added", "to your cart"),
        Sentence("سبق أن أضفته إلى السلة", "You added it to your cart before"),
    ),
    "Purchase": _Verb(("اشتريت", ""), ("you bought", ""), Sentence("سبق أن اشتريته", "You bought it before")),
}
# an event of a shop's own
_OTHER = _Verb(
    ("أبديت اهتمامًا بـ", ""),
    ("you showed interest in", ""),
    Sentence("سبق أن أبديت اهتمامًا به", "You showed interest in it before"),
)
_LEFT_TO_RIGHT = re.compile("[A-Za-z\u00c0-\u024f\u0370-\u052f]")
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
# titles in one sentence, and shared words
_TITLES, _WORDS = 2, 5
_NAMES = {"category": ("الفئة نفسها", "same category"), "brand": ("العلامة نفسها", "same brand")}


def because(causes: Sequence[Cause]) -> Sentence:
    """What the buyer did with up to two products, and how many others count."""
    named, more = causes[:_TITLES], len(causes) - _TITLES
    parts = [
        (_VERBS.get(event, _OTHER), [one.title for one in group])
        for event, group in itertools.groupby(named, key=lambda one: one.event_type)
    ]
    arabic, english = list[str](), list[str]()
    for place, (verb, titles) in enumerate(parts):
        rest = more if place == len(parts) - 1 else 0
        arabic.append(_clause(verb.ar, " و".join(map(_quoted_ar, titles)) + _other_products_ar(rest, verb)))
        listed = [*map(_quoted_en, titles), *_other_products_en(rest)]
        english.append(_clause(verb.en, _listed(listed)))
    return Sentence("لأنك " + " و".join(arabic), "Because " + " and ".join(english))


def again(event_type: str) -> Sentence:
    """For a product that is itself in the history."""
    return _VERBS.get(event_type, _OTHER).again


def after(title: str) -> Sentence:
    """For a product that buyers take after another one."""
    return Sentence(f"كثيرًا ما يُختار بعد {_quoted_ar(title)}", f"Often chosen after {_quoted_en(title)}")


def bought_with(title: str) -> Sentence:
    """For a product that baskets or visits hold together with another one."""
    return Sentence(f"كثيرًا ما يُختار مع {_quoted_ar(title)}", f"Often chosen together with {_quoted_en(title)}")


def goes_with(title: str) -> Sentence:
    """For a product whose category goes with that of another one."""
    return Sentence(
        f"من فئة تُختار مع فئة {_quoted_ar(title)}", f"From a category that is chosen with that of {_quoted_en(title)}"
    )


def shared(attributes: Mapping[str, str], words: Sequence[str]) -> Sentence:
    """What a product shares with the one asked for; both may be empty."""
    arabic = [f"{_NAMES[name][0]} ({in_arabic(value)})" for name, value in attributes.items()]
    english = [f"{_NAMES[name][1]} ({in_english(value)})" for name, value in attributes.items()]
    if words:
        arabic.append("كلمات مشتركة: " + "، ".join(map(in_arabic, words[:_WORDS])))
        english.append("shared words: " + ", ".join(map(in_english, words[:_WORDS])))
    if not arabic:
        return _SIMILAR
    text = "; ".join(english)
    return Sentence("؛ ".join(arabic), text[0].upper() + text[1:])


def matched(words: Sequence[str]) -> Sentence:
    """The words of a search that a product holds; none if only the meaning is near."""
    if not words:
        return _NEAR
    named = words[:_WORDS]
    return Sentence(
        "يطابق من بحثك: " + "، ".join(map(in_arabic, named)),
        "Matches your search: " + ", ".join(map(in_english, named)),
    )


def in_arabic(name: str) -> str:
    """A name within an Arabic sentence; one with Latin, Greek or Cyrillic letters is isolated.

    Without isolation the quotes, commas and digits beside it stand on the wrong side: Unicode UAX 9, section 2.4.
    """
    return f"\u2068{name}\u2069" if _LEFT_TO_RIGHT.search(name) else name


def in_english(name: str) -> str:
    """A name within an English sentence; one with Hebrew or Arabic letters is isolated."""
    return f"\u2068{name}\u2069" if _RIGHT_TO_LEFT.search(name) else name


def _quoted_ar(title: str) -> str:
    return f"«{in_arabic(title)}»"


def _quoted_en(title: str) -> str:
    return f"“{in_english(title)}”"


def _clause(around: tuple[str, str], titles: str) -> str:
    before, behind = around
    start = before if before.endswith("ـ") else before + " "
    return f"{start}{titles} {behind}".rstrip()


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def _other_products_ar(count: int, verb: _Verb) -> str:
    """ "and n other products", as an object; after a preposition where the verb has one."""
    if count < 1:
        return ""
    if verb is _OTHER:
        return " وبمنتج آخر" if count == 1 else " وبمنتجين آخرين" if count == 2 else f" وبـ{count} منتجات أخرى"
    if count == 1:
        return " ومنتجًا آخر"
    if count == 2:
        return " ومنتجين آخرين"
    return f" و{count} منتجات أخرى" if count <= 10 else f" و{count} منتجًا آخر"


def _other_products_en(count: int) -> list[str]:
    if count < 1:
        return []
    return ["1 other product" if count == 1 else f"{count} other products"]
