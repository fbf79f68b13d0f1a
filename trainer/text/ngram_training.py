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
from trainer.text.noise import noised, slipped
from twotower.text.ngrams import UNIT, Bag, NgramSpec
from twotower.text.normalise import Normaliser, item_text

# n-grams of a text that a training step reads
_WINDOW = 128


def train_catalogue_encoder(
    products: Products, config: CatalogueEncoderConfig, normaliser: Normaliser, seed: int
) -> SentenceTransformer:
    """Trains the embedded encoder on the product texts alone: no pretrained weights, no interactions.

    The n-gram vectors start random, weighted by a power of inverse document frequency, which by itself is a random
    projection of TF-IDF. Contrastive training (InfoNCE, in batch, both directions: a noised view of a title against
    the product's own title and its full text, beside those of its nearest products) then learns which n-grams tell
    products apart and which belong together.
    """
    spec = NgramSpec(
        config.ngram_min, config.ngram_max, config.buckets, config.length, int(config.loose_spelling),
        config.ngram_skeleton, config.ngram_joined, config.head_words, config.ngram_gaps,
    )  # fmt: skip
    module = HashedNgramEmbedding(config.dimension, spec.settings(), normaliser.settings())
    generator = torch.Generator().manual_seed(seed)
    draw = random.Random(seed)
    views = _Views(products, module, draw, config.max_texts)
    weight = torch.randn(config.buckets, config.dimension, generator=generator) / config.dimension**0.5
    table = _NgramTable(weight, views.frequency_weights(config.frequency_power, config.unseen))
    steps = config.steps if len(views.titles) > 1 else 0
    batches = _Batches(table.frozen(len(views.titles), views.title_bags) if steps else torch.empty(0), config, draw)
    for step in track(range(steps), "encoder", unit="batch"):
        rows = batches.rows()
        queries, titles, texts = table.encode(
            [[views.query(row) for row in rows], views.title_bags(rows), [views.document(row) for row in rows]]
        )
        same = torch.tensor([views.groups[row] for row in rows])
        # the same text elsewhere in the batch is not a negative
        twins = (same[:, None] == same[None, :]) & ~torch.eye(len(rows), dtype=torch.bool)
        for_titles, for_texts = (_info_nce(queries, one, twins, config.temperature) for one in (titles, texts))
        (for_titles + for_texts).backward()
        table.step(config.learning_rate * (1 - step / steps))
    with torch.no_grad():
        module.embedding.weight.copy_(table.folded())
    return SentenceTransformer(modules=[module], device="cpu")


def _info_nce(queries: Tensor, documents: Tensor, twins: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of each query's own document among the batch's, and of each document's own query."""
    logits = (queries @ documents.T / temperature).masked_fill(twins, float("-inf"))  # [B, B]
    target = torch.arange(len(queries))
    return functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)


class _Batches:
    """Rows of training batches: products drawn at random, each with its nearest ones before training, where wanted.

    A typo seldom leads to just any product: it leads to one that is spelt alike.
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
    """N-gram vectors times their frequency weights, trained by Adam on the rows that a step touches.

    Only those rows are gathered, differentiated and written back (lazy Adam). torch.optim.SparseAdam on a sparse
    embedding ends in the same weights, but a training step then takes twice the CPU time: 0.41 s against 0.21 s.
    """

    def __init__(self, weight: Tensor, frequency: Tensor) -> None:
        self._weight, self._frequency = weight, frequency[:, None]
        self._first, self._second = torch.zeros_like(weight), torch.zeros_like(weight)
        self._rows = torch.empty(0, dtype=torch.long)
        self._leaf = torch.empty(0)
        self._steps = 0

    def encode(self, views: Sequence[Sequence[Bag]]) -> list[Tensor]:
        """For each view, bags of n-grams → L2-normalised vectors [B, E]."""
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
        """L2-normalised vectors [N, E] of the bags of rows 0 to `count`, as the table stands."""
        table = self.folded()
        parts = []
        for start in range(0, count, chunk):
            part = bags_of(range(start, min(start + chunk, count)))
            ids = torch.tensor([one for bag in part for one in bag.ids], dtype=torch.long)
            parts.append(_sums(table, ids, part))
        return torch.cat(parts)

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
    """L2-normalised weighted sums [B, E] of the rows `ids` of the table, which are those of the bags in turn."""
    offsets = torch.tensor([0, *np.cumsum([len(bag.ids) for bag in bags[:-1]])])
    weights = torch.tensor([weight for bag in bags for weight in bag.weights], dtype=torch.float32) / UNIT
    return functional.normalize(
        functional.embedding_bag(ids, table, offsets, mode="sum", per_sample_weights=weights), dim=-1
    )


class _Views:
    """Noised views of product texts, as n-gram ids."""

    def __init__(self, products: Products, module: HashedNgramEmbedding, draw: random.Random, limit: int) -> None:
        texts = zip(products.titles, products.descriptions, strict=True)
        # a product without any text has nothing to learn from
        chosen = [row for row, (title, text) in enumerate(texts) if module.normalise(item_text(title, text))]
        rows = sorted(draw.sample(chosen, limit)) if len(chosen) > limit else chosen
        self._draw = draw
        self._spec = module.spec
        fold = module.normalise
        self.titles = [fold(products.titles[row]) or fold(products.descriptions[row]) for row in rows]
        self._texts = [fold(item_text(products.titles[row], products.descriptions[row])) for row in rows]
        # steps come back to the same products: 12 KB of n-grams each
        self._text_bag = lru_cache(maxsize=8192)(lambda row: self._spec.bag(self._texts[row]))
        self._title_bag = lru_cache(maxsize=32_768)(lambda row: self._spec.bag(self.titles[row]))
        numbers: dict[str, int] = {}
        self.groups = [numbers.setdefault(title, len(numbers)) for title in self.titles]

    def frequency_weights(self, power: float, unseen: float) -> Tensor:
        """What each bucket weighs: its inverse document frequency to `power`, and a share of the highest where no
        product has it: a word that the catalogue does not know tells its products no further apart."""
        counts = np.zeros(self._spec.buckets, np.int64)
        for text in self._texts:
            counts[np.unique(np.array(self._spec.bag(text).ids, np.int64))] += 1
        weights = (np.log((1 + len(self._texts)) / (1 + counts)) + 0.1) ** power
        weights[counts == 0] *= unseen
        return torch.from_numpy(weights.astype(np.float32))

    def title_bags(self, rows: Iterable[int]) -> list[Bag]:
        """The n-grams of titles."""
        return [self._title_bag(row) for row in rows]

    def document(self, row: int) -> Bag:
        """The full text, cut to a window of its n-grams to keep steps even."""
        bag = self._text_bag(row)
        if len(bag.ids) <= _WINDOW:
            return bag
        kept = sorted(self._draw.sample(range(len(bag.ids)), _WINDOW))
        return Bag([bag.ids[place] for place in kept], [bag.weights[place] for place in kept])

    def query(self, row: int) -> Bag:
        title = self.titles[row]
        if self._draw.random() < 0.5:
            # one slip of the pen, and nothing else
            return self._spec.bag(slipped(title, self._draw) or title)
        text = noised(title, self._draw) or title
        if self._draw.random() < 0.4:
            # a word that does not belong: sellers add notes of their own
            stray = self._draw.choice(self.titles[self._draw.randrange(len(self.titles))].split() or [""])
            text = self._draw.choice((f"{stray} {text}", f"{text} {stray}"))
        return self._spec.bag(text)
