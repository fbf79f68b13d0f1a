"""Exports frozen text encoders as ONNX graphs, int8 if that is close enough, and checks them against torch."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn
from transformers import PreTrainedModel

from trainer.config.schema import Encoder
from trainer.errors import EncoderError, ParityError
from trainer.export.graph import check_parity, export_graph
from trainer.export.quantise import quantise_graph
from trainer.text.ngram_model import HashedNgramEmbedding
from trainer.text.universal import UniversalEncoder
from twotower.artifact.fsync import sync, sync_folder
from twotower.artifact.layout import EncoderLayout, Layout
from twotower.artifact.manifest import FileEntry
from twotower.artifact.retention import remove_encoder
from twotower.artifact.version import describe
from twotower.errors import CorruptArtifact
from twotower.graphs.text_encoder import (
    OUTPUTS,
    PROBE,
    EncoderSpec,
    Quantised,
    TextEncoder,
    load_tokenizer,
    text_graph,
)
from twotower.text.normalise import Normaliser

log = logging.getLogger(__name__)

# minimum cosines of int8 and float32 vectors of the catalogue's texts
MEAN_COSINE = 0.99
MIN_COSINE = 0.98
# the sentence-transformers modules that can be exported
_KNOWN_MODULES = ("Transformer", "Pooling", "Dense", "Normalize")


def export_encoder(
    model: SentenceTransformer,
    name: str,
    config: Encoder,
    texts: Sequence[str],
    layout: Layout,
    threads: int,
) -> str:
    """Writes the text encoder into `encoders/<sha256>/` and returns the digest.

    Keeps a folder that exists and is intact, and replaces a damaged one. Raises EncoderError for a module that cannot
    be exported, or if int8 is required and too far from float32. Raises ParityError if the graph differs from torch on
    `texts`.
    """
    temporary = EncoderLayout(layout.work / "encoder-export")
    shutil.rmtree(temporary.root, ignore_errors=True)
    temporary.root.mkdir(parents=True)
    spec = _encoder_spec(model, name, config)
    _write_float32(model, spec, temporary)
    check_text_parity(model, TextEncoder.load(temporary, threads), texts[: config.parity_rows], config.parity_tolerance)
    if spec.kind == "tokenizer" and config.quantisation != "none":
        _quantise(temporary, spec, config, texts, threads)
    return _move_into_place(temporary, layout)


def _write_float32(model: SentenceTransformer, spec: EncoderSpec, target: EncoderLayout) -> None:
    target.spec.write_text(spec.model_dump_json(indent=1), encoding="utf-8")
    if spec.kind == "tokenizer":
        model.tokenizer.backend_tokenizer.save(str(target.tokenizer))
    example = _tokens(model, ["خاتم ذهب", "زيت محرك 5W-30"])
    variable = {0: "batch", 1: "length"}
    axes = {"input_ids": variable, "attention_mask": variable}
    with _plain_attention(model):
        export_graph(_TextGraph(model), example, target.graph, axes, *OUTPUTS[spec.kind], weights_apart=True)


def _move_into_place(source: EncoderLayout, layout: Layout) -> str:
    """Moves an exported encoder to the folder named after its digest, unless that is there and intact."""
    digest = _digest(encoder_files(source))
    target = layout.encoder(digest)
    if target.root.exists() and not _is_whole(target, digest):
        log.warning(f"the text encoder {target.root} is damaged: it is replaced")
        remove_encoder(layout, digest)
    if target.root.exists():
        shutil.rmtree(source.root)
        return digest
    layout.encoders.mkdir(parents=True, exist_ok=True)
    sync_folder(source.root)
    source.root.rename(target.root)
    sync(layout.encoders)
    return digest


def _is_whole(layout: EncoderLayout, digest: str) -> bool:
    try:
        return _digest(encoder_files(layout)) == digest
    except CorruptArtifact:
        return False


def checked_encoder_files(layout: Layout, digest: str) -> dict[str, FileEntry]:
    """Returns an encoder's files for the manifest. Raises CorruptArtifact if they do not have this digest."""
    files = encoder_files(layout.encoder(digest))
    if _digest(files) != digest:
        root = layout.encoder(digest).root
        raise CorruptArtifact(f"the text encoder {root} was damaged after its export; run the command again")
    return files


def encoder_files(layout: EncoderLayout) -> dict[str, FileEntry]:
    """Returns size and sha256 of each file of an encoder's folder. Raises CorruptArtifact if one cannot be read."""
    return {path.name: describe(path) for path in sorted(layout.root.iterdir())}


def _digest(files: Mapping[str, FileEntry]) -> str:
    digest = hashlib.sha256()
    for name, entry in files.items():
        digest.update(json.dumps(name).encode() + bytes.fromhex(entry.sha256))
    return digest.hexdigest()


def check_text_parity(model: SentenceTransformer, graph: TextEncoder, texts: Sequence[str], tolerance: float) -> float:
    """Returns the largest difference between torch and the graph on raw texts.

    Raises ParityError above the tolerance.
    """
    expected = model.encode([graph.normalise(text) for text in texts], prompt=graph.spec.prompt or None)
    return check_parity("encoder.onnx", np.asarray(expected), graph.encode(texts), tolerance)


def _quantise(layout: EncoderLayout, spec: EncoderSpec, config: Encoder, texts: Sequence[str], threads: int) -> None:
    """Replaces the float32 graph by an int8 graph, and writes the cosines of both into the specification.

    If the cosines are too low, `auto` keeps the float32 graph. Raises EncoderError for `int8` then.
    """
    float32 = TextEncoder.load(layout, threads)
    # inside the folder of the export, which the next run removes if this one is killed
    smaller = EncoderLayout(layout.root / "int8")
    smaller.root.mkdir()
    products = quantise_graph(layout.graph, smaller.graph)
    int8 = TextEncoder(spec, load_tokenizer(spec, layout.tokenizer), text_graph(smaller.graph, spec.kind), threads)
    rows = np.linspace(0, len(texts) - 1, min(len(texts), config.quantisation_texts), dtype=int)
    sample = [texts[row] for row in rows]
    quality = measure_int8(float32, int8, sample)
    cosines = (
        f"cosine to float32: mean {quality.mean_cosine:.4f}, minimum {quality.min_cosine:.4f}, {len(sample)} texts"
    )
    if products and quality.mean_cosine >= MEAN_COSINE and quality.min_cosine >= MIN_COSINE:
        _check_batches(int8, sample[: config.parity_rows], config.parity_tolerance)
        smaller.weights.replace(layout.weights)
        smaller.graph.replace(layout.graph)
        smaller.root.rmdir()
        layout.spec.write_text(spec.model_copy(update={"int8": quality}).model_dump_json(indent=1), encoding="utf-8")
        log.info(f"text encoder: int8; {cosines}")
        return
    required = f"required are mean {MEAN_COSINE} and minimum {MIN_COSINE}"
    reason = f"{cosines}; {required}" if products else "it has no product of tokens and weights"
    if config.quantisation == "int8":
        raise EncoderError(f"the encoder {spec.name!r} cannot be int8: {reason}; set encoder.quantisation=auto or none")
    shutil.rmtree(smaller.root)
    log.info(f"text encoder: float32, because int8 is not close enough: {reason}")


def measure_int8(float32: TextEncoder, int8: TextEncoder, texts: Sequence[str]) -> Quantised:
    """Measures the cosines of the vectors of both graphs of one encoder, over raw texts."""
    pair = [encoder.encode(texts).astype(np.float64) for encoder in (float32, int8)]  # 2 x [N, E]
    expected, actual = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in pair)
    cosines = (expected * actual).sum(axis=1)
    probe = [float(value) for value in int8.encode([PROBE])[0]]
    return Quantised(mean_cosine=float(cosines.mean()), min_cosine=float(cosines.min()), texts=len(texts), probe=probe)


def _check_batches(encoder: TextEncoder, texts: Sequence[str], tolerance: float) -> None:
    """Raises ParityError if a text's vector depends on its batch: an equal text would then not get a stored vector."""
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    difference = float(np.abs(alone - encoder.encode(texts)).max())
    if not difference <= tolerance:
        raise ParityError(
            f"the int8 graph encodes a text differently alone and in a batch, by {difference:.2e}, the tolerance is "
            f"{tolerance:.0e}; set encoder.quantisation=none"
        )


@contextmanager
def _plain_attention(model: SentenceTransformer) -> Iterator[None]:
    """Uses the plain form of a transformer's attention: the fused form adds six nodes a layer against rows of NaN."""
    inner = getattr(model[0], "auto_model", None)
    if not isinstance(inner, PreTrainedModel):
        yield
        return
    before = inner.config._attn_implementation
    inner.set_attn_implementation("eager")
    try:
        yield
    finally:
        inner.set_attn_implementation(before)


def _encoder_spec(model: SentenceTransformer, name: str, config: Encoder) -> EncoderSpec:
    modules = list(model)
    first = modules[0]
    shared: dict[str, Any] = {
        "name": name,
        "dimension": int(model.get_embedding_dimension() or 0),
        "prompt": config.prompt,
        "template": "{title} {description}" if config.reads_descriptions else "{title}",
    }
    if isinstance(first, HashedNgramEmbedding) and len(modules) == 1:
        return EncoderSpec(
            kind="ngrams", normaliser=first.normaliser, ngrams=first.ngrams, max_length=first.spec.length, **shared
        )
    for module in modules:
        kind = type(module)
        if kind is UniversalEncoder:
            continue
        if kind.__name__ not in _KNOWN_MODULES or not kind.__module__.startswith("sentence_transformers."):
            raise EncoderError(
                f"the encoder {name!r} has a module {kind.__module__}.{kind.__name__} that cannot be exported; "
                f"known: {', '.join(_KNOWN_MODULES)} and the catalogue encoder's"
            )
    tokenizer = getattr(model.tokenizer, "backend_tokenizer", None)
    if tokenizer is None:
        raise EncoderError(f"the encoder {name!r} has no fast tokenizer, which serving needs")
    return EncoderSpec(
        kind="tokenizer",
        normaliser=Normaliser.profile(config.profile).settings(),
        max_length=int(model.max_seq_length or config.max_length),
        **shared,
    )


class _TextGraph(nn.Module):
    """The sentence-transformers modules as one module with two inputs."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.steps = nn.ModuleList(list(model))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        features = {"input_ids": input_ids, "attention_mask": attention_mask}
        if isinstance(self.steps[0], HashedNgramEmbedding):
            # ONNX has no embedding bag: gather, then a product with the weights, which are 0 for padding
            rows = nn.functional.embedding(input_ids, self.steps[0].embedding.weight)  # [B, L, E]
            sums = (attention_mask.to(rows.dtype).unsqueeze(1) @ rows).squeeze(1)
            return nn.functional.normalize(sums, dim=-1), sums
        for step in self.steps:
            features = step(features)
        return features["sentence_embedding"]


def _tokens(model: SentenceTransformer, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    features = model.preprocess(list(texts))
    return features["input_ids"], features["attention_mask"]
