"""The steps in their order: from what a shopper typed to the query that is searched."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from item_service.query.expansion import Expansions, expand
from item_service.query.filler import drop_filler, filler_words
from item_service.query.known_words import KnownWords
from item_service.query.layout import repair_layout
from item_service.query.names import name_parts
from item_service.query.negation import read_negation, widen_excluded
from item_service.query.prices import PRICE_WORDS, read_prices
from item_service.query.query import Query, read
from item_service.query.sound import SoundIndex, sound_alike, sound_index
from item_service.query.synonyms import Synonyms
from twotower.artifact.search_words import SearchWords
from twotower.text.denials import DENIAL_WORDS
from twotower.text.words import stem

Step = Callable[[Query], Query]
STEPS = ("layout", "price", "negation", "filler", "synonyms", "sound")

# what the gateway takes; a longer text is no query
_LONGEST = 500


class Language(NamedTuple):
    """What is known of one catalogue's words, whatever the synonyms."""

    known: KnownWords
    sounds: SoundIndex
    # stems of words that were learned from searches: no step rewrites them
    learned: frozenset[str]

    @classmethod
    def of(cls, catalogue: SearchWords) -> Language:
        known = KnownWords(catalogue)
        return cls(known, sound_index(known), frozenset(map(stem, catalogue.learned)))


class Understanding:
    """Understands queries with the words of one catalogue and the synonyms of one shop."""

    def __init__(self, language: Language, synonyms: Synonyms, steps: Collection[str] = STEPS) -> None:
        self.synonyms = synonyms
        self.known = language.known.with_others(
            filler_words() | synonyms.words | PRICE_WORDS | DENIAL_WORDS | language.learned
        )
        known, index, expansions = self.known, language.sounds, Expansions(self.known, synonyms)
        every: Mapping[str, Step] = {
            "layout": lambda query: repair_layout(query, known, index),
            "price": read_prices,
            "negation": lambda query: read_negation(query, known),
            "filler": lambda query: drop_filler(query, known),
            "synonyms": lambda query: expand(query, expansions),
            "sound": lambda query: sound_alike(query, known, index),
        }
        self.sounds = index
        chosen = {name: step for name, step in every.items() if name in steps}
        # only the layout needs the signs that normalising takes away
        first = {name: step for name, step in chosen.items() if name == "layout"}
        self._steps: Mapping[str, Step] = {**first, "read": read, **chosen}
        self._again = chosen.get("synonyms")

    def __call__(self, text: str) -> Query:
        """The query after every step, each applied in turn. A text of more than 500 characters is searched as it is."""
        query = Query(text, text)
        if len(text) > _LONGEST:
            return read(query)
        has_new_words = False
        for name, step in self._steps.items():
            before, query = query, step(query)
            has_new_words |= (name == "sound" and query is not before) or (
                name == "synonyms" and query.text != before.text
            )
        if self._again is not None and has_new_words:
            # what was put in has synonyms, too
            query = self._again(query)
        return name_parts(widen_excluded(query, self.known, self.sounds, self.synonyms), self.known)
