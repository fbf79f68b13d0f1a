"""The network of the catalogue encoder, as a sentence-transformers module."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from sentence_transformers.base.modules import InputModule
from torch import Tensor, nn
from torch.nn import functional

from twotower.text.ngrams import NgramSpec
from twotower.text.normalise import Normaliser


class HashedNgramEmbedding(InputModule):
    """Texts [B] → L2-normalised weighted sums of the vectors of their hashed n-grams [B, E].

    It normalises raw text itself: `SentenceTransformer(folder).encode(raw_text)` needs no other step.
    """

    config_keys: ClassVar[list[str]] = ["dimension", "ngrams", "normaliser"]

    def __init__(self, dimension: int, ngrams: dict[str, int], normaliser: dict[str, bool]) -> None:
        super().__init__()
        self.dimension, self.ngrams, self.normaliser = dimension, ngrams, normaliser
        self.spec = NgramSpec(**ngrams)
        self.normalise = Normaliser(**normaliser)
        self.embedding = nn.EmbeddingBag(self.spec.buckets, dimension, mode="sum", padding_idx=0)

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **_: Any) -> dict[str, Tensor]:
        ids, weights = self.spec.batch([self.normalise((prompt or "") + str(text)) for text in inputs])
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(weights)}

    def forward(self, features: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
        weights = features["attention_mask"].to(self.embedding.weight.dtype)
        sums = self.embedding(features["input_ids"], per_sample_weights=weights)
        features["sentence_embedding"] = functional.normalize(sums, dim=-1)
        return features

    def get_embedding_dimension(self) -> int:
        return self.dimension

    @property
    def max_seq_length(self) -> int:
        return self.spec.length

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=True)

    @classmethod
    def load(cls, model_name_or_path: str, **kwargs: Any) -> HashedNgramEmbedding:
        names = ("subfolder", "token", "cache_folder", "revision", "local_files_only")
        hub = {name: kwargs[name] for name in names if name in kwargs}
        module = cls(**cls.load_config(model_name_or_path, **hub))
        cls.load_torch_weights(model_name_or_path, model=module, **hub)
        return module
