"""Opens the configured text encoder: a pretrained sentence-transformers model, `universal`, or the catalogue's own."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from sentence_transformers import SentenceTransformer

from trainer.config.schema import Encoder
from trainer.data.catalogue import Products
from trainer.data.fingerprint import code_digest
from trainer.errors import EncoderError
from trainer.text.ngram_model import HashedNgramEmbedding
from trainer.text.ngram_training import train_catalogue_encoder
from trainer.text.universal import load_universal
from twotower.artifact.fsync import write_atomically
from twotower.text.normalise import Normaliser

log = logging.getLogger(__name__)

# whatever changes the catalogue encoder; a package stands for all modules below it
_ENCODER_CODE = ("trainer.text", "twotower.text")


def open_encoder(config: Encoder, products: Products, seed: int, folder: Path) -> tuple[SentenceTransformer, str]:
    """Returns the configured encoder and its name.

    The catalogue encoder is trained once for each catalogue, configuration and code, and kept in `folder`. Raises
    EncoderError if a pretrained encoder cannot be loaded.
    """
    if config.name == "universal":
        return load_universal(config.max_length), config.name
    if not config.is_catalogue_encoder:
        return load_pretrained(config.name, config.max_length), config.name
    inputs = [*products.titles, *products.descriptions, config.catalogue.model_dump_json(), str(seed)]
    key = _digest([*inputs, code_digest(_ENCODER_CODE)])
    target = folder / key[:32]
    if not (target / "modules.json").is_file():
        log.info(f"training the catalogue encoder on {len(products):,} product texts")
        model = train_catalogue_encoder(products, config.catalogue, Normaliser.profile(config.profile), seed)
        save_encoder(model, target)
    os.utime(target)
    return SentenceTransformer(str(target), device="cpu", trust_remote_code=True), "catalogue"


def save_encoder(model: SentenceTransformer, target: Path) -> None:
    """Saves a sentence-transformers folder; an interrupted save leaves no incomplete folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(target) as temporary:
        model.save(str(temporary), create_model_card=False)


def load_pretrained(name: str, max_length: int) -> SentenceTransformer:
    """Loads a sentence-transformers folder or hub name on the CPU. Raises EncoderError within seconds if it cannot."""
    advice = (
        "train offline with --config trainer/config/offline.yaml, or give the path of a downloaded folder: "
        "--set encoder.name=PATH"
    )
    try:
        local = Path(name).is_dir()
        model = SentenceTransformer(name, device="cpu", local_files_only=True) if local else _from_hub(name)
    except Exception as error:  # Hub, network, file and format errors share no base class.
        reason = str(error).strip().split("\n", 1)[0][:300]
        raise EncoderError(
            f"the encoder {name!r} cannot be loaded ({type(error).__name__}: {reason}); {advice}"
        ) from None
    # max_length counts tokens; a catalogue encoder reads n-grams and keeps the length that it was trained with.
    if not isinstance(model[0], HashedNgramEmbedding) and (model.max_seq_length or max_length + 1) > max_length:
        model.max_seq_length = max_length
    return model


def _from_hub(name: str) -> SentenceTransformer:
    try:
        return SentenceTransformer(name, device="cpu", local_files_only=True)
    except Exception:  # It is not in the local cache.
        from huggingface_hub import HfApi

        # One question with a short timeout: a download retries an unreachable hub for minutes.
        HfApi().model_info(name if "/" in name else f"sentence-transformers/{name}", timeout=5)
        return SentenceTransformer(name, device="cpu")


def _digest(parts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(json.dumps(part).encode() + b"\n")
    return digest.hexdigest()
