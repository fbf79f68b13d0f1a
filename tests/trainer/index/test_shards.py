"""The indexes of shards hold the rows of their ranges, with the codes that the index of all products has."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest

from tests.helpers.shards import ivf
from trainer.errors import DataError
from trainer.index.build import BuiltIndex, train_index
from trainer.index.shards import write_shards
from twotower.artifact.layout import VersionLayout
from twotower.search.vector_index import FLAT
from twotower.sharding import Shard

VECTORS = np.random.default_rng(1).normal(size=(1000, 8)).astype(np.float32)


def test_each_shard_finds_its_rows_at_the_distances_of_the_whole(tmp_path: Path) -> None:
    spec, files = ivf(4, 2.0), VersionLayout(tmp_path)
    whole = train_index(spec.factory, VECTORS, 0)
    write_shards(BuiltIndex(whole, spec), VECTORS, 3, files.index_of, 2)
    parameters = faiss.SearchParametersIVF(nprobe=4)
    for query in VECTORS[:20]:
        distances, rows = whole.search(query[None], 1000, params=parameters)
        wanted = {
            row: distance for row, distance in zip(rows[0].tolist(), distances[0].tolist(), strict=True) if row >= 0
        }
        found = dict[int, float]()
        for number in range(3):
            shard = Shard(number, 3)
            index = faiss.read_index(str(files.index_of(shard)))
            distances, rows = index.search(query[None], 1000, params=parameters)
            first = shard.rows(1000).first
            found |= {
                first + row: distance
                for row, distance in zip(rows[0].tolist(), distances[0].tolist(), strict=True)
                if row >= 0
            }
        assert found == wanted


def test_files_of_other_counts_are_removed(tmp_path: Path) -> None:
    spec, files = ivf(4, 2.0), VersionLayout(tmp_path)
    built = BuiltIndex(train_index(spec.factory, VECTORS, 0), spec)
    write_shards(built, VECTORS, 3, files.index_of, 2)
    write_shards(built, VECTORS, 2, files.index_of, 2)
    names = ["product_index-0-of-2.faiss", "product_index-1-of-2.faiss"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    write_shards(BuiltIndex(built.index, FLAT), VECTORS, 2, files.index_of, 2)
    assert not list(tmp_path.iterdir())


def test_more_shards_than_products_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"index\.shards=1001 is more than the 1000 products"):
        write_shards(BuiltIndex(None, FLAT), VECTORS, 1001, VersionLayout(tmp_path).index_of, 2)
