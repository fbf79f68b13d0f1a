"""Reads what a shopper does not want: "قهوة بدون هيل", "عباية مو سوداء", "perfume without oud"."""

from __future__ import annotations

from dataclasses import replace

from item_service.query.known_words import KnownWords
from item_service.query.query import Query
from item_service.query.sound import SoundIndex, brands_alike
from item_service.query.synonyms import TWO_WAY, Synonyms
from twotower.text.denials import find_denials
from twotower.text.words import parts_of

# words between a denial and what it denies
_SKIPPED = frozenset(
    [
        "اي",
        "من",
        "في",
        "فيه",
        "فيها",
        "لون",
        "ريحه",
        "رائحه",
        "طعم",
        "نكهه",
        "ماركه",
        "شركه",
        "ال",
        "any",
        "the",
        "a",
        "of",
        "with",
    ]
)
_ARTICLE = "ال"


def read_negation(query: Query, known: KnownWords) -> Query:
    """Takes "بدون هيل" out of the text and excludes the word; "و" adds another word.

    A phrase that titles hold ("بدون عطر") is an attribute: products that say so are wanted, and its words stay.
    """
    words = query.words
    # as titles are counted
    plain = [(parts_of(word) or (word,))[0] for word in words]
    removed, excluded = set[int](), list[str]()
    for start, end in find_denials(plain):
        last = end
        while last + 1 < len(words) and plain[last] in _SKIPPED:
            last += 1
        phrases = {" ".join((*plain[start:end], plain[last])), f"بدون {plain[last]}"}
        # the whole query would be gone
        if start == 0 or phrases & known.catalogue.denials.keys():
            continue
        removed.update(range(start, last + 1))
        excluded.append(_bare(plain[last], known))
        while last + 1 < len(words) and (more := _joined(words[last + 1], known)):
            last += 1
            removed.add(last)
            excluded.append(more)
    if not excluded:
        return query
    rest = " ".join(word for place, word in enumerate(words) if place not in removed)
    denied = " ".join(word for place, word in enumerate(words) if place in removed)
    unique = tuple(dict.fromkeys((*query.excluded, *excluded)))
    return replace(query, text=rest, excluded=unique).noted("negation", denied)


def _bare(word: str, known: KnownWords) -> str:
    """The word without its article, where the catalogue has it so."""
    bare = word.removeprefix(_ARTICLE)
    return bare if bare in known.words else word


def _joined(word: str, known: KnownWords) -> str:
    """The word after "و" ("وزعفران"), or "" if this is another word."""
    rest = word.removeprefix("و")
    return _bare(rest, known) if rest != word and word not in known.words and known.in_catalogue(rest) else ""


def widen_excluded(query: Query, known: KnownWords, index: SoundIndex, synonyms: Synonyms) -> Query:
    """Also excludes words of the catalogue that mean the same, and the same brand in the other script."""
    if not query.excluded:
        return query
    same = [
        one.text
        for word in query.excluded
        for one in synonyms.get(word)
        if one.weight >= TWO_WAY and one.text in known.words
    ]
    brands = [text for word in query.excluded for text in brands_alike(word, known, index)]
    return replace(query, excluded=tuple(dict.fromkeys((*query.excluded, *same, *brands))))
