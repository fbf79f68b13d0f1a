"""The frozen text encoder as services run it: tokenizer, ONNX graph, and the settings they were exported with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from twotower.arrays import Float32
from twotower.artifact.layout import EncoderLayout
from twotower.errors import CorruptArtifact
from twotower.graphs.graph import VectorGraph
from twotower.text.ngrams import Bag, NgramSpec, pad
from twotower.text.normalise import Normaliser

# places (texts x longest text) of one batch: a transformer's activations of about this many stay in the caches
_BATCH_PLACES = {"tokenizer": 512, "ngrams": 16_384}


# with letters, digits and both scripts
PROBE = "خاتم ذهب عيار 21 gold ring"


_PROBE_TOLERANCE = 1e-4


# above this share of padding a batch of its own is cheaper
_MOST_PADDING = 0.2


class Quantised(BaseModel):
    """How near an int8 graph is to the float32 one that it was made from: cosines over texts of the catalogue."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean_cosine: float
    min_cosine: float
    texts: int
    # the vector of PROBE as the machine that made the graph computes it
    probe: list[float]


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
    # None: the graph is the float32 one; otherwise its matrices are int8, and this near
    int8: Quantised | None = None


class TextEncoder:
    """Texts to vectors [B, E], exactly as the trainer's encoder gives them.

    `texts` are raw: normalisation and prompt are applied here. Batches hold texts of about one length, at most a fifth
    of them padding; up to `threads` batches run at a time, each on one thread, so their number changes no vector.
    """

    def __init__(self, spec: EncoderSpec, tokenizer: Any, graph: VectorGraph, threads: int = 1) -> None:
        self.spec = spec
        self.normalise = Normaliser(**spec.normaliser)
        self._tokenizer = tokenizer
        self._graph = graph
        self._threads = threads

    @classmethod
    def load(cls, layout: EncoderLayout, threads: int) -> TextEncoder:
        """Reads the three files of an encoder folder, which must have been checked before.

        CorruptArtifact where this machine computes an int8 graph otherwise than the one that made it.
        """
        spec = EncoderSpec.model_validate_json(layout.spec.read_bytes())
        encoder = cls(spec, load_tokenizer(spec, layout.tokenizer), text_graph(layout.graph), threads)
        if spec.int8 is not None:
            encoder._check_arithmetic(spec.int8, layout.graph)
        return encoder

    def encode(self, texts: Sequence[str], batch_size: int = 64) -> Float32:
        """Vectors [B, E] of raw texts, in their order."""
        tokens = [self._tokenize(self.spec.prompt + self.normalise(text)) for text in texts]
        batches = list(cut_batches([len(one.ids) for one in tokens], batch_size, _BATCH_PLACES[self.spec.kind]))
        vectors = np.empty((len(tokens), self.spec.dimension), np.float32)

        def run(rows: list[int]) -> None:
            ids, mask = pad([tokens[row] for row in rows])
            vectors[rows] = self._graph.vectors({"input_ids": ids, "attention_mask": mask})

        if self._threads == 1 or len(batches) == 1:
            for rows in batches:
                run(rows)
        else:
            with ThreadPoolExecutor(self._threads) as pool:
                # the longest first, so that no thread is left with one at the end
                for _ in pool.map(run, reversed(batches)):
                    pass
        return vectors

    def _check_arithmetic(self, int8: Quantised, path: Path) -> None:
        # a kernel that cuts off sums of 8-bit products, as some of x86 do without VNNI, where the weights allow it
        difference = float(np.abs(self.encode([PROBE])[0] - np.array(int8.probe, np.float32)).max())
        if not difference <= _PROBE_TOLERANCE:
            raise CorruptArtifact(
                f"{path} gives other vectors on this processor than where it was made (by {difference:.1e}, allowed "
                f"{_PROBE_TOLERANCE:.0e}); train with encoder.quantisation=none"
            )

    def _tokenize(self, text: str) -> Bag:
        if isinstance(self._tokenizer, NgramSpec):
            return self._tokenizer.bag(text)
        ids: list[int] = self._tokenizer.encode(text).ids
        return Bag(ids, [1] * len(ids))


def text_graph(path: Path) -> VectorGraph:
    """The graph of a text encoder. One thread: TextEncoder runs several batches at a time instead."""
    return VectorGraph(path, {"input_ids": 2, "attention_mask": 2}, "text_vector", threads=1)


def cut_batches(lengths: Sequence[int], most_texts: int, most_places: int) -> Iterator[list[int]]:
    """The rows of every batch, shortest texts first.

    A batch has at most `most_texts` rows, `most_places` places (rows x its longest) unless it is a single text, and a
    fifth of its places at most are padding.
    """
    batch: list[int] = []
    filled = 0
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        length = lengths[row]
        places = (len(batch) + 1) * length
        padding = places - filled - length
        if batch and (len(batch) == most_texts or places > most_places or padding > _MOST_PADDING * places):
            yield batch
            batch, filled = [], 0
        batch.append(row)
        filled += length
    if batch:
        yield batch


def load_tokenizer(spec: EncoderSpec, path: Path) -> Any:
    """The tokenizer that the specification names: n-grams need no file, the other kind reads tokenizer.json."""
    if spec.kind == "ngrams":
        return NgramSpec(**(spec.ngrams or {}))
    from tokenizers import Tokenizer  # only the item service and the trainer have it

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(spec.max_length)
    return tokenizer
