"""Why each product is in a list: shares of the history's products, or what a product shares with words or a product."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from gateway import sentences
from gateway.clients.answers import EncodedBuyer, Hits, Together
from gateway.clients.deadline import Deadline
from gateway.clients.retrieval import Retrieval
from gateway.sentences import Cause, Sentence
from twotower.arrays import Float32
from twotower.pb import item_pb2, retrieval_pb2
from twotower.serving import wire
from twotower.text.words import indexed_words, is_number, stem

# products of a history that a reason names, and the share from which one is named
_MOST, _SMALLEST = 3, 0.05


@dataclass(frozen=True)
class Because:
    """A product of the history, its event of greatest weight, and its share of the score."""

    product_id: str
    event_type: str
    share: float


@dataclass(frozen=True)
class Reason:
    """Why one product is in the list.

    For a cart: `because` names the product of it that goes with this one best, without an `event_type`.
    For a history: the shares of `because`, `taste` (what the model adds whatever the history), `popularity` and
    `others` (the rest of the history) sum to 1; all are null if the score is not above 0. Otherwise: the `words` and
    `attributes` that the product shares with the search or the product asked for.
    """

    sentence: Sentence
    because: list[Because] = field(default_factory=list)
    taste: float | None = None
    popularity: float | None = None
    others: float | None = None
    words: list[str] = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)
    # the rule that moved the product to its place
    placed_by: str | None = None


async def of_history(retrieval: Retrieval, encoded: EncodedBuyer, hits: Hits, deadline: Deadline) -> list[Reason]:
    """One reason per product of a list that a history has ranked; both were asked for their parts."""
    assert hits.reasons is not None and encoded.parts is not None, "the parts were not asked for"
    events = dict(zip(encoded.parts.product_ids, encoded.parts.event_types, strict=True))
    history, count = list(hits.reasons.product_ids), len(hits.scores)
    adds = wire.unpack_scores(hits.reasons.contributions).reshape(count, len(history) + 2)
    shares = [_shares(row, score) for row, score in zip(adds, hits.scores.tolist(), strict=True)]
    named = {place for row in shares if row is not None for place in _largest(row)}
    # a product that the parts do not have is older than the history that is encoded
    ids = [history[place] for place in sorted(named) if history[place] in events]
    found = await retrieval.lookup_reachable(ids, hits.version, deadline)
    titles = {one.product_id: one.title for one in found if one.found}
    products = wire.unpack_ids(hits.packed_ids)
    return [_of_shares(product, row, history, events, titles) for product, row in zip(products, shares, strict=True)]


def of_popularity(count: int) -> list[Reason]:
    """Reasons for popular products."""
    return [Reason(sentences.POPULAR, popularity=1.0, taste=0.0, others=0.0)] * count


async def of_product(
    retrieval: Retrieval, product_id: str, hits: Hits, followers: Collection[str], deadline: Deadline
) -> list[Reason]:
    """What each product shares with the product asked for, or that buyers take it afterwards; the hits have details."""
    [asked] = await retrieval.lookup_reachable([product_id], hits.version, deadline)
    return [
        Reason(sentences.after(asked.title)) if one in followers else _shared(asked, product)
        for one, product in zip(wire.unpack_ids(hits.packed_ids), hits.products, strict=True)
    ]


async def of_cart(retrieval: Retrieval, cart: Sequence[str], found: Together, deadline: Deadline) -> list[Reason]:
    """The product of the cart that each product goes with best, or that it is popular."""
    named = sorted({cart[place] for place in found.because if place >= 0})
    titles = {
        one.product_id: one.title for one in await retrieval.lookup_reachable(named, found.hits.version, deadline)
    }
    return [
        Reason(sentences.POPULAR)
        if place < 0
        else Reason(
            sentences.bought_with(titles[cart[place]]) if is_known else sentences.goes_with(titles[cart[place]]),
            [Because(cart[place], "", 1.0)],
        )
        for place, is_known in zip(found.because, found.is_known, strict=True)
    ]


async def of_words(understood: item_pb2.Understood, hits: Hits) -> list[Reason]:
    """The words of the search that stand in each product's title, brand or category; the hits have details."""
    return [_matched(understood.words, product) for product in hits.products]


def with_rules(reasons: Sequence[Reason], ids: Sequence[str], placed_by: Mapping[str, str]) -> list[Reason]:
    """The reasons of a list that rules have changed: a product that a rule placed says so."""
    return [
        replace(reason, sentence=sentences.PLACED, placed_by=placed_by[one]) if one in placed_by else reason
        for one, reason in zip(ids, reasons, strict=True)
    ]


def _shares(contributions: Float32, score: float) -> Float32 | None:
    if not score > 0:
        return None
    shares: Float32 = contributions / np.float32(score)
    return shares


def _largest(shares: Float32) -> list[int]:
    """The history's products of largest share, largest first."""
    order = np.argsort(-shares[:-2], kind="stable")[:_MOST].tolist()
    return [place for place in order if shares[place] >= _SMALLEST]


def _of_shares(
    product_id: str, shares: Float32 | None, history: Sequence[str], events: dict[str, str], titles: dict[str, str]
) -> Reason:
    if shares is None:
        return Reason(sentences.CHOSEN)
    because = [
        Because(history[place], events[history[place]], float(shares[place]))
        for place in _largest(shares)
        if history[place] in titles
    ]
    taste, popularity = float(shares[-2]), float(shares[-1])
    others = float(shares.sum()) - taste - popularity - sum(one.share for one in because)
    causes = [Cause(one.event_type, titles[one.product_id]) for one in because]
    if because and because[0].product_id == product_id:
        sentence = sentences.again(because[0].event_type)
    elif because and because[0].share >= max(taste, popularity):
        sentence = sentences.because(causes)
    else:
        sentence = sentences.POPULAR if popularity >= taste else sentences.CHOSEN
    return Reason(sentence, because, taste, popularity, others)


def _shared(asked: retrieval_pb2.Product, product: retrieval_pb2.Product) -> Reason:
    same = {
        name: getattr(product, name)
        for name in ("category", "brand")
        if getattr(product, name) and getattr(product, name) == getattr(asked, name)
    }
    wanted = {_folded(word) for word in indexed_words(asked.title)}
    words = [word for word in dict.fromkeys(indexed_words(product.title)) if _folded(word) in wanted]
    return Reason(sentences.shared(same, words), words=words, attributes=list(same))


def _matched(wanted: Sequence[item_pb2.QueryWord], product: retrieval_pb2.Product) -> Reason:
    held = {_folded(word) for word in indexed_words(f"{product.title} {product.brand} {product.category}")}
    words = list(dict.fromkeys(one.text for one in wanted if _folded(one.text) in held))
    return Reason(sentences.matched(words), words=words)


def _folded(word: str) -> str:
    return word if is_number(word) else stem(word)
