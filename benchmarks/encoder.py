"""Compares the catalogue encoder with a tuned character n-gram TF-IDF on real, noisy Arabic, in one run.

Usage:  make bench-encoder [ARGS='--titles 2000 --threads 1']

The data are in ../shared/data or $TWOTOWER_DATA (isupply_matching, egyptian_drugs). Nothing is downloaded.
`python -m trainer encoder --config trainer/config/offline.yaml` reads only the product file, no queries. Queries are
then encoded by SentenceTransformer and compared by cosine with three forms of a product: its title, its title and
description, and the sum of both vectors. A product that scores the same as the right one ranks above it.

- isupply_matching: sellers' strings as queries for products; Recall@1 and @10. TF-IDF is fitted on the same texts for
  `char` and `char_wb`, 2-3, 2-4 and 3-5 characters, with and without description. It is sublinear, and alef forms, ى, ة
  and digits are normalised. The table shows the best by Recall@1.
- egyptian_drugs: `--titles` random titles that occur once, each changed in one way, as queries among all products;
  Recall@1, and its ratio to Recall@1 of the unchanged titles. TF-IDF has its best settings from above.

The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from sentence_transformers import SentenceTransformer
from sklearn.feature_extraction.text import TfidfVectorizer

from benchmarks.options import DATA, ROOT
from twotower.arrays import Float32, Int64

FORMS = ("title", "full text", "sum of both")
_TATWEEL = "\u0640"
_ALEFS = "اأإآ"
_FOLD = str.maketrans(
    {**dict.fromkeys("أإآٱ", "ا"), "ى": "ي", "ة": "ه", **{chr(0x660 + digit): str(digit) for digit in range(10)}}
)
_ARABIC_DIGITS = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
_ASCII_DIGITS = str.maketrans("٠١٢٣٤٥٦٧٨٩", "0123456789")
Ranks = Int64


class Catalogue(NamedTuple):
    """The texts of a product file, and the row of each id."""

    file: Path
    titles: list[str]
    texts: list[str]
    rows: dict[str, int]

    @classmethod
    def read(cls, folder: Path) -> Catalogue:
        file = folder / "products.csv.gz"
        table = pl.read_csv(file, infer_schema=False).fill_null("")
        titles = table["title"].to_list()
        texts = [f"{title} {text}".strip() for title, text in zip(titles, table["description"], strict=True)]
        return cls(file, titles, texts, {name: row for row, name in enumerate(table["product_id"])})


class TfIdf:
    """Character n-gram TF-IDF of a catalogue, with or without descriptions."""

    def __init__(self, catalogue: Catalogue, analyzer: str, ngram_range: Sequence[int], description: bool) -> None:
        self._vectorizer = TfidfVectorizer(
            analyzer=analyzer, ngram_range=tuple(ngram_range), sublinear_tf=True, dtype=np.float32
        )
        texts = catalogue.texts if description else catalogue.titles
        self._documents = self._vectorizer.fit_transform(map(_folded, texts))

    def ranks(self, queries: list[str], own: Ranks) -> Ranks:
        return rank(self._vectorizer.transform(map(_folded, queries)), self._documents, own)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--titles", type=int, default=2000, help="number of titles of egyptian_drugs to use as queries")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch, for training and encoding")
    options = parser.parse_args()
    folders = [DATA / "isupply_matching", DATA / "egyptian_drugs"]
    missing = [str(folder) for folder in folders if not (folder / "products.csv.gz").is_file()]
    if missing:
        print(f"missing: {', '.join(missing)}; set TWOTOWER_DATA to the folder that contains them", file=sys.stderr)
        return 2
    torch.set_num_threads(options.threads)
    sellers = measure_sellers(folders[0], options.threads)
    changes = measure_changes(folders[1], options.titles, options.threads, sellers["tfidf"]["settings"])
    print(json.dumps({"benchmark": "encoder", "isupply_matching": sellers, "egyptian_drugs": changes}))
    return 0


def train(products: Path, folder: Path, threads: int, *settings: str) -> tuple[SentenceTransformer, float]:
    """Trains the encoder of a product file by the command line; returns it and the seconds that this took."""
    command = [
        sys.executable,
        "-m",
        "trainer",
        "encoder",
        "--products",
        str(products),
        "--out",
        str(folder),
        "--config",
        str(ROOT / "trainer" / "config" / "offline.yaml"),
    ]
    started = time.perf_counter()
    subprocess.run(
        [*command, *(["--set", *settings] if settings else [])],
        check=True,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    return SentenceTransformer(str(folder), device="cpu", trust_remote_code=True), time.perf_counter() - started


def measure_sellers(folder: Path, threads: int) -> dict[str, Any]:
    """Measures recall of sellers' strings with our three forms and the best TF-IDF."""
    catalogue = Catalogue.read(folder)
    asked = pl.read_csv(folder / "queries.csv.gz", infer_schema=False)
    queries = asked["query"].to_list()
    own = np.array([catalogue.rows[name] for name in asked["product_id"]])
    with tempfile.TemporaryDirectory() as scratch:
        model, seconds = train(catalogue.file, Path(scratch) / "encoder", threads)
    vectors, speed = _encode(model, queries)
    encoder = {
        form: recalls(rank(vectors, documents, own)) for form, documents in product_forms(model, catalogue).items()
    }
    baselines: list[dict[str, Any]] = []
    for analyzer, ngrams, described in itertools.product(("char", "char_wb"), ((2, 3), (2, 4), (3, 5)), (False, True)):
        settings: dict[str, Any] = {"analyzer": analyzer, "ngram_range": list(ngrams), "description": described}
        baselines.append({"settings": settings, **recalls(TfIdf(catalogue, **settings).ranks(queries, own))})
    best = max(baselines, key=lambda one: one["recall@1"])
    highest = max(one["recall@10"] for one in baselines)
    print(f"isupply_matching: {len(queries):,} queries, {len(catalogue.titles):,} products; trained in {seconds:.0f} s")
    for form, one in encoder.items():
        print(f"  {form:<14} recall@1 {one['recall@1']:.4f}  recall@10 {one['recall@10']:.4f}")
    print(f"  best TF-IDF    recall@1 {best['recall@1']:.4f}  recall@10 {best['recall@10']:.4f}  {best['settings']}")
    print(f"  the highest recall@10 of any TF-IDF: {highest:.4f}; {speed:,.0f} queries encoded a second")
    return {
        "seconds": seconds,
        "queries_per_second": speed,
        "encoder": encoder,
        "tfidf": best,
        "tfidf_recall@10": highest,
    }


def measure_changes(folder: Path, titles: int, threads: int, tfidf: dict[str, Any]) -> dict[str, Any]:
    """Measures Recall@1 of changed titles, and its ratio to Recall@1 of the unchanged titles."""
    catalogue = Catalogue.read(folder)
    counts = Counter(catalogue.titles)
    once = [row for row, title in enumerate(catalogue.titles) if counts[title] == 1]
    rows = np.array(sorted(random.Random(1).sample(once, min(titles, len(once)))))
    with tempfile.TemporaryDirectory() as scratch:
        model, seconds = train(catalogue.file, Path(scratch) / "encoder", threads)
    forms = product_forms(model, catalogue)
    print(f"egyptian_drugs: {len(rows):,} titles of {len(catalogue.titles):,}; trained in {seconds:.0f} s")
    print(f"  {'':<14} titles" + "".join(f"{name:>24}" for name in (*forms, "TF-IDF")) + "   (and ratio to unchanged)")
    clean = {form: rank(_encode(model, _pick(catalogue, rows))[0], one, rows) for form, one in forms.items()}
    baseline = TfIdf(catalogue, **tfidf)
    clean["TF-IDF"] = baseline.ranks(_pick(catalogue, rows), rows)
    result: dict[str, Any] = {}
    for kind, change in {"unchanged": lambda text, draw: text, **CHANGES}.items():
        draw = random.Random(2)
        changed = [change(text, draw) for text in _pick(catalogue, rows)]
        kept = [
            place for place, row in enumerate(rows) if kind == "unchanged" or changed[place] != catalogue.titles[row]
        ]
        queries, own = [changed[place] for place in kept], rows[kept]
        vectors = _encode(model, queries)[0]
        ranks = {form: rank(vectors, one, own) for form, one in forms.items()}
        ranks["TF-IDF"] = baseline.ranks(queries, own)
        result[kind] = {"titles": len(kept)} | {
            form: {
                "recall@1": float((one < 1).mean()),
                "share": float((one < 1).mean() / (clean[form][kept] < 1).mean()),
            }
            for form, one in ranks.items()
        }
        cells = "".join(
            f"{result[kind][name]['recall@1']:>15.4f} ({result[kind][name]['share']:.4f})" for name in ranks
        )
        print(f"  {kind:<14} {len(kept):>6}{cells}")
    return {"seconds": seconds, "kinds": result}


def product_forms(model: SentenceTransformer, catalogue: Catalogue) -> dict[str, Float32]:
    """Returns the three forms of the products as unit vectors [N, E]."""
    titles, texts = _encode(model, catalogue.titles)[0], _encode(model, catalogue.texts)[0]
    both = titles + texts
    return dict(zip(FORMS, (titles, texts, both / np.linalg.norm(both, axis=1, keepdims=True)), strict=True))


def rank(queries: Any, documents: Any, own: Ranks, chunk: int = 1000) -> Ranks:
    """Counts the other documents that score at least as high as each query's own."""
    ranks = []
    for start in range(0, len(own), chunk):
        scores = queries[start : start + chunk] @ documents.T
        scores = scores if isinstance(scores, np.ndarray) else scores.toarray()
        mine = scores[np.arange(len(scores)), own[start : start + chunk]]
        ranks.append((scores >= mine[:, None]).sum(axis=1) - 1)
    return np.concatenate(ranks)


def recalls(ranks: Ranks) -> dict[str, float]:
    return {f"recall@{k}": float((ranks < k).mean()) for k in (1, 10)}


def _encode(model: SentenceTransformer, texts: list[str]) -> tuple[Float32, float]:
    started = time.perf_counter()
    vectors = model.encode(texts, batch_size=256)
    return np.asarray(vectors), len(texts) / (time.perf_counter() - started)


def _folded(text: str) -> str:
    return text.lower().translate(_FOLD)


def _pick(catalogue: Catalogue, rows: Ranks) -> list[str]:
    return [catalogue.titles[row] for row in rows]


def _at_one_place(edit: Callable[[str, int], str], fits: Callable[[str, int], bool]) -> Callable[..., str]:
    def change(text: str, draw: random.Random) -> str:
        places = [place for place in range(len(text)) if text[place].isalnum() and fits(text, place)]
        return edit(text, draw.choice(places)) if places else text

    return change


def _swappable(text: str, place: int) -> bool:
    return text[place + 1 : place + 2].isalnum() and text[place] != text[place + 1]


def _other_alef(text: str, draw: random.Random) -> str:
    return "".join(draw.choice(_ALEFS.replace(one, "")) if one in _ALEFS else one for one in text)


def _exchange(one: str, two: str) -> Callable[..., str]:
    table = str.maketrans(one + two, two + one)
    return lambda text, draw: text.translate(table)


def _stretched(text: str, draw: random.Random) -> str:
    # inside a word, as it is written
    inside = [place for place in range(1, len(text)) if text[place - 1 : place + 1].isalpha() and text[place] >= "ء"]
    place = draw.choice(inside) if inside else None
    return text if place is None else text[:place] + _TATWEEL * 3 + text[place:]


def _other_digits(text: str, draw: random.Random) -> str:
    return text.translate(_ARABIC_DIGITS) if any(one in "0123456789" for one in text) else text.translate(_ASCII_DIGITS)


CHANGES: dict[str, Callable[[str, random.Random], str]] = {
    "dropped": _at_one_place(lambda text, at: text[:at] + text[at + 1 :], lambda text, at: True),
    "swapped": _at_one_place(lambda text, at: text[:at] + text[at + 1] + text[at] + text[at + 2 :], _swappable),
    "doubled": _at_one_place(lambda text, at: text[:at] + text[at] + text[at:], lambda text, at: True),
    "hamza": _other_alef,
    "teh marbuta": _exchange("ة", "ه"),
    "alef maksura": _exchange("ى", "ي"),
    "tatweel": _stretched,
    "digits": _other_digits,
}


if __name__ == "__main__":
    sys.exit(main())
