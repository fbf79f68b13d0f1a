"""A run with `index.shards` writes a version that its shards and a whole service open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from retrieval_service.loading import load
from retrieval_service.query import Query
from retrieval_service.settings import RetrievalSettings
from tests.helpers.shards import open_shards
from tests.helpers.small_shop import copy_artifacts, current, small_run
from trainer.release.verify import load_as_services_do
from twotower.errors import CorruptArtifact
from twotower.sharding import Shard


def test_a_run_writes_the_indexes_of_all_shards() -> None:
    version = current(small_run("index.kind=pq", "index.shards=3")[1])
    assert version.manifest.shards == 3
    names = {f"{kind}_index-{number}-of-3.faiss" for kind in ("product", "text") for number in range(3)}
    assert names <= set(version.manifest.files)
    vectors = np.load(version.layout.embeddings)[:5]
    whole = load(version, RetrievalSettings()).search(vectors, [Query(10)] * 5)
    parts = [shard.search(vectors, [Query(10)] * 5) for shard in open_shards(version)]
    for answer, *found in zip(whole, *parts, strict=True):
        scores = sorted((score for one in found for score in one.scores.tolist()), reverse=True)
        assert scores[:10] == answer.scores.tolist()


def test_a_damaged_index_of_a_shard_is_not_published(tmp_path: Path) -> None:
    version = current(copy_artifacts(small_run("index.kind=pq", "index.shards=3")[1], tmp_path / "artifacts"))
    version.layout.index_of(Shard(1, 3)).write_bytes(version.layout.index_of(Shard(0, 3)).read_bytes())
    with pytest.raises(CorruptArtifact, match=r"product_index-1-of-3\.faiss has (sha256|\d+ bytes)"):
        load_as_services_do(version, 1)
