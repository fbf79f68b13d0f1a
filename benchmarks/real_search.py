"""Searches real catalogues as /search ranks without understanding: by the catalogue encoder's vectors and by words.

- isupply_matching: 23,642 noisy strings of sellers, each meant for one product: the share that finds it first.
- egyptian_drugs: 25,070 medicines; mean reciprocal rank of the first product that answers, over `QUERIES` queries of
  each kind. `partial`: two words of a title of three or more, in their order; all titles that hold both answer.
  `company`: the maker or the seller of at least two products (a brand is written "maker > seller"). `ingredient`: the
  active ingredient of at least two products, which stands in the description and is read as `data.search_fields`.
  `title_company`, `title_ingredient`: the first word of a title, and the company or the ingredient of its product; the
  products with both answer. `typo`: a title with one typing error, to see what the words cost.

Each catalogue trains its encoder once, into a folder that is kept. No query trains anything.
"""

from __future__ import annotations

import csv
import gzip
import json
import random
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from benchmarks.options import DATA
from trainer.config.loading import load_config
from trainer.config.schema import Config
from trainer.data.catalogue import Products, read_products
from trainer.data.rejects import RowChecks, open_rejects
from trainer.export.text_encoder import export_encoder
from trainer.search.weights import choose_weights, words_of
from trainer.search.words import build_words
from trainer.text.encoders import open_encoder
from trainer.text.typos import add_typo
from trainer.text.vectors import encode_cached, texts_of
from twotower.arrays import Float32, Mask
from twotower.artifact.layout import Layout
from twotower.artifact.manifest import WordWeights
from twotower.graphs.text_encoder import TextEncoder
from twotower.search.vector_index import unit_rows
from twotower.search.word_index import WordIndex
from twotower.search.word_search import added_by_words
from twotower.text.words import indexed_words

QUERIES = 500
_OFFLINE = Path(__file__).resolve().parent.parent / "trainer" / "config" / "offline.yaml"
_PART, _THREADS = 256, 1


class Asked(NamedTuple):
    """A query, and which products [N] answer it."""

    text: str
    answers: Mask


# the query of a product, None if it gives none of the kind
Ask = Callable[[int, random.Random], Asked | None]


class Catalogue(NamedTuple):
    """A catalogue as a version holds it, for searches: `vectors` [N, E] are of length 1."""

    products: Products
    encoder: TextEncoder
    vectors: Float32
    words: WordIndex
    weights: WordWeights

    @classmethod
    def build(cls, file: Path, folder: Path, *settings: str) -> Catalogue:
        """Reads a product file and makes what a training makes of its texts; `folder` keeps the encoder."""
        config = load_config([_OFFLINE], ["encoder.descriptions=true", *settings])
        products = _read(file, config, folder)
        model, name = open_encoder(config.encoder, products, config.seed, folder / "encoders")
        layout, texts = Layout(folder / "exported"), texts_of(products)
        digest = export_encoder(model, name, config.encoder, texts, layout, _THREADS)
        encoder = TextEncoder.load(layout.encoder(digest), _THREADS)
        found, _ = encode_cached(
            lambda lists: map(encoder.encode, lists), encoder.spec.dimension, digest, texts, folder / "vectors"
        )
        vectors = unit_rows(found)
        words = build_words(products, reads_descriptions=True)
        weights, _ = choose_weights(products, vectors, words, encoder, config.seed)
        return cls(products, encoder, vectors, words, weights)

    def scores(self, texts: Sequence[str], with_words: bool = True) -> Iterator[Float32]:
        """The scores [N] of all products for each text."""
        for start in range(0, len(texts), _PART):
            part = texts[start : start + _PART]
            for text, scores in zip(part, unit_rows(self.encoder.encode(part)) @ self.vectors.T, strict=True):
                yield scores + added_by_words(self.words, self.weights, words_of(text)) if with_words else scores


def measure_real(folder: Path, steps: int = 0) -> dict[str, Any] | None:
    """The figures of both sets; None if either is absent. `folder` keeps what is trained.

    `steps`: batches that each encoder is trained on; 0 for as many as a training takes.
    """
    missing = [name for name in ("isupply_matching", "egyptian_drugs") if not (DATA / name).is_dir()]
    if missing:
        print(f"{', '.join(missing)} not in {DATA}: no real set is searched")
        return None
    settings = [f"encoder.catalogue.steps={steps}"] if steps else []
    found = {"isupply_matching": _sellers(folder, settings), "egyptian_drugs": _medicines(folder, settings)}
    return {"steps": steps or None, **found}


def _sellers(folder: Path, settings: Sequence[str]) -> dict[str, float]:
    shop = Catalogue.build(DATA / "isupply_matching" / "products.csv.gz", folder / "isupply_matching", *settings)
    asked = pl.read_csv(DATA / "isupply_matching" / "queries.csv.gz", infer_schema=False)
    rows = {name: row for row, name in enumerate(shop.products.ids)}
    own = [rows[name] for name in asked["product_id"]]
    found: dict[str, float] = {"weight": shop.weights.weight, "number_weight": shop.weights.number_weight}
    for name, with_words in (("vector", False), ("words", True)):
        scores = shop.scores(asked["query"].to_list(), with_words)
        # a product of the same score ranks above the right one
        first = sum(int((one >= one[row]).sum() == 1) for one, row in zip(scores, own, strict=True))
        found[name] = first / len(own)
    print(f"isupply_matching, first place: vector {found['vector']:.4f}, with words {found['words']:.4f}")
    return found


def _medicines(folder: Path, settings: Sequence[str]) -> dict[str, Any]:
    file = folder / "egyptian_drugs" / "products.csv"
    ingredients = _with_ingredients(DATA / "egyptian_drugs" / "products.csv.gz", file)
    shop = Catalogue.build(file, folder / "egyptian_drugs", "data.search_fields=[$.ingredient]", *settings)
    found: dict[str, Any] = {"weight": shop.weights.weight, "number_weight": shop.weights.number_weight}
    for kind, asked in _kinds(shop.products, [ingredients[one] for one in shop.products.ids]).items():
        found[kind] = {
            name: float(np.mean([_reciprocal(scores, one.answers) for scores, one in zip(every, asked, strict=True)]))
            for name, every in (
                ("vector", shop.scores([one.text for one in asked], with_words=False)),
                ("words", shop.scores([one.text for one in asked])),
            )
        }
        found[kind]["queries"] = len(asked)
        print(f"egyptian_drugs, {kind}: MRR {found[kind]['vector']:.3f}, with words {found[kind]['words']:.3f}")
    return found


def _kinds(products: Products, ingredients: Sequence[str]) -> dict[str, list[Asked]]:
    titles = [indexed_words(title) for title in products.titles]
    fields = {
        "company": [_companies(brand) for brand in products.brands],
        "ingredient": [[one.lower()] if one else [] for one in ingredients],
    }
    holding, having = _rows_by(titles), {name: _rows_by(values) for name, values in fields.items()}

    def mask(rows: Iterable[int]) -> Mask:
        found = np.zeros(len(products), np.bool_)
        found[list(rows)] = True
        return found

    def two_words(row: int, draw: random.Random) -> Asked | None:
        words = titles[row]
        if len(words) < 3:
            return None
        one, other = (words[place] for place in sorted(draw.sample(range(len(words)), 2)))
        return Asked(f"{one} {other}", mask(holding[one] & holding[other]))

    def field(name: str, with_title: bool) -> Ask:
        def ask(row: int, draw: random.Random) -> Asked | None:
            values = [one for one in fields[name][row] if len(having[name][one]) > 1]
            if not values or not titles[row]:
                return None
            value = draw.choice(values)
            if not with_title:
                return Asked(value, mask(having[name][value]))
            return Asked(f"{titles[row][0]} {value}", mask(having[name][value] & holding[titles[row][0]]))

        return ask

    def misspelt(row: int, draw: random.Random) -> Asked | None:
        same = (other for other, title in enumerate(products.titles) if title == products.titles[row])
        return Asked(add_typo(products.titles[row], draw), mask(same))

    kinds: dict[str, Ask] = {
        "partial": two_words,
        "company": field("company", False),
        "ingredient": field("ingredient", False),
        "title_company": field("company", True),
        "title_ingredient": field("ingredient", True),
        "typo": misspelt,
    }
    return {name: list(_drawn(ask, len(products))) for name, ask in kinds.items()}


def _companies(brand: str) -> list[str]:
    """The companies of a brand, without what stands in brackets after a name."""
    names = (name.partition("(")[0].strip().lower() for name in brand.split(">"))
    return [name for name in names if name]


def _rows_by(values: Sequence[Sequence[str]]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = defaultdict(set)
    for row, own in enumerate(values):
        for one in own:
            found[one].add(row)
    return found


def _drawn(ask: Ask, size: int) -> Iterator[Asked]:
    draw, left = random.Random(7), QUERIES
    for row in draw.sample(range(size), size):
        asked = ask(row, draw)
        if asked is not None:
            yield asked
            left -= 1
        if not left:
            return


def _reciprocal(scores: Float32, answers: Mask) -> float:
    """1 / the place of the first answer; products of the same score that are no answers rank above it."""
    return 1 / (1 + int((scores[~answers] >= scores[answers].max()).sum()))


def _with_ingredients(source: Path, target: Path) -> dict[str, str]:
    """Writes the products with their active ingredient as a field; returns it by product id."""
    csv.field_size_limit(sys.maxsize)
    found: dict[str, str] = {}
    target.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(source, "rt", encoding="utf-8", newline="") as rows, target.open("w", newline="") as out:
        reader = csv.DictReader(rows)
        writer = csv.DictWriter(out, reader.fieldnames or [])
        writer.writeheader()
        for row in reader:
            parts = row["description"].split("|")
            found[row["product_id"]] = parts[1].strip() if len(parts) > 1 else ""
            metadata = json.loads(row["metadata"]) | {"ingredient": found[row["product_id"]]}
            writer.writerow(row | {"metadata": json.dumps(metadata, ensure_ascii=False)})
    return found


def _read(file: Path, config: Config, folder: Path) -> Products:
    folder.mkdir(parents=True, exist_ok=True)
    with open_rejects(folder / "rejects.csv") as rejects:
        return read_products([file], config.data, RowChecks("products", rejects))
