"""The catalogue encoder on public, noisy Arabic, as the command line trains it; measured as benchmarks/encoder.py does.

The data is at ../shared/data or $TWOTOWER_DATA; it is never copied into the project.
"""

from __future__ import annotations

import gzip
import random
from itertools import islice
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.encoder import CHANGES, Catalogue, TfIdf, product_forms, rank, recalls, train
from benchmarks.options import DATA


def catalogue_of(name: str) -> Catalogue:
    if not (DATA / name / "products.csv.gz").is_file():
        pytest.skip(f"{name} is not in {DATA}; set TWOTOWER_DATA to the folder that holds it")
    return Catalogue.read(DATA / name)


def test_sellers_strings_find_their_products_better_than_by_tf_idf(tmp_path: Path) -> None:
    catalogue = catalogue_of("isupply_matching")
    asked = pl.read_csv(DATA / "isupply_matching" / "queries.csv.gz", infer_schema=False).gather_every(4)
    queries, own = asked["query"].to_list(), np.array([catalogue.rows[name] for name in asked["product_id"]])
    model, _ = train(catalogue.file, tmp_path / "encoder", 1)
    vectors = model.encode(queries, batch_size=256)
    baseline = recalls(TfIdf(catalogue, "char", (2, 4), description=True).ranks(queries, own))
    for form, documents in product_forms(model, catalogue).items():
        found = recalls(rank(vectors, documents, own))
        print(form, found, baseline)
        assert found["recall@1"] >= 0.935 and found["recall@10"] >= 0.996, form
        assert found["recall@1"] > baseline["recall@1"] and found["recall@10"] > baseline["recall@10"], form


def test_one_wrong_character_hardly_matters(tmp_path: Path) -> None:
    whole = catalogue_of("egyptian_drugs")
    part = tmp_path / "products.csv"
    with gzip.open(whole.file, "rt", encoding="utf-8") as source:
        part.write_text("".join(islice(source, 5001)), encoding="utf-8")
    titles, texts = whole.titles[:5000], whole.texts[:5000]
    catalogue = Catalogue(part, titles, texts, {})
    model, _ = train(part, tmp_path / "encoder", 1, "encoder.catalogue.steps=80")
    once = [row for row, title in enumerate(titles) if titles.count(title) == 1]
    rows = np.array(random.Random(1).sample(once, 1000))
    titled = product_forms(model, catalogue)["title"]
    clean = (rank(model.encode([titles[row] for row in rows]), titled, rows) < 1).mean()
    for kind, change in CHANGES.items():
        draw = random.Random(2)
        vectors = model.encode([change(titles[row], draw) for row in rows], batch_size=256)
        found = (rank(vectors, titled, rows) < 1).mean()
        print(kind, found, clean)
        assert found >= 0.95 * clean, kind
