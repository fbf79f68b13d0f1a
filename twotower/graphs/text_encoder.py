"""The frozen text encoder: tokenizer, ONNX graph, and the settings that they were exported with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from twotower.arrays import Float32, Int64
from twotower.artifact.layout import EncoderLayout
from twotower.caller import check_caller
from twotower.errors import CorruptArtifact
from twotower.graphs.graph import Graph
from twotower.graphs.query_ngrams import QueryNgrams
from twotower.text.ngrams import Bag, NgramSpec, pad
from twotower.text.normalise import Normaliser, item_text, title_text

# tokens of one batch, padding included (texts x longest text): a transformer's activations then stay in the caches
_BATCH_TOKENS = {"tokenizer": 512, "ngrams": 16_384}
# outputs of a graph; n-grams also give their sum, which what is learned for queries is added to
OUTPUTS = {"tokenizer": ("text_vector",), "ngrams": ("text_vector", "text_sum")}
# the text that tests a processor's arithmetic: letters, digits, both scripts
PROBE = "خاتم ذهب عيار 21 gold ring"
_PROBE_TOLERANCE = 1e-4
# with a larger share of padding, a batch of its own is cheaper
_MAX_PADDING = 0.2


class Quantised(BaseModel):
    """How near an int8 graph's vectors are to those of the float32 graph: cosines over texts of the catalogue."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mean_cosine: float
    min_cosine: float
    texts: int
    # the vector of PROBE on the machine that quantised the graph
    probe: list[float]


class EncoderSpec(BaseModel):
    """The content of encoder.json: all that decides a text's vector besides the graph."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # "ngrams": hashed character n-grams; "tokenizer": a Hugging Face tokenizer.json
    kind: Literal["ngrams", "tokenizer"]
    name: str
    dimension: int
    normaliser: dict[str, bool]
    # what is read of an item: `item_text` or, without the description, `title_text`
    template: Literal["{title} {description}", "{title}"] = "{title} {description}"
    prompt: str = ""
    max_length: int
    ngrams: dict[str, int] | None = None
    # None for a float32 graph; with int8 matrices, how near they are
    int8: Quantised | None = None


class TextEncoder:
    """Encodes texts to vectors [B, E], exactly as the trainer's encoder does.

    Takes raw texts: normalisation and prompt are applied here. A batch holds texts of similar length. Up to `threads`
    batches run at a time, each on one thread, so that the number of threads changes no vector.
    """

    def __init__(
        self, spec: EncoderSpec, tokenizer: Any, graph: Graph, threads: int = 1, learned: QueryNgrams | None = None
    ) -> None:
        """`learned` is added to the n-grams of every text: the encoder is then one of queries alone."""
        self.spec = spec
        self.normalise = Normaliser(**spec.normaliser)
        self._tokenizer = tokenizer
        self._graph = graph
        self._threads = threads
        self._learned = learned

    @classmethod
    def load(cls, layout: EncoderLayout, threads: int) -> TextEncoder:
        """Reads the files of an encoder folder, which must be verified already.

        Raises CorruptArtifact if this processor computes an int8 graph differently from the one that quantised it.
        """
        spec = EncoderSpec.model_validate_json(layout.spec.read_bytes())
        encoder = cls(spec, load_tokenizer(spec, layout.tokenizer), text_graph(layout.graph, spec.kind), threads)
        if spec.int8 is not None:
            encoder._check_arithmetic(spec.int8, layout.graph)
        return encoder

    def for_queries(self, learned: QueryNgrams) -> TextEncoder:
        """The encoder of queries: with what was learned from searches. The products' vectors stay those of this one."""
        return TextEncoder(self.spec, self._tokenizer, self._graph, self._threads, learned)

    def bags(self, texts: Sequence[str]) -> list[Bag]:
        """The tokens of raw texts and their weights, as the graph gets them."""
        return [self._tokenize(self.spec.prompt + self.normalise(text)) for text in texts]

    def sums(self, bags: Sequence[Bag]) -> Float32:
        """The weighted sums [B, E] of the n-grams, of one batch; only an encoder of n-grams has them."""
        ids, mask = pad(bags)
        return self._graph.run({"input_ids": ids, "attention_mask": mask})[OUTPUTS[self.spec.kind].index("text_sum")]

    def text_of(self, title: str, description: str) -> str:
        """The raw text of an item, as the encoder's template reads it."""
        read = title_text if self.spec.template == "{title}" else item_text
        return read(title, description)

    def encode(self, texts: Sequence[str], batch_size: int = 64) -> Float32:
        """Vectors [B, E] of raw texts, in their order. On one thread, long batches end with their caller."""
        tokens = self.bags(texts)
        batches = list(cut_batches([len(one.ids) for one in tokens], batch_size, _BATCH_TOKENS[self.spec.kind]))
        vectors = np.empty((len(tokens), self.spec.dimension), np.float32)

        def run(rows: list[int]) -> None:
            check_caller()
            ids, mask = pad([tokens[row] for row in rows])
            vectors[rows] = self._vectors(ids, mask)

        if self._threads == 1 or len(batches) == 1:
            for rows in batches:
                run(rows)
        else:
            with ThreadPoolExecutor(self._threads) as pool:
                # the longest first, so that none of them starts last and runs alone
                for _ in pool.map(run, reversed(batches)):
                    pass
        return vectors

    def _vectors(self, ids: Int64, mask: Int64) -> Float32:
        vectors, *sums = self._graph.run({"input_ids": ids, "attention_mask": mask})
        return self._learned.vectors(sums[0], ids, mask) if self._learned else vectors

    def _check_arithmetic(self, int8: Quantised, path: Path) -> None:
        # x86 without VNNI may saturate sums of 8-bit products, which changes vectors
        difference = float(np.abs(self.encode([PROBE])[0] - np.array(int8.probe, np.float32)).max())
        if not difference <= _PROBE_TOLERANCE:
            raise CorruptArtifact(
                f"{path} gives other vectors on this processor than on the one that quantised it: they differ by "
                f"{difference:.1e}, allowed is {_PROBE_TOLERANCE:.0e}; train with encoder.quantisation=none"
            )

    def _tokenize(self, text: str) -> Bag:
        check_caller()
        if isinstance(self._tokenizer, NgramSpec):
            return self._tokenizer.bag(text)
        ids: list[int] = self._tokenizer.encode(text).ids
        return Bag(ids, [1] * len(ids))


def text_graph(path: Path, kind: str) -> Graph:
    """The graph of a text encoder, on one thread: TextEncoder runs several batches at a time instead."""
    return Graph(path, {"input_ids": 2, "attention_mask": 2}, OUTPUTS[kind], threads=1)


def cut_batches(lengths: Sequence[int], max_texts: int, max_tokens: int) -> Iterator[list[int]]:
    """The rows of each batch, shortest texts first.

    A batch has at most `max_texts` rows and, unless it is a single text, `max_tokens` tokens with padding (rows x its
    longest). At most a fifth of its tokens are padding.
    """
    batch: list[int] = []
    filled = 0
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        length = lengths[row]
        tokens = (len(batch) + 1) * length
        padding = tokens - filled - length
        if batch and (len(batch) == max_texts or tokens > max_tokens or padding > _MAX_PADDING * tokens):
            yield batch
            batch, filled = [], 0
        batch.append(row)
        filled += length
    if batch:
        yield batch


def load_tokenizer(spec: EncoderSpec, path: Path) -> Any:
    """The tokenizer that `spec` names: n-grams need no file, the other kind reads tokenizer.json at `path`."""
    if spec.kind == "ngrams":
        return NgramSpec(**(spec.ngrams or {}))
    from tokenizers import Tokenizer  # only the item service and the trainer have it

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(spec.max_length)
    return tokenizer
