"""The words of live products, scored as the index of words scores those of the others.

A word weighs what it weighs in the version's index; one that the index lacks weighs as much as its rarest word. Unknown
words are not completed here: a product that is found by the beginning of a word comes with the next version.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from twotower.arrays import Float32, Int64, Mask
from twotower.artifact.manifest import WordWeights
from twotower.search.word_index import CLITIC_SURE, STEM, STEM_SURE, Word, WordIndex
from twotower.text.product_words import BRAND, DESCRIPTION, K1, NAME, TITLE, B, Field, count_stems, count_words
from twotower.text.words import clitic_stems, parts_of, stem


class _Posting:
    """The slots that hold one word, rising, and their scores; it only grows."""

    def __init__(self) -> None:
        self._slots: list[int] = []
        self._scores: list[float] = []
        self._arrays: tuple[Int64, Float32] = (np.empty(0, np.int64), np.empty(0, np.float32))

    def add(self, slot: int, score: float) -> None:
        # readers take as many scores as there are slots
        self._scores.append(score)
        self._slots.append(slot)

    def read(self, size: int) -> tuple[Int64, Float32]:
        """Slots below `size`, and their scores."""
        slots, scores = self._arrays
        if len(slots) != len(self._slots):
            slots = np.array(self._slots, np.int64)
            scores = np.array(self._scores[: len(slots)], np.float32)
            self._arrays = slots, scores
        stop = len(slots) if not len(slots) or slots[-1] < size else int(slots.searchsorted(size))
        return slots[:stop], scores[:stop]


class LiveWords:
    """One thread adds products, any number of them search."""

    def __init__(self, base: WordIndex, weights: WordWeights, mean_length: float, reads_descriptions: bool) -> None:
        """`mean_length`: of the version's products, in words as `product_words` counts them."""
        self._base = base
        self._weights = weights
        self._mean_length = mean_length
        self._reads_descriptions = reads_descriptions
        self._postings: defaultdict[str, _Posting] = defaultdict(_Posting)
        self._mean_weight = float(base.weights.mean()) if len(base) else 1.0
        self._rarest = float(base.weights.max()) if len(base) else 1.0

    def emptied(self) -> LiveWords:
        """The same without products."""
        return LiveWords(self._base, self._weights, self._mean_length, self._reads_descriptions)

    def add(self, slot: int, title: str, description: str, brand: str, category: str) -> None:
        """Adds the product of the next slot."""
        held = count_words(product_fields(title, description, brand, category, self._reads_descriptions))
        shortening = K1 * (1 - B + B * held.total() / max(self._mean_length, 1e-9))
        for word, count in [*held.items(), *count_stems(held, STEM).items()]:
            self._postings[word].add(slot, count * (1 + K1) / (count + shortening))

    def holding(self, word: str, size: int) -> Mask:
        """Which slots [M] hold a word in some form, all parts of it if it has several."""
        held = np.ones(size, np.bool_)
        for part in parts_of(word):
            held &= self._of_part(part, size) > 0
        return held

    def held(self, alternatives: Sequence[Word], slot: int, size: int) -> float:
        """How well a slot below `size` holds one word of a search, given its alternatives."""
        return float(self._of_group(alternatives, size)[0][slot])

    def added(self, words: Sequence[Word], size: int) -> Float32:
        """What words add to the cosines of the products [M]; see `twotower.search.word_search.added_by_words`."""
        groups: dict[int, list[Word]] = defaultdict(list)
        for word in words:
            groups[word.group].append(word)
        named, counted = np.zeros(size, np.float32), np.zeros(size, np.float32)
        held, numbers = np.zeros(size, np.float32), 0
        total = known = named_total = named_known = 0.0
        names = sum(not any(one.is_number for one in group) for group in groups.values())
        for group in groups.values():
            scores, weight, sure = self._of_group(group, size)
            share = weight or self._mean_weight
            total, known = total + share, known + weight * sure
            if any(one.is_number for one in group):
                counted += np.float32(share) * scores
                held += scores > 0
                numbers += 1
            else:
                named += np.float32(share) * scores
                named_total += share
                named_known += sure / names if weight else 0.0
        scores = (named + counted) / np.float32(total or 1)
        added: Float32 = np.float32(self._weights.weight * (known / total if total else 0)) * scores
        if numbers:
            near = np.minimum(named / np.float32(named_total), 1) ** 2 if names else np.float32(1)
            known_words = named_known if names else 1.0
            added += np.float32(self._weights.number_weight * known_words**2 / numbers) * near * held
        return added

    def _of_group(self, group: Sequence[Word], size: int) -> tuple[Float32, float, float]:
        """The best alternative of each product [M]; the weight of the group, 0 if nobody knows it, and how sure."""
        best = np.zeros(size, np.float32)
        for one in group:
            np.maximum(best, np.float32(one.weight) * self._of_word(one.text, size), out=best)
        weight, sure = self._base.weigh(group)
        if not weight and best.any():
            return best, self._rarest, 1.0
        return best, weight, sure

    def _of_word(self, text: str, size: int) -> Float32:
        parts = parts_of(text)
        if len(parts) == 1:
            return self._of_part(parts[0], size)
        # a size or a code counts by the share of its parts
        weights = [self._base.weight(part) or self._mean_weight for part in parts]
        sums = sum(np.float32(weight) * self._of_part(part, size) for weight, part in zip(weights, parts, strict=True))
        shares: Float32 = np.asarray(sums / np.float32(sum(weights)), np.float32)
        return shares

    def _of_part(self, word: str, size: int) -> Float32:
        """Scores [M] of the products that hold the word, or less surely its stem."""
        found = np.zeros(size, np.float32)
        exact, stemmed = self._postings.get(word), self._postings.get(STEM + stem(word))
        sure = STEM_SURE
        if exact is None and stemmed is None and not self._base.knows(word):
            known = (self._postings.get(STEM + one) for one in clitic_stems(word))
            stemmed, sure = next((one for one in known if one is not None), None), CLITIC_SURE
        if stemmed is not None:
            slots, scores = stemmed.read(size)
            found[slots] = np.float32(sure) * scores
        if exact is not None:
            slots, scores = exact.read(size)
            found[slots] = np.maximum(found[slots], scores)
        return found


def product_fields(
    title: str, description: str, brand: str, category: str, reads_descriptions: bool
) -> Iterable[Field]:
    """The fields of a product that is known by its texts alone, as `trainer.search.words` weighs them."""
    fields = [Field(title, TITLE, without=brand), Field(brand, BRAND), Field(category, NAME)]
    if reads_descriptions:
        fields.append(Field(description, DESCRIPTION, has_numbers=False))
    return fields
