"""The frozen text encoder as services run it: tokenizer, ONNX graph, and the settings they were exported with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from twotower.artifact import EncoderLayout
from twotower.ngrams import NgramSpec, pad
from twotower.text import Normaliser
from twotower.tower import Graph

Float32 = NDArray[np.float32]


class EncoderSpec(BaseModel):
    """What encoder.json holds: everything beside the graph that decides a text's vector."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # "ngrams": hashed character n-grams; "tokenizer": a Hugging Face tokenizer.json
    kind: Literal["ngrams", "tokenizer"]
    name: str
    dimension: int
    normaliser: dict[str, bool]
    # how `text.item_text` puts an item's text together; another template would need another reader
    template: Literal["{title} {description}"] = "{title} {description}"
    prompt: str = ""
    max_length: int
    ngrams: dict[str, int] | None = None


class TextEncoder:
    """Texts to vectors [B, E], exactly as the trainer's encoder gives them.

    `texts` are raw: normalisation and prompt are applied here. Batches are cut by length so that padding is little.
    """

    def __init__(self, spec: EncoderSpec, tokenizer: Any, graph: Graph) -> None:
        self.spec = spec
        self.normalise = Normaliser(**spec.normaliser)
        self._tokenizer = tokenizer
        self._graph = graph

    @classmethod
    def load(cls, layout: EncoderLayout, threads: int) -> TextEncoder:
        """Reads the three files of an encoder folder, which must have been checked before."""
        spec = EncoderSpec.model_validate_json(layout.spec.read_bytes())
        graph = Graph(layout.graph, {"input_ids": 2, "attention_mask": 2}, "text_vector", threads)
        return cls(spec, load_tokenizer(spec, layout.tokenizer), graph)

    def encode(self, texts: Sequence[str], batch_size: int = 64) -> Float32:
        """Vectors [B, E] of raw texts, in their order."""
        tokens = [self._tokenize(self.spec.prompt + self.normalise(text)) for text in texts]
        order = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
        vectors = np.empty((len(tokens), self.spec.dimension), np.float32)
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            ids, mask = pad([tokens[row] for row in rows])
            vectors[rows] = self._graph.run({"input_ids": ids, "attention_mask": mask})
        return vectors

    def _tokenize(self, text: str) -> Sequence[int]:
        if isinstance(self._tokenizer, NgramSpec):
            return self._tokenizer.ids(text)
        ids: list[int] = self._tokenizer.encode(text).ids
        return ids


def load_tokenizer(spec: EncoderSpec, path: Path) -> Any:
    """The tokenizer that the specification names: n-grams need no file, the other kind reads tokenizer.json."""
    if spec.kind == "ngrams":
        return NgramSpec(**(spec.ngrams or {}))
    from tokenizers import Tokenizer  # only the item service and the trainer have it

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(spec.max_length)
    return tokenizer
