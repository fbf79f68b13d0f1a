"""Trains the catalogue encoder on product texts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor
from torch.nn import functional

from trainer.config.schema import CatalogueEncoderConfig
from trainer.data.catalogue import Products
from trainer.progress import track
from trainer.text.ngram_model import HashedNgramEmbedding
from trainer.text.typos import add_typo, augment_title
from twotower.text.ngrams import UNIT, Bag, NgramSpec
from twotower.text.normalise import Normaliser, item_text

# A training step reads at most this many n-grams of a text.
_WINDOW = 128


def train_catalogue_encoder(
    products: Products, config: CatalogueEncoderConfig, normaliser: Normaliser, seed: int
) -> SentenceTransformer:
    """Trains the catalogue encoder on product texts only: no pretrained weights, no interactions.

    The n-gram vectors start random, weighted by a power of the inverse document frequency: a random projection of
    TF-IDF. Contrastive training then learns which n-grams distinguish products and which are near in meaning: InfoNCE
    with in-batch negatives in both directions, an augmented title against its product's title and against its full
    text.
    """
    spec = NgramSpec(
        minimum=config.ngram_min,
        maximum=config.ngram_max,
        buckets=config.buckets,
        length=config.length,
        spelling=int(config.loose_spelling),
        skeleton=config.ngram_skeleton,
        joined=config.ngram_joined,
        head=config.head_words,
        gaps=config.ngram_gaps,
    )
    module = HashedNgramEmbedding(config.dimension, spec.settings(), normaliser.settings())
    generator = torch.Generator().manual_seed(seed)
    draw = random.Random(seed)
    views = _Views(products, module, draw, config.max_texts)
    weight = torch.randn(config.buckets, config.dimension, generator=generator) / config.dimension**0.5
    table = _NgramTable(weight, views.frequency_weights(config.frequency_power, config.unseen_weight))
    if config.steps and len(views.titles) > 1:
        _train(table, views, config, draw)
    with torch.no_grad():
        module.embedding.weight.copy_(table.folded())
    return SentenceTransformer(modules=[module], device="cpu")


def _train(table: _NgramTable, views: _Views, config: CatalogueEncoderConfig, draw: random.Random) -> None:
    batches = _Batches(table.frozen(len(views.titles), views.title_bags), config, draw)
    for step in track(range(config.steps), "encoder", unit="batch"):
        rows = batches.rows()
        queries, titles, texts = table.encode(
            [[views.query(row) for row in rows], views.title_bags(rows), [views.document(row) for row in rows]]
        )
        group = torch.tensor([views.groups[row] for row in rows])
        # Another product of the batch with the same title is not a negative.
        masked = (group[:, None] == group[None, :]) & ~torch.eye(len(rows), dtype=torch.bool)
        title_loss, text_loss = (_info_nce(queries, one, masked, config.temperature) for one in (titles, texts))
        (title_loss + text_loss).backward()
        table.step(config.learning_rate * (1 - step / config.steps))


def _info_nce(queries: Tensor, documents: Tensor, masked: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of each query against the batch's documents, plus that of each document against its queries.

    `masked` [B, B] is True for pairs that are neither positive nor negative.
    """
    logits = (queries @ documents.T / temperature).masked_fill(masked, float("-inf"))  # [B, B]
    target = torch.arange(len(queries))
    return functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)


class _Batches:
    """Draws training batches: random products, each with its nearest neighbours in spelling as hard negatives.

    `vectors` [N, E] are those before training: a typo leads to a product with a similar spelling, not to any product.
    """

    def __init__(self, vectors: Tensor, config: CatalogueEncoderConfig, draw: random.Random) -> None:
        self._vectors, self._draw = vectors, draw
        self._size, self._group = config.batch_size, min(config.batch_group, config.batch_size, max(1, len(vectors)))

    def rows(self) -> list[int]:
        """At most `batch_size` different rows."""
        anchors = [self._draw.randrange(len(self._vectors)) for _ in range(self._size // self._group)]
        if self._group == 1:
            return list(dict.fromkeys(anchors))
        near = (self._vectors[anchors] @ self._vectors.T).topk(self._group, dim=1).indices  # [anchors, group]
        return list(dict.fromkeys([*anchors, *near.flatten().tolist()]))[: self._size]


class _NgramTable:
    """N-gram vectors times their frequency weights, trained by lazy Adam.

    Only the rows that a step uses are gathered, differentiated and written back. torch.optim.SparseAdam on a sparse
    embedding gives the same weights, but a training step then takes twice the CPU time: 0.41 s against 0.21 s.
    """

    def __init__(self, weight: Tensor, frequency: Tensor) -> None:
        self._weight, self._frequency = weight, frequency[:, None]
        self._first, self._second = torch.zeros_like(weight), torch.zeros_like(weight)
        self._rows = torch.empty(0, dtype=torch.long)
        self._leaf = torch.empty(0)
        self._steps = 0

    def encode(self, views: Sequence[Sequence[Bag]]) -> list[Tensor]:
        """Bags of n-grams [B] → L2-normalised vectors [B, E], for each view."""
        flat = [np.fromiter((one for bag in view for one in bag.ids), np.int64) for view in views]
        unique, inverse = np.unique(np.concatenate(flat), return_inverse=True)
        self._rows = torch.from_numpy(unique)
        self._leaf = self._weight[self._rows].requires_grad_()
        table = self._leaf * self._frequency[self._rows]
        vectors, start = [], 0
        for view, ids in zip(views, flat, strict=True):
            part = torch.from_numpy(inverse[start : start + len(ids)])
            vectors.append(_sums(table, part, view))
            start += len(ids)
        return vectors

    @torch.no_grad()
    def frozen(self, count: int, bags_of: Callable[[range], list[Bag]], chunk: int = 4096) -> Tensor:
        """L2-normalised vectors [N, E] of the bags of rows 0 to `count`, without gradients."""
        table = self.folded()
        vectors = torch.empty(count, table.shape[1])
        for start in range(0, count, chunk):
            part = bags_of(range(start, min(start + chunk, count)))
            ids = torch.tensor([one for bag in part for one in bag.ids], dtype=torch.long)
            vectors[start : start + len(part)] = _sums(table, ids, part)
        return vectors

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """One Adam step on the rows of the last `encode`."""
        gradient, rows = self._leaf.grad, self._rows
        assert gradient is not None
        self._steps += 1
        first = self._first[rows].lerp_(gradient, 0.1)
        second = self._second[rows].lerp_(gradient.square(), 0.001)
        self._first[rows], self._second[rows] = first, second
        scale = (1 - 0.999**self._steps) ** 0.5 / (1 - 0.9**self._steps)
        self._weight[rows] -= rate * scale * first / (second.sqrt() + 1e-8)

    def folded(self) -> Tensor:
        """The vectors with their frequency weights multiplied in; row 0 (padding) is zero."""
        folded = self._weight * self._frequency
        folded[0] = 0
        return folded


def _sums(table: Tensor, ids: Tensor, bags: Sequence[Bag]) -> Tensor:
    """L2-normalised weighted sums [B, E] of table rows; `ids` holds the rows of all bags, one bag after another."""
    offsets = torch.tensor([0, *np.cumsum([len(bag.ids) for bag in bags[:-1]])])
    weights = torch.tensor([weight for bag in bags for weight in bag.weights], dtype=torch.float32) / UNIT
    return functional.normalize(
        functional.embedding_bag(ids, table, offsets, mode="sum", per_sample_weights=weights), dim=-1
    )


class _Views:
    """Views of product texts as bags of n-grams: titles, full texts, and augmented titles."""

    def __init__(self, products: Products, module: HashedNgramEmbedding, draw: random.Random, limit: int) -> None:
        texts = zip(products.titles, products.descriptions, strict=True)
        # A product without text gives nothing to learn from.
        chosen = [row for row, (title, text) in enumerate(texts) if module.normalise(item_text(title, text))]
        rows = sorted(draw.sample(chosen, limit)) if len(chosen) > limit else chosen
        self._draw = draw
        self._spec = module.spec
        fold = module.normalise
        self.titles = [fold(products.titles[row]) or fold(products.descriptions[row]) for row in rows]
        self._texts = [fold(item_text(products.titles[row], products.descriptions[row])) for row in rows]
        # Steps draw the same products again; a product's n-grams take about 12 KB.
        self._text_bag = lru_cache(maxsize=8192)(lambda row: self._spec.bag(self._texts[row]))
        self._title_bag = lru_cache(maxsize=32_768)(lambda row: self._spec.bag(self.titles[row]))
        numbers: dict[str, int] = {}
        self.groups = [numbers.setdefault(title, len(numbers)) for title in self.titles]

    def frequency_weights(self, power: float, unseen: float) -> Tensor:
        """The weight of each bucket: its inverse document frequency to `power`.

        A bucket that no product has gets the share `unseen` of the highest weight: a word that is not in the catalogue
        does not distinguish its products.
        """
        counts = np.zeros(self._spec.buckets, np.int64)
        for text in self._texts:
            counts[np.unique(np.array(self._spec.bag(text).ids, np.int64))] += 1
        weights = (np.log((1 + len(self._texts)) / (1 + counts)) + 0.1) ** power
        weights[counts == 0] *= unseen
        return torch.from_numpy(weights.astype(np.float32))

    def title_bags(self, rows: Iterable[int]) -> list[Bag]:
        return [self._title_bag(row) for row in rows]

    def document(self, row: int) -> Bag:
        """The full text, or a random sample of its n-grams if it is long: steps then take a similar time."""
        bag = self._text_bag(row)
        if len(bag.ids) <= _WINDOW:
            return bag
        kept = sorted(self._draw.sample(range(len(bag.ids)), _WINDOW))
        return Bag([bag.ids[place] for place in kept], [bag.weights[place] for place in kept])

    def query(self, row: int) -> Bag:
        """The title with one typo, or an augmented title."""
        title = self.titles[row]
        if self._draw.random() < 0.5:
            return self._spec.bag(add_typo(title, self._draw) or title)
        text = augment_title(title, self._draw) or title
        if self._draw.random() < 0.4:
            # A word of another title: sellers add notes of their own.
            stray = self._draw.choice(self.titles[self._draw.randrange(len(self.titles))].split() or [""])
            text = self._draw.choice((f"{stray} {text}", f"{text} {stray}"))
        return self._spec.bag(text)
