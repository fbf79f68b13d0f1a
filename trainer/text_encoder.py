"""Frozen text encoders: the catalogue encoder and its training, any sentence-transformers model, and their vectors."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import InputModule
from torch import Tensor, nn
from torch.nn import functional

from trainer.config import CatalogueEncoderConfig, Encoder
from trainer.dataset import Products
from trainer.errors import EncoderError
from trainer.progress import track
from twotower.encoder import TextEncoder
from twotower.ngrams import NgramSpec
from twotower.text import Normaliser, item_text

Float32 = NDArray[np.float32]


class HashedNgramEmbedding(InputModule):
    """A sentence-transformers module: text [B] → L2-normalised sum of its hashed n-grams' vectors [B, E].

    It normalises by itself, so `SentenceTransformer(folder).encode(raw_text)` needs nothing else.
    """

    config_keys: ClassVar[list[str]] = ["dimension", "ngrams", "normaliser"]

    def __init__(self, dimension: int, ngrams: dict[str, int], normaliser: dict[str, bool]) -> None:
        super().__init__()
        self.dimension, self.ngrams, self.normaliser = dimension, ngrams, normaliser
        self.spec = NgramSpec(**ngrams)
        self.normalise = Normaliser(**normaliser)
        self.embedding = nn.EmbeddingBag(self.spec.buckets, dimension, mode="sum", padding_idx=0)

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **_: Any) -> dict[str, Tensor]:
        ids, mask = self.spec.batch([self.normalise((prompt or "") + str(text)) for text in inputs])
        return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}

    def forward(self, features: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
        features["sentence_embedding"] = functional.normalize(self.embedding(features["input_ids"]), dim=-1)
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


def texts_of(products: Products) -> list[str]:
    """The raw text of every item."""
    return [item_text(title, text) for title, text in zip(products.titles, products.descriptions, strict=True)]


def train_catalogue_encoder(
    products: Products, config: CatalogueEncoderConfig, normaliser: Normaliser, seed: int
) -> SentenceTransformer:
    """Trains the embedded encoder on the product texts alone: no pretrained weights, no interactions.

    Contrastive (InfoNCE, in batch, both directions): a noised view of a title against the product's own title and
    full text. The n-gram vectors start random, weighted by inverse document frequency, which by itself is a random
    projection of TF-IDF; training then learns which n-grams tell products apart and which belong together.
    """
    module = HashedNgramEmbedding(
        config.dimension,
        NgramSpec(config.ngram_min, config.ngram_max, config.buckets, config.length).settings(),
        normaliser.settings(),
    )
    generator = torch.Generator().manual_seed(seed)
    draw = random.Random(seed)
    views = _Views(products, module, draw, config.max_texts)
    weight = torch.randn(config.buckets, config.dimension, generator=generator) / config.dimension**0.5
    table = _NgramTable(weight, views.idf)
    steps = config.steps if len(views.titles) > 1 else 0
    for step in track(range(steps), "encoder", unit="batch"):
        rows = [draw.randrange(len(views.titles)) for _ in range(config.batch_size)]
        bags = [
            [views.query(row) for row in rows],
            [views.ids(views.titles[row]) for row in rows],
            [views.document(row) for row in rows],
        ]
        queries, titles, texts = table.encode(bags)
        documents = functional.normalize(titles + texts, dim=-1)
        logits = queries @ documents.T / config.temperature  # [B, B]
        same = torch.tensor([views.groups[row] for row in rows])
        # the same text elsewhere in the batch is not a negative
        twins = (same[:, None] == same[None, :]) & ~torch.eye(len(rows), dtype=torch.bool)
        logits = logits.masked_fill(twins, float("-inf"))
        target = torch.arange(len(rows))
        loss = functional.cross_entropy(logits, target) + functional.cross_entropy(logits.T, target)
        loss.backward()
        table.step(config.learning_rate * (1 - step / steps))
    with torch.no_grad():
        module.embedding.weight.copy_(table.folded())
    return SentenceTransformer(modules=[module], device="cpu")


class _NgramTable:
    """N-gram vectors times their inverse document frequency, trained by Adam on the rows that a step touches.

    Only those rows are gathered, differentiated and written back: a step costs what its texts hold, not what the
    whole table does (lazy Adam, as torch.optim.SparseAdam has it).
    """

    def __init__(self, weight: Tensor, idf: Tensor) -> None:
        self._weight, self._idf = weight, idf[:, None]
        self._first, self._second = torch.zeros_like(weight), torch.zeros_like(weight)
        self._rows = torch.empty(0, dtype=torch.long)
        self._leaf = torch.empty(0)
        self._steps = 0

    def encode(self, views: Sequence[Sequence[Sequence[int]]]) -> list[Tensor]:
        """For each view, rows of n-gram ids → L2-normalised vectors [B, E]."""
        flat = [np.array([one for row in view for one in row] or [0], np.int64) for view in views]
        unique, inverse = np.unique(np.concatenate(flat), return_inverse=True)
        self._rows = torch.from_numpy(unique)
        self._leaf = self._weight[self._rows].requires_grad_()
        table = self._leaf * self._idf[self._rows]
        vectors, start = [], 0
        for view, ids in zip(views, flat, strict=True):
            offsets = torch.tensor([0, *np.cumsum([len(row) for row in view[:-1]])])
            part = torch.from_numpy(inverse[start : start + len(ids)])
            vectors.append(functional.normalize(functional.embedding_bag(part, table, offsets, mode="sum"), dim=-1))
            start += len(ids)
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
        """The vectors with their frequencies multiplied in; row 0 (padding) is zero."""
        folded = self._weight * self._idf
        folded[0] = 0
        return folded


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
        self._labels = [fold(f"{products.categories[row]} {products.brands[row]}") for row in rows]
        numbers: dict[str, int] = {}
        self.groups = [numbers.setdefault(title, len(numbers)) for title in self.titles]
        self.idf = self._inverse_document_frequency()

    def _inverse_document_frequency(self) -> Tensor:
        counts = np.zeros(self._spec.buckets, np.int64)
        for text in self._texts:
            counts[np.unique(np.array(self._spec.ids(text), np.int64))] += 1
        return torch.from_numpy(np.log((1 + len(self._texts)) / (1 + counts)).astype(np.float32) + 0.1)

    def ids(self, text: str) -> list[int]:
        return self._spec.ids(text)

    def document(self, row: int) -> list[int]:
        """The full text, half of the time with brand and category, cut to a window to keep steps even."""
        text = self._texts[row]
        if self._labels[row] and self._draw.random() < 0.5:
            text = f"{self._labels[row]} {text}"
        ids = self._spec.ids(text)
        return ids if len(ids) <= 256 else [ids[place] for place in sorted(self._draw.sample(range(len(ids)), 256))]

    def query(self, row: int) -> list[int]:
        text = noised(self.titles[row], self._draw) or self.titles[row]
        if self._draw.random() < 0.4:
            # a word that does not belong: sellers add notes of their own
            stray = self._draw.choice(self.titles[self._draw.randrange(len(self.titles))].split() or [""])
            text = self._draw.choice((f"{stray} {text}", f"{text} {stray}"))
        return self._spec.ids(text)


def noised(text: str, draw: random.Random) -> str:
    """A shopper's or seller's version of a title: words dropped or moved, spaces lost, characters changed, a price."""
    words = text.split()
    if len(words) > 2 and draw.random() < 0.3:
        # sizes and doses tell products apart: numbers stay
        words = [word for word in words if word[0].isdigit() or draw.random() > 0.2] or words
    if len(words) > 1 and draw.random() < 0.2:
        place = draw.randrange(len(words))
        words.insert(draw.randrange(len(words)), words.pop(place))
    words = [_misspelt(word, draw) if draw.random() < 0.2 else word for word in words]
    if len(words) > 1 and draw.random() < 0.3:
        place = draw.randrange(len(words) - 1)
        words[place : place + 2] = [words[place] + words[place + 1]]
    if draw.random() < 0.15:
        words.insert(draw.choice((0, len(words))), str(draw.randrange(1, 1000)))
    return " ".join(words)


def _misspelt(word: str, draw: random.Random) -> str:
    if len(word) < 3:
        return word
    place = draw.randrange(len(word) - 1)
    match draw.randrange(4):
        case 0:
            return word[:place] + word[place + 1 :]
        case 1:
            return word[:place] + word[place + 1] + word[place] + word[place + 2 :]
        case 2:
            return word[: place + 1] + word[place:]
        case _:
            return word[:place] + draw.choice(word) + word[place + 1 :]


def open_encoder(
    config: Encoder, products: Products, seed: int, folder: Path, say: Callable[[str], None]
) -> tuple[SentenceTransformer, str]:
    """The configured encoder and its name.

    The catalogue encoder is trained once per catalogue and configuration and kept in `folder`. EncoderError where a
    pretrained one cannot be had.
    """
    if not config.embedded:
        return load_pretrained(config.name, config.max_length), config.name
    key = _digest(
        [*texts_of(products), *products.brands, *products.categories, config.catalogue.model_dump_json(), str(seed)]
    )
    target = folder / key[:32]
    if not (target / "modules.json").is_file():
        say(f"training the catalogue encoder on {len(products):,} product texts")
        model = train_catalogue_encoder(products, config.catalogue, Normaliser.profile(config.profile), seed)
        save_encoder(model, target)
    os.utime(target)
    return SentenceTransformer(str(target), device="cpu", trust_remote_code=True), "catalogue"


def save_encoder(model: SentenceTransformer, target: Path) -> None:
    """Saves an ordinary sentence-transformers folder, whole or not at all."""
    temporary = target.with_name(f"{target.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.parent.mkdir(parents=True, exist_ok=True)
    model.save(str(temporary), create_model_card=False)
    if target.exists():
        shutil.rmtree(target)
    temporary.rename(target)


def load_pretrained(name: str, max_length: int) -> SentenceTransformer:
    """A sentence-transformers folder or hub name, on the CPU. EncoderError within seconds where it is out of reach."""
    ways = (
        "train offline with --config trainer/offline.yaml, or give the path of a downloaded folder: "
        "--set encoder.name=PATH"
    )
    try:
        local = Path(name).is_dir()
        model = SentenceTransformer(name, device="cpu", local_files_only=True) if local else _from_hub(name)
    except Exception as error:  # hub, network, file and format errors share no base class
        reason = str(error).strip().split("\n", 1)[0][:300]
        raise EncoderError(
            f"the encoder {name!r} cannot be loaded ({type(error).__name__}: {reason}); {ways}"
        ) from None
    # n-grams are no tokens: a catalogue encoder keeps the length that it was trained with
    if not isinstance(model[0], HashedNgramEmbedding) and (model.max_seq_length or max_length + 1) > max_length:
        model.max_seq_length = max_length
    return model


def _from_hub(name: str) -> SentenceTransformer:
    try:
        return SentenceTransformer(name, device="cpu", local_files_only=True)
    except Exception:  # not in the local cache: the hub decides
        from huggingface_hub import HfApi

        # asked once with a short limit, since a download would retry an unreachable hub for minutes
        HfApi().model_info(name if "/" in name else f"sentence-transformers/{name}", timeout=5)
        return SentenceTransformer(name, device="cpu")


def encode_cached(
    encoder: TextEncoder, digest: str, texts: Sequence[str], folder: Path, batch_size: int, chunk: int = 8192
) -> tuple[Float32, int]:
    """Vectors [N, E] of raw texts through the exported graph, and how many had to be computed.

    Vectors are kept in `folder` by the hash of encoder and text, so that only new or changed texts are encoded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keys_file, vectors_file = folder / f"{digest[:32]}.keys.npy", folder / f"{digest[:32]}.vectors.npy"
    known: dict[bytes, int] = {}
    stored: Float32 = np.empty((0, encoder.spec.dimension), np.float32)
    # a cache that is not there, or was cut off, is made anew
    with suppress(OSError, ValueError, EOFError):
        keys, vectors = np.load(keys_file, allow_pickle=False), np.load(vectors_file, mmap_mode="r", allow_pickle=False)
        if vectors.shape == (len(keys), encoder.spec.dimension):
            known, stored = {bytes(key): row for row, key in enumerate(keys)}, vectors
    wanted = [hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).digest() for text in texts]
    fresh = list({key: row for row, key in enumerate(wanted) if key not in known}.items())
    computed = np.empty((len(fresh), encoder.spec.dimension), np.float32)
    for start in track(range(0, len(fresh), chunk), "encoding texts", unit="chunk"):
        part = fresh[start : start + chunk]
        computed[start : start + len(part)] = encoder.encode([texts[row] for _, row in part], batch_size)
    place = {key: row for row, (key, _) in enumerate(fresh)}
    vectors = np.stack([computed[place[key]] if key in place else stored[known[key]] for key in wanted])
    if fresh:
        keep = np.frombuffer(b"".join(dict.fromkeys(wanted)), "V16")
        first = {key: row for row, key in reversed(list(enumerate(wanted)))}
        _replace(keys_file, keep)
        _replace(vectors_file, vectors[[first[key] for key in dict.fromkeys(wanted)]])
    return vectors, len(fresh)


def _replace(path: Path, array: NDArray[Any]) -> None:
    temporary = path.with_suffix(".new.npy")
    np.save(temporary, array, allow_pickle=False)
    temporary.replace(path)


def _digest(parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(json.dumps(part).encode() + b"\n")
    return digest.hexdigest()
