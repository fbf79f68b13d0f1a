"""Frozen text encoders to ONNX graphs, int8 where that is near enough, and the proof that a graph computes what torch
does."""

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
from trainer.export.graph import compare, export_graph
from trainer.export.quantise import quantise_graph
from trainer.text.ngram_model import HashedNgramEmbedding
from twotower.artifact.fsync import sync_folder
from twotower.artifact.layout import EncoderLayout, Layout
from twotower.artifact.manifest import FileEntry
from twotower.artifact.retention import remove_encoder
from twotower.artifact.version import describe
from twotower.errors import CorruptArtifact
from twotower.graphs.text_encoder import PROBE, EncoderSpec, Quantised, TextEncoder, load_tokenizer, text_graph
from twotower.text.normalise import Normaliser

log = logging.getLogger(__name__)


# an int8 graph is let through where its cosines to float32 on the catalogue's texts are at least these
MEAN_COSINE = 0.99


MIN_COSINE = 0.98


# what the exported text graph can hold; any other module is refused by name
_KNOWN_MODULES = ("Transformer", "Pooling", "Dense", "Normalize")


def export_encoder(
    model: SentenceTransformer,
    name: str,
    config: Encoder,
    texts: Sequence[str],
    layout: Layout,
    threads: int,
) -> str:
    """Writes the text encoder into `encoders/<sha256>/` and returns the digest; nothing where it is there already, and
    whole: a damaged one is replaced.

    EncoderError names a module that cannot be exported, or says how far int8 is from float32 where that is too far;
    ParityError where the graph differs from torch on `texts`.
    """
    temporary = EncoderLayout(layout.work / "encoder-export")
    shutil.rmtree(temporary.root, ignore_errors=True)
    temporary.root.mkdir(parents=True)
    spec = _encoder_spec(model, name, config)
    temporary.spec.write_text(spec.model_dump_json(indent=1), encoding="utf-8")
    if spec.kind == "tokenizer":
        model.tokenizer.backend_tokenizer.save(str(temporary.tokenizer))
    example = _tokens(model, ["خاتم ذهب", "زيت محرك 5W-30"])
    with _plain_attention(model):
        export_graph(
            _TextGraph(model),
            example,
            temporary.graph,
            {"input_ids": {0: "batch", 1: "length"}, "attention_mask": {0: "batch", 1: "length"}},
            "text_vector",
        )
    check_text_parity(model, TextEncoder.load(temporary, threads), texts[: config.parity_rows], config.parity_tolerance)
    if spec.kind == "tokenizer" and config.quantisation != "none":
        _quantise(temporary, spec, config, texts, threads)
    digest = _digest(encoder_files(temporary))
    target = layout.encoder(digest)
    if target.root.exists() and not _is_whole(target, digest):
        log.warning(f"the text encoder {target.root} is damaged: it is made anew")
        remove_encoder(layout, digest)
    if not target.root.exists():
        layout.encoders.mkdir(parents=True, exist_ok=True)
        sync_folder(temporary.root)
        temporary.root.rename(target.root)
    else:
        shutil.rmtree(temporary.root)
    return digest


def _is_whole(layout: EncoderLayout, digest: str) -> bool:
    try:
        return _digest(encoder_files(layout)) == digest
    except CorruptArtifact:
        return False


def checked_encoder_files(layout: Layout, digest: str) -> dict[str, FileEntry]:
    """What a manifest says of an encoder's files. CorruptArtifact where they are not those of which it has its name."""
    found = encoder_files(layout.encoder(digest))
    if _digest(found) != digest:
        raise CorruptArtifact(f"the text encoder {layout.encoder(digest).root} was damaged meanwhile: run it again")
    return found


def encoder_files(layout: EncoderLayout) -> dict[str, FileEntry]:
    """Size and sha256 of each file of an encoder's folder. CorruptArtifact where one cannot be read."""
    return {path.name: describe(path) for path in sorted(layout.root.iterdir())}


def _digest(files: Mapping[str, FileEntry]) -> str:
    digest = hashlib.sha256()
    for name, entry in files.items():
        digest.update(json.dumps(name).encode() + bytes.fromhex(entry.sha256))
    return digest.hexdigest()


def check_text_parity(model: SentenceTransformer, graph: TextEncoder, texts: Sequence[str], tolerance: float) -> float:
    """Largest difference between torch and graph on raw texts; ParityError above the tolerance."""
    wanted = model.encode([graph.normalise(text) for text in texts], prompt=graph.spec.prompt or None)
    return compare("encoder.onnx", np.asarray(wanted), graph.encode(texts), tolerance)


def _quantise(layout: EncoderLayout, spec: EncoderSpec, config: Encoder, texts: Sequence[str], threads: int) -> None:
    """Puts the int8 graph in the place of the float32 one, and its cosines into the specification.

    Where the cosines are too low `int8` is an EncoderError, and `auto` keeps the float32 graph.
    """
    exact = TextEncoder.load(layout, threads)
    int8_graph = layout.graph.with_name("int8.onnx")
    products = quantise_graph(layout.graph, int8_graph)
    quick = TextEncoder(spec, load_tokenizer(spec, layout.tokenizer), text_graph(int8_graph), threads)
    sample = [
        texts[row] for row in np.linspace(0, len(texts) - 1, min(len(texts), config.quantisation_texts), dtype=int)
    ]
    found = measure_int8(exact, quick, sample)
    close = found.mean_cosine >= MEAN_COSINE and found.min_cosine >= MIN_COSINE
    cosines = f"{found.mean_cosine:.4f} in the mean, {found.min_cosine:.4f} at least"
    told = f"cosine to float32 {cosines}, on {found.texts} texts"
    if products and close:
        _check_alone(quick, sample[: config.parity_rows], config.parity_tolerance)
        int8_graph.replace(layout.graph)
        layout.spec.write_text(spec.model_copy(update={"int8": found}).model_dump_json(indent=1), encoding="utf-8")
        log.info(f"text encoder: int8, {told}")
        return
    wanted = f"{told}; wanted {MEAN_COSINE} and {MIN_COSINE}" if products else "it has no product of tokens and weights"
    if config.quantisation == "int8":
        raise EncoderError(f"the encoder {spec.name!r} cannot be int8: {wanted}; set encoder.quantisation=auto or none")
    int8_graph.unlink()
    log.info(f"text encoder: kept float32, int8 would not do: {wanted}")


def measure_int8(exact: TextEncoder, quick: TextEncoder, texts: Sequence[str]) -> Quantised:
    """Cosines of the vectors of two graphs of one encoder, over raw texts."""
    pair = [one.encode(texts).astype(np.float64) for one in (exact, quick)]  # 2 x [N, E]
    wanted, got = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in pair)
    cosines = (wanted * got).sum(axis=1)
    probe = [float(value) for value in quick.encode([PROBE])[0]]
    return Quantised(mean_cosine=float(cosines.mean()), min_cosine=float(cosines.min()), texts=len(texts), probe=probe)


def _check_alone(encoder: TextEncoder, texts: Sequence[str], tolerance: float) -> None:
    """ParityError where a text's vector depends on the texts beside it: then no stored vector could be met again."""
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    difference = float(np.abs(alone - encoder.encode(texts)).max())
    if not difference <= tolerance:
        raise ParityError(
            f"the int8 graph gives a text another vector alone than in a batch (by {difference:.2e}, allowed "
            f"{tolerance:.0e}); set encoder.quantisation=none"
        )


@contextmanager
def _plain_attention(model: SentenceTransformer) -> Iterator[None]:
    """A transformer's attention written out: the fused kind guards against rows of NaN in six nodes a layer."""
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
    }
    if isinstance(first, HashedNgramEmbedding) and len(modules) == 1:
        return EncoderSpec(
            kind="ngrams", normaliser=first.normaliser, ngrams=first.ngrams, max_length=first.spec.length, **shared
        )
    for module in modules:
        kind = type(module)
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
    """The sentence-transformers modules as one graph of two inputs."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.steps = nn.ModuleList(list(model))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        features = {"input_ids": input_ids, "attention_mask": attention_mask}
        if isinstance(self.steps[0], HashedNgramEmbedding):
            # an embedding bag as ONNX knows it: gather and a product with the weights, 0 of padding
            rows = nn.functional.embedding(input_ids, self.steps[0].embedding.weight)  # [B, L, E]
            sums = (attention_mask.to(rows.dtype).unsqueeze(1) @ rows).squeeze(1)
            return nn.functional.normalize(sums, dim=-1)
        for step in self.steps:
            features = step(features)
        return features["sentence_embedding"]


def _tokens(model: SentenceTransformer, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    features = model.preprocess(list(texts))
    return features["input_ids"], features["attention_mask"]
