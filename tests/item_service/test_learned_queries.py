"""What was learned from searches: queries are encoded with it, products are not, and its files are verified."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from item_service.encoder import Item, load
from item_service.queries import Typed
from item_service.settings import ItemSettings
from tests.helpers.tiny_version import NGRAMS, TEXT_DIMENSION, build_version
from trainer.release.verify import load_as_services_do
from twotower.errors import CorruptArtifact
from twotower.graphs.query_ngrams import QueryNgrams
from twotower.text.normalise import Normaliser

# a word of no title
TYPED = "زمردك"


def learned() -> QueryNgrams:
    """Moves every n-gram of the word far along the first axis."""
    ids = np.unique(NGRAMS.bag(Normaliser.profile("full")(TYPED)).ids)
    added = np.zeros((len(ids), TEXT_DIMENSION), np.float32)
    added[:, 0] = 100
    return QueryNgrams(ids.astype(np.int64), added)


def test_queries_are_encoded_with_it_and_products_without(tmp_path: Path) -> None:
    before = load(build_version(tmp_path, "before"), ItemSettings(artifacts=tmp_path))
    version = build_version(tmp_path, "after", learned=learned())
    load_as_services_do(version, 1)
    assert {"query_ngrams.npy", "query_ngram_ids.npy"} <= version.manifest.files.keys()
    after = load(version, ItemSettings(artifacts=tmp_path))
    queries = [Typed(TYPED, raw=True), Typed("غلقظ", raw=True)]
    old, new = before.queries.encode(queries).vectors, after.queries.encode(queries).vectors
    assert new[0, 0] > 0.99 > old[0, 0]
    item = [Item(TYPED, "")]
    np.testing.assert_array_equal(before.items.encode(item).vectors, after.items.encode(item).vectors)
    np.testing.assert_array_equal(before.items.encode_texts(item).vectors, after.items.encode_texts(item).vectors)


@pytest.mark.parametrize("name", ["query_ngrams.npy", "query_ngram_ids.npy"])
def test_a_damaged_file_is_refused(tmp_path: Path, name: str) -> None:
    version = build_version(tmp_path, "v", learned=learned())
    path = version.layout.root / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptArtifact, match=name):
        load(version, ItemSettings(artifacts=tmp_path))
