"""Decides whether what was learned from searches is kept: wordings held out must gain, and the rest lose nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from trainer.data.catalogue import Products
from trainer.search.ngram_learning import NgramLearner
from trainer.search.weights import Asked, make_queries, words_of
from trainer.search.wordings import Wordings
from twotower.arrays import Float32, Float64, Int64
from twotower.artifact.manifest import WordWeights
from twotower.graphs.query_ngrams import QueryNgrams
from twotower.graphs.text_encoder import TextEncoder
from twotower.search.vector_index import unit_rows
from twotower.search.word_index import WordIndex
from twotower.search.word_search import added_by_words

log = logging.getLogger(__name__)

# every wording is held out once, in one of so many parts, until so many have been judged
_PARTS, _JUDGED = 5, 1000
# fewer wordings prove nothing
_FEWEST = 10
# a mean loss on searches for titles that is no larger than this is none
_NO_LOSS = 0.002
_LISTED = 10
_CHUNK = 256


class Ranking(NamedTuple):
    """How a search without understanding ranks products: `vectors` [N, E], and what words add."""

    vectors: Float32
    words: WordIndex
    weights: WordWeights


class Gain(NamedTuple):
    """Mean quality of some searches before and after, and the standard error of the difference."""

    searches: int
    before: float
    after: float
    error: float

    @classmethod
    def of(cls, before: Float64, after: Float64) -> Gain:
        difference = after - before
        error = float(difference.std(ddof=1) / len(difference) ** 0.5) if len(difference) > 1 else 0.0
        return cls(len(before), float(before.mean()), float(after.mean()), error)

    @property
    def is_clear(self) -> bool:
        return self.after - self.before > 2 * self.error

    @property
    def is_loss(self) -> bool:
        return self.before - self.after > max(2 * self.error, _NO_LOSS)

    def __str__(self) -> str:
        return f"{self.before:.3f} to {self.after:.3f} on {self.searches:,}"


@dataclass(frozen=True)
class Learned:
    """What was learned from the searches, None if nothing is kept, and why.

    `held_out`: for wordings that it was not learned from, the share of their votes that the first ten places hold, each
    place counting as in DCG. `titles`: the quality of queries made from titles, as the weights of words are chosen by.
    """

    ngrams: QueryNgrams | None
    reason: str
    held_out: Gain | None = None
    titles: Gain | None = None

    def facts(self) -> dict[str, Any]:
        """What metrics.json says of it."""
        kept = self.ngrams
        gains = {name: gain and gain._asdict() for name, gain in (("held_out", self.held_out), ("titles", self.titles))}
        return {"kept": kept is not None, "reason": self.reason, "ngrams": len(kept.ids) if kept else 0, **gains}


def learn(wordings: Wordings, products: Products, ranking: Ranking, encoder: TextEncoder, seed: int) -> Learned:
    """Learns from the wordings, and judges it on wordings held out and on queries made from titles."""
    if encoder.spec.kind != "ngrams":
        return Learned(None, f"the encoder {encoder.spec.name!r} has no table of n-grams")
    if len(wordings.texts) < _FEWEST:
        return Learned(None, f"{len(wordings.texts)} wordings have enough buyers, at least {_FEWEST} are needed")
    learner = NgramLearner(encoder, ranking.vectors, products.titles)
    held_out = _judge_held_out(learner, wordings, ranking, encoder, seed)
    log.info(f"learning from searches: wordings held out {held_out}")
    if not held_out.is_clear:
        return Learned(None, f"wordings held out did not clearly gain: {held_out}", held_out)
    ngrams = learner.learn(wordings)
    asked = list(make_queries(products, ranking.words, seed))
    before, after = (_found(asked, ranking, one) for one in (encoder, encoder.for_queries(ngrams)))
    titles = Gain.of(before, after)
    log.info(f"learning from searches: queries made from titles {titles}")
    if titles.is_loss:
        return Learned(None, f"queries made from titles lost: {titles}", held_out, titles)
    return Learned(ngrams, f"wordings held out gained: {held_out}; queries made from titles {titles}", held_out, titles)


def _judge_held_out(
    learner: NgramLearner, wordings: Wordings, ranking: Ranking, encoder: TextEncoder, seed: int
) -> Gain:
    before, after = list[Float64](), list[Float64]()
    for held, others in _parts(len(wordings.texts), seed):
        judged, learned = wordings.part(held), encoder.for_queries(learner.learn(wordings.part(others)))
        before.append(_share_of_votes(judged, ranking, encoder))
        after.append(_share_of_votes(judged, ranking, learned))
        if sum(map(len, before)) >= _JUDGED:
            break
    return Gain.of(np.concatenate(before), np.concatenate(after))


def _parts(count: int, seed: int) -> Iterator[tuple[Int64, Int64]]:
    """The rows held out and the others, for each part."""
    order = np.random.default_rng(seed).permutation(count)
    for part in range(_PARTS):
        held = np.sort(order[part::_PARTS])
        yield held, np.setdiff1d(order, held)


def _share_of_votes(wordings: Wordings, ranking: Ranking, encoder: TextEncoder) -> Float64:
    """Of each wording [Q], the discounted share of votes that its first ten places hold; 1 is the best order of ten."""
    discounts = 1 / np.log2(np.arange(_LISTED) + 2.0)
    qualities = []
    for row, best in enumerate(best_rows(wordings.texts, ranking, encoder)):
        votes = wordings.votes[row].toarray()[0]
        ideal = -np.sort(-votes)[: len(best)]
        qualities.append((votes[best] * discounts[: len(best)]).sum() / (ideal * discounts[: len(best)]).sum())
    return np.array(qualities)


def _found(asked: Sequence[Asked], ranking: Ranking, encoder: TextEncoder) -> Float64:
    """The quality of each query [Q]: 1 / place of the product that was meant, or the share of answers in ten."""
    qualities = []
    for one, best in zip(asked, best_rows([one.text for one in asked], ranking, encoder), strict=True):
        is_answer = np.isin(best, one.answers)
        if one.means_one:
            qualities.append(1 / (1 + is_answer.argmax()) if is_answer.any() else 0.0)
        else:
            qualities.append(is_answer.sum() / max(1, min(_LISTED, len(one.answers))))
    return np.array(qualities)


def best_rows(texts: Sequence[str], ranking: Ranking, encoder: TextEncoder) -> Iterator[Int64]:
    """The ten best rows of each text."""
    count = min(_LISTED, len(ranking.vectors))
    for start in range(0, len(texts), _CHUNK):
        part = texts[start : start + _CHUNK]
        scores = unit_rows(encoder.encode(part)) @ ranking.vectors.T
        for text, one in zip(part, scores, strict=True):
            one += added_by_words(ranking.words, ranking.weights, words_of(text))
            rows = np.argpartition(-one, count - 1)[:count]
            yield rows[np.lexsort((rows, -one[rows]))]
