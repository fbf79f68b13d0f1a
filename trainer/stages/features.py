"""The inputs of the item tower for every product of a catalogue."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from trainer.cluster.parts import open_engine
from trainer.config.schema import Config, Encoder
from trainer.data.catalogue import Products
from trainer.model.inputs import ItemFeatures
from trainer.text.vectors import TextWorker, encode_cached, texts_of, titles_of
from twotower.arrays import Float32
from twotower.artifact.layout import EncoderLayout
from twotower.artifact.vocab import Vocab
from twotower.graphs.text_encoder import EncoderSpec

log = logging.getLogger(__name__)


def as_read(products: Products, encoder: Encoder) -> Products:
    """The products with the texts that the encoder is to read."""
    return products if encoder.reads_descriptions else products.without_descriptions()


class TextVectors(NamedTuple):
    """Vectors [N, E] of the products' texts, and of their titles alone; None if training does not use titles."""

    texts: torch.Tensor
    titles: torch.Tensor | None


def text_vectors(
    products: Products, encoder: EncoderLayout, config: Config, categories: int, cache: Path
) -> TextVectors:
    """Encodes texts and titles with the exported encoder; the vectors of known texts come from `cache`.

    The title of a product is as short as a shopper's query. The item tower therefore learns from titles too, unless the
    catalogue has fewer than two `categories`.
    """
    texts = texts_of(products)
    titles = titles_of(products) if config.training.category_alignment and categories > 1 else []
    every = [*texts, *titles]
    spec = EncoderSpec.model_validate_json(encoder.spec.read_bytes())
    vectors, encoded = encode_cached(
        lambda lists: _encode(lists, encoder, config), spec.dimension, encoder.root.name, every, cache
    )
    log.info(f"text vectors: {encoded:,} encoded, {len(set(every)) - encoded:,} from the cache")
    return TextVectors(
        torch.from_numpy(vectors[: len(texts)]), torch.from_numpy(vectors[len(texts) :]) if titles else None
    )


def _encode(lists: Sequence[Sequence[str]], encoder: EncoderLayout, config: Config) -> Iterator[Float32]:
    """Vectors of each list of texts, on this machine or on the cluster of the settings."""
    parts = ({"text": np.array(texts, dtype=object)} for texts in lists)
    arguments = (str(encoder.root.resolve()), 1 if config.ray else config.thread_count, config.encoder.batch_size)
    for part in open_engine(config.ray).map(parts, TextWorker, *arguments):
        yield part["vector"]


def item_features(products: Products, texts: torch.Tensor, vocab: Vocab, attributes: torch.Tensor) -> ItemFeatures:
    """The features of all products, product 1 first; `attributes` are their codes [N, A]."""
    return ItemFeatures(
        texts,
        torch.tensor([vocab.brand_index(brand) for brand in products.brands]),
        torch.tensor([vocab.category_index(category) for category in products.categories]),
        torch.arange(1, len(products) + 1),
        attributes,
    )
