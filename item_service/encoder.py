"""Encodes items to vectors, with the text encoder, the vocabulary and the item tower of one version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from item_service.queries import QueryEncoder, Typed
from item_service.query.shop_synonyms import ShopSynonyms
from item_service.settings import ItemSettings
from twotower.arrays import Float32
from twotower.artifact.catalogue import read_product_rows
from twotower.artifact.search_words import SearchWords
from twotower.artifact.version import Version
from twotower.artifact.vocab import Vocab
from twotower.caller import check_caller
from twotower.errors import CorruptArtifact, InvalidInput
from twotower.graphs.query_encoder import load_query_encoder
from twotower.graphs.text_encoder import TextEncoder
from twotower.graphs.towers import ItemTower


class Item(NamedTuple):
    """One item to encode; every field may be empty."""

    title: str
    description: str
    brand: str = ""
    category: str = ""
    product_id: str = ""


class EncodedRow(NamedTuple):
    """Why an item has no vector, if so, and which of its fields the model does not know."""

    error: InvalidInput | None
    unknown_fields: list[str]


class EncodedItems(NamedTuple):
    """Vectors [B, D] of the item tower or [B, E] of the text encoder, and the latter as `texts`; rows [B].

    All zero in rows with an error.
    """

    vectors: Float32
    rows: list[EncodedRow]
    texts: Float32


class _Codes(NamedTuple):
    brand: int
    category: int
    product: int


class ItemEncoder:
    """Encodes items to L2-normalised vectors: for a product of the catalogue, the vector that the trainer stored.

    `product_rows` maps a product's id to its row in the catalogue's vectors. A product of the catalogue also gets its
    learned embedding (input row + 1 of the tower); any other id is encoded from its content alone.
    """

    def __init__(
        self,
        text_encoder: TextEncoder,
        tower: ItemTower,
        vocab: Vocab,
        product_rows: Mapping[str, int],
        *,
        dimension: int,
        max_text: int,
    ) -> None:
        self._text_encoder = text_encoder
        self._tower = tower
        self._vocab = vocab
        self._product_rows = product_rows
        self._dimension = dimension
        self._max_text = max_text

    def encode(self, items: Sequence[Item]) -> EncodedItems:
        """Vectors [B, D] of a batch, in its order. An item that cannot be encoded has an error in its own row alone."""
        codes = [self._codes(item) for item in items]
        rows = [EncodedRow(self._problem(item), _unknown(item, code)) for item, code in zip(items, codes, strict=True)]
        vectors = np.zeros((len(items), self._dimension), np.float32)
        every = np.zeros((len(items), self._text_encoder.spec.dimension), np.float32)
        good = [place for place, row in enumerate(rows) if row.error is None]
        if good:
            texts = self._text_encoder.encode([self._text(items[place]) for place in good])  # [good, E]
            every[good] = texts
            brand, category, product = np.array([codes[place] for place in good], np.int64).T
            vectors[good] = self._tower.encode(texts, brand, category, product)  # [good, D]
        return EncodedItems(vectors, rows, every)

    def encode_texts(self, items: Sequence[Item]) -> EncodedItems:
        """Text vectors [B, E] of a batch, without the item tower; errors as in `encode`, no unknown fields."""
        rows = [EncodedRow(self._problem(item), []) for item in items]
        vectors = np.zeros((len(items), self._text_encoder.spec.dimension), np.float32)
        good = [place for place, row in enumerate(rows) if row.error is None]
        if good:
            vectors[good] = self._text_encoder.encode([self._text(items[place]) for place in good])
        return EncodedItems(vectors, rows, vectors)

    def _text(self, item: Item) -> str:
        return self._text_encoder.text_of(item.title, item.description)

    def _codes(self, item: Item) -> _Codes:
        # `_problem` refuses a name that is too long, so folding it would be wasted work
        brand = self._vocab.brand_index(item.brand) if len(item.brand) <= self._max_text else 0
        category = self._vocab.category_index(item.category) if len(item.category) <= self._max_text else 0
        return _Codes(brand, category, self._product_rows.get(item.product_id, -1) + 1)

    def _problem(self, item: Item) -> InvalidInput | None:
        check_caller()
        size = len(item.title) + len(item.description)
        if size > self._max_text:
            longest = max(("title", item.title), ("description", item.description), key=lambda one: len(one[1]))
            problem = f"title and description have {size} characters, the limit is {self._max_text}"
            return InvalidInput(*longest, problem)
        for field, value in (("brand", item.brand), ("category", item.category)):
            if len(value) > self._max_text:
                return InvalidInput(field, value, f"has {len(value)} characters, the limit is {self._max_text}")
        if not self._text_encoder.normalise(self._text(item)):
            return InvalidInput("title", item.title, "title and description hold no text")
        return None


class Encoders(NamedTuple):
    """What one version encodes: items, and what shoppers type."""

    items: ItemEncoder
    queries: QueryEncoder


def load(version: Version, settings: ItemSettings, synonyms: ShopSynonyms | None = None) -> Encoders:
    """Opens the encoders of a version, checks their files against the manifest, and runs one batch of each.

    `synonyms`: those that several versions share; None reads those of the settings.
    Raises CorruptArtifact if a file does not fit.
    """
    files, folder, manifest = version.layout, version.encoder, version.manifest
    version.check(*(folder.root / name for name in manifest.encoder_files))
    version.check(files.item_tower, files.item_tower_rows)
    version.check(files.vocab, files.ids, files.search_words, *(version.query_ngrams or ()))
    text_encoder = TextEncoder.load(folder, threads=1)
    if text_encoder.spec.dimension != manifest.text_dimension:
        raise CorruptArtifact(
            f"{folder.spec} says {text_encoder.spec.dimension} dimensions, the manifest {manifest.text_dimension}"
        )
    product_rows = read_product_rows(files.ids)
    if len(product_rows) != manifest.products:
        raise CorruptArtifact(f"{files.ids} holds {len(product_rows)} ids, the manifest says {manifest.products}")
    tower, vocab = ItemTower(files, threads=1), Vocab.load(files.vocab)
    _warm(version, text_encoder, tower, vocab)
    items = ItemEncoder(
        text_encoder, tower, vocab, product_rows, dimension=manifest.dimension, max_text=settings.max_text
    )
    words = SearchWords.load(files.search_words)
    queries = QueryEncoder(
        load_query_encoder(version, text_encoder),
        words,
        synonyms or ShopSynonyms(settings.synonyms),
        settings.steps,
        settings.max_text,
    )
    queries.encode([Typed("خاتم ذهب"), Typed("khatem dahab")])
    return Encoders(items, queries)


def _warm(version: Version, text_encoder: TextEncoder, tower: ItemTower, vocab: Vocab) -> None:
    """Runs one batch with the highest code of every table, which fails if a table has the wrong size."""
    text = text_encoder.encode(["خاتم ذهب", "زيت محرك 5W-30"])  # [2, E]
    highest = (max(vocab.brand.values(), default=0), max(vocab.category.values(), default=0), version.manifest.products)
    brand, category, product = (np.array([0, code], np.int64) for code in highest)
    vectors = tower.encode(text, brand, category, product)
    if vectors.shape != (2, version.manifest.dimension) or not np.isfinite(vectors).all():
        raise CorruptArtifact(
            f"{version.layout.item_tower} gave {list(vectors.shape)} for two items, wanted finite numbers "
            f"[2, {version.manifest.dimension}]"
        )


def _unknown(item: Item, codes: _Codes) -> list[str]:
    given = (("brand", item.brand), ("category", item.category), ("product_id", item.product_id))
    return [field for (field, value), code in zip(given, codes, strict=True) if value.strip() and not code]
