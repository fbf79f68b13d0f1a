"""The index of words: for each word and each stem, the products that hold it, with BM25 scores.

A sparse matrix [words, N] in compressed rows, as the table of neighbours: the products of word w are
`rows[offsets[w] : offsets[w + 1]]`. A score is BM25's without the word's weight (Robertson and Zaragoza, The
probabilistic relevance framework, 2009): 1 for a word that a product of average length holds once in its title.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from twotower.arrays import Float32, Int32, Int64
from twotower.artifact.layout import VersionLayout
from twotower.errors import CorruptArtifact
from twotower.sharding import Rows
from twotower.text.words import clitic_stems, parts_of, stem

# a stem of the index begins with this sign, which no word holds
STEM = "~"
# confidence that a product holds a word if it holds only its stem, or only its stem without leading letters
STEM_SURE, CLITIC_SURE = 0.8, 0.6
# an unknown word counts as the commonest of the words that begin with it, as a word still being typed
_COMPLETIONS, _COMPLETION_SURE = 32, 0.6
_REMEMBERED = 50_000
_NO_ROWS = np.empty(0, np.int32)
_NO_SCORES = np.empty(0, np.float32)


class Word(NamedTuple):
    """A word of a search, normalised as `twotower.text` does.

    `weight`: 1 as typed, less for a guess. Words of one `group` are alternatives: the best of them counts.
    """

    text: str
    weight: float = 1.0
    is_number: bool = False
    group: int = 0


def head_of(words: Sequence[Word]) -> list[Word]:
    """The alternatives of the first word that is no number, or of the first number: in Arabic, the noun that the other
    words describe. None for no words.
    """
    named = [one for one in words if not one.is_number] or words
    return [one for one in words if one.group == named[0].group] if named else []


class WordMatch(NamedTuple):
    """How products match the words of a search.

    `scores` [N]: 0 to about 1, the share of the words that a product holds, rare ones counting more. `numbers` [N]: the
    share of the numbers that it holds, x the square of its share of the other words: a number says little about a
    product of another kind; None without numbers. `known`: the share of the words that some product holds, weighted as
    in `scores`; `known_words`: the plain share of the words that are no numbers, 1 without such words. A word
    whose stem alone is known counts less.
    """

    scores: Float32
    numbers: Float32 | None
    known: float
    known_words: float


class _Sum:
    """Weighted scores of words, added up: each product's share of their weights."""

    def __init__(self, size: int) -> None:
        self._sums = np.zeros(size, np.float32)
        self.total = self.known = 0.0

    def add(self, found: _Postings, unknown_weight: float) -> None:
        self.total += found.weight or unknown_weight
        if found.weight:
            self.known += found.weight * found.sure
            self._sums[found.rows] += np.float32(found.weight) * found.scores

    def shares(self) -> Float32:
        shares: Float32 = self._sums / np.float32(self.total or 1)
        return shares


class _Postings(NamedTuple):
    """The products of a word and their scores, the word's weight, and how sure it is that this is the word meant."""

    rows: Int32
    scores: Float32
    weight: float
    sure: float = 1.0


class _Places(NamedTuple):
    """Where a word and its stem stand in the index, -1 for nowhere, and how sure the stem is."""

    word: int
    stem: int
    sure: float


_UNKNOWN = _Postings(_NO_ROWS, _NO_SCORES, 0.0)


@dataclass(frozen=True)
class WordIndex:
    """`text`: words and stems in UTF-8, sorted, without separators; word w is `text[starts[w] : starts[w + 1]]`. A stem
    begins with "~".

    `weights` [W]: inverse document frequencies. `offsets` [W + 1]; `rows` [E], rising within a word; `scores` [E].
    """

    size: int
    text: NDArray[np.uint8]
    starts: Int64
    weights: Float32
    offsets: Int64
    rows: Int32
    scores: Float32
    # of a shard: the rows that postings are read of; words, weights and which words are known are those of all products
    part: Rows | None = None
    # the places of words asked for lately
    _places: dict[str, _Places] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def load(cls, files: VersionLayout, size: int) -> WordIndex:
        """Maps the files of an index of `size` products; they must be verified.

        Raises CorruptArtifact if one cannot be read or does not fit.
        """
        try:
            # plain views: each index operation on numpy's mapped-file class costs a microsecond more
            columns = [np.asarray(np.load(path, mmap_mode="r", allow_pickle=False)) for path in word_files(files)]
        except (OSError, ValueError, EOFError) as error:
            raise CorruptArtifact(f"the index of words in {files.root} cannot be read: {error}") from error
        text, starts, weights, offsets, rows, scores = columns
        index = cls(size, text, starts, weights, offsets, rows, scores)
        index.check()
        return index

    def save(self, files: VersionLayout) -> None:
        """Writes the files."""
        columns: list[np.ndarray] = [self.text, self.starts, self.weights, self.offsets, self.rows, self.scores]
        for path, column in zip(word_files(files), columns, strict=True):
            np.save(path, column, allow_pickle=False)

    def within(self, part: Rows) -> WordIndex:
        """The same index, which finds the rows of a part alone, with the scores that they have among all."""
        return replace(self, part=part)

    def check(self) -> None:
        """Raises CorruptArtifact if the arrays do not fit together."""
        for name, column, wanted in (
            ("words", self.text, np.uint8),
            ("word_starts", self.starts, np.int64),
            ("word_weights", self.weights, np.float32),
            ("word_offsets", self.offsets, np.int64),
            ("word_rows", self.rows, np.int32),
            ("word_scores", self.scores, np.float32),
        ):
            if column.ndim != 1 or column.dtype != wanted:
                raise CorruptArtifact(f"{name} is {column.dtype} {list(column.shape)}, wanted {np.dtype(wanted)} [E]")
        words = len(self.weights)
        if not len(self.starts) == len(self.offsets) == words + 1:
            raise CorruptArtifact(
                f"word_starts holds {len(self.starts)} numbers and word_offsets {len(self.offsets)} for {words} words"
            )
        for name, places, last in (("word_starts", self.starts, self.text), ("word_offsets", self.offsets, self.rows)):
            if places[0] != 0 or (places[1:] < places[:-1]).any() or places[-1] != len(last):
                raise CorruptArtifact(f"{name} does not rise from 0 to {len(last)}")
        if len(self.rows) != len(self.scores):
            raise CorruptArtifact(f"word_rows holds {len(self.rows)} numbers, word_scores {len(self.scores)}")
        if len(self.rows) and not 0 <= int(self.rows.min()) <= int(self.rows.max()) < self.size:
            raise CorruptArtifact(f"word_rows holds a row outside of {self.size} products")
        for name, numbers in (("word_scores", self.scores), ("word_weights", self.weights)):
            if not ((numbers > 0) & (numbers < np.inf)).all():
                raise CorruptArtifact(f"{name} holds a number that is not finite or not above 0")

    def __len__(self) -> int:
        return len(self.weights)

    def word(self, place: int) -> str:
        """The word or stem at a place of the sorted list."""
        return bytes(self.text[self.starts[place] : self.starts[place + 1]]).decode()

    def place(self, word: str) -> int:
        """The place of a word, or of a stem with its sign; -1 if no product holds it."""
        place = self._first(word.encode())
        return place if place < len(self) and self.word(place) == word else -1

    def knows(self, word: str) -> bool:
        """Whether some product holds a word of `split_words` in some form."""
        return max(self._find(word)[:2]) >= 0

    def rows_of(self, word: str) -> Int64:
        """The rows of the products that hold a word in some form, all parts of it if it has several, rising."""
        found: Int64 | None = None
        for part in parts_of(word):
            rows = self._of_part(part).rows
            found = rows.astype(np.int64) if found is None else np.intersect1d(found, rows)
        return np.empty(0, np.int64) if found is None else found

    def weigh(self, alternatives: Sequence[Word]) -> tuple[float, float]:
        """The weight of a group of alternatives, 0 if no product holds one, and how sure it is that these are meant.

        As `match` weighs them, without looking at the products.
        """
        found = [(one.weight, *self._weigh_word(one.text)) for one in alternatives]
        known = [one for one in found if one[1]]
        if not known:
            completed = self._completions(alternatives[0].text)
            return completed.weight, completed.sure
        _, weight, sure = max(known, key=lambda one: one[0] * one[2])
        return weight, sure

    def weight(self, part: str) -> float:
        """The weight of one word of `split_words`, 0 if no product holds it in some form."""
        return self._weigh_part(part)[0]

    def _weigh_word(self, text: str) -> tuple[float, float]:
        parts = [self._weigh_part(part) for part in parts_of(text)]
        if len(parts) == 1 or not any(weight for weight, _ in parts):
            return parts[0]
        total = sum(weight or self._unknown_weight for weight, _ in parts)
        return total / len(parts), sum(weight * sure for weight, sure in parts) / total

    def _weigh_part(self, word: str) -> tuple[float, float]:
        places = self._find(word)
        place = places.word if places.stem < 0 else places.stem
        if place < 0:
            return 0.0, 1.0
        return float(self.weights[place]), 1.0 if places.word >= 0 else places.sure

    def match(self, words: Sequence[Word]) -> WordMatch:
        """How each product matches the words."""
        groups: dict[int, list[Word]] = defaultdict(list)
        for word in words:
            groups[word.group].append(word)
        # words first: the sum without the numbers is then the same sum, not yet finished
        named, counted = list[_Postings](), list[_Postings]()
        for alternatives in groups.values():
            is_counted = any(one.is_number for one in alternatives)
            (counted if is_counted else named).append(self._best(alternatives))
        sums = _Sum(self.size)
        for found in named:
            sums.add(found, self._unknown_weight)
        known_words = sum(found.sure for found in named if found.weight) / len(named) if named else 1.0
        numbers = None
        if counted:
            numbers = np.minimum(sums.shares(), 1) ** 2 if named else np.ones(self.size, np.float32)
            held = np.zeros(self.size, np.float32)
            for found in counted:
                held[found.rows] += np.float32(1 / len(counted))
                sums.add(found, self._unknown_weight)
            numbers *= held
        return WordMatch(sums.shares(), numbers, sums.known / sums.total if sums.total else 0.0, known_words)

    def held(self, alternatives: Sequence[Word], row: int) -> float:
        """How well a product holds one word of a search, given its alternatives: 0 to about 1."""
        found = self._best(alternatives)
        place = int(found.rows.searchsorted(row))
        return float(found.scores[place]) if place < len(found.rows) and found.rows[place] == row else 0.0

    @cached_property
    def _unknown_weight(self) -> float:
        return float(self.weights.mean()) if len(self) else 1.0

    def _best(self, alternatives: Sequence[Word]) -> _Postings:
        """The best alternative of each product; weighted as the likeliest known alternative is."""
        found = [(one.weight, self._of_word(one.text)) for one in alternatives]
        found = [(weight, one) for weight, one in found if one is not _UNKNOWN]
        if not found:
            return self._completions(alternatives[0].text)
        if len(found) == 1:
            weight, one = found[0]
            return one if weight == 1 else one._replace(scores=np.float32(weight) * one.scores)
        _, likeliest = max(found, key=lambda one: one[0] * one[1].sure)
        return self._joined(found, likeliest.weight, likeliest.sure)

    def _joined(self, found: Sequence[tuple[float, _Postings]], weight: float, sure: float) -> _Postings:
        """The highest weighted score of each product."""
        best = np.zeros(self.size, np.float32)
        for share, one in found:
            best[one.rows] = np.maximum(best[one.rows], np.float32(share) * one.scores)
        rows = np.flatnonzero(best)
        return _Postings(rows.astype(np.int32), best[rows], weight, sure)

    def _of_word(self, text: str) -> _Postings:
        parts = [self._of_part(part) for part in parts_of(text)]
        if len(parts) == 1 or all(one is _UNKNOWN for one in parts):
            return parts[0]
        # a size or a code counts by the share of its parts
        sums = _Sum(self.size)
        for one in parts:
            sums.add(one, self._unknown_weight)
        shares = sums.shares()
        rows = np.flatnonzero(shares)
        return _Postings(rows.astype(np.int32), shares[rows], sums.total / len(parts), sums.known / sums.total)

    def _of_part(self, word: str) -> _Postings:
        """The products that hold the word, and with less score those that hold its stem alone."""
        places = self._find(word)
        if places.stem < 0:
            return self._postings(places.word) if places.word >= 0 else _UNKNOWN
        stem = self._postings(places.stem)
        scores = np.float32(places.sure) * stem.scores
        if places.word < 0:
            return stem._replace(scores=scores, sure=places.sure)
        exact = self._postings(places.word)
        # who holds a word holds its stem
        where = stem.rows.searchsorted(exact.rows)
        scores[where] = np.maximum(scores[where], exact.scores)
        return stem._replace(scores=scores)

    def _completions(self, text: str) -> _Postings:
        """The commonest words that begin with an unknown one."""
        parts = parts_of(text)
        if len(parts) != 1 or parts[0][0].isdigit():
            return _UNKNOWN
        start = self._first(parts[0].encode())
        # the highest code point sorts after every letter
        stop = self._first(f"{parts[0]}\U0010ffff".encode())
        places = np.arange(start, stop)
        if not len(places):
            return _UNKNOWN
        counts = self.offsets[places + 1] - self.offsets[places]
        places = places[np.argsort(-counts, kind="stable")[:_COMPLETIONS]]
        found = [(_COMPLETION_SURE, self._postings(place)) for place in places.tolist()]
        return self._joined(found, min(one.weight for _, one in found), _COMPLETION_SURE)

    def _find(self, word: str) -> _Places:
        # one look: another thread may clear it between two
        found = self._places.get(word)
        if found is None:
            if len(self._places) >= _REMEMBERED:
                self._places.clear()
            found = self._places[word] = self._look_up(word)
        return found

    def _look_up(self, word: str) -> _Places:
        exact, stemmed = self.place(word), self.place(STEM + stem(word))
        if exact >= 0 or stemmed >= 0:
            return _Places(exact, stemmed, STEM_SURE)
        bare = (self.place(STEM + one) for one in clitic_stems(word))
        return _Places(-1, next((place for place in bare if place >= 0), -1), CLITIC_SURE)

    def _first(self, text: bytes) -> int:
        return bisect_left(
            range(len(self)), text, key=lambda place: bytes(self.text[self.starts[place] : self.starts[place + 1]])
        )

    def _postings(self, place: int) -> _Postings:
        start, stop = int(self.offsets[place]), int(self.offsets[place + 1])
        if self.part is not None:
            # in the type of the rows: numpy would convert all of them
            first, last = self.rows[start:stop].searchsorted(np.array(self.part, np.int32)).tolist()
            start, stop = start + first, start + last
        return _Postings(self.rows[start:stop], self.scores[start:stop], float(self.weights[place]))


def word_files(files: VersionLayout) -> list[Path]:
    """The files of a version's index of words, to be verified before it is loaded."""
    return [
        files.words,
        files.word_starts,
        files.word_weights,
        files.word_offsets,
        files.word_rows,
        files.word_scores,
    ]
