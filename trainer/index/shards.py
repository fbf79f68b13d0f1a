"""Writes the indexes of shards: the trained index of all products, filled with the rows of one shard each."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import faiss

from trainer.errors import DataError
from trainer.index.build import BuiltIndex, write
from twotower.arrays import Float32
from twotower.search.vector_index import FLAT
from twotower.sharding import Shard


def write_shards(
    built: BuiltIndex, vectors: Float32, shards: int, path_of: Callable[[Shard], Path], threads: int
) -> None:
    """Writes the index file of each of several shards, at most `threads` at a time; none for a flat index.

    They have the quantisers of `built`, so that each finds, of its rows, those that `built` finds. Files of other
    numbers of shards are removed. Raises DataError if there are more shards than vectors [N, D].
    """
    if shards > len(vectors):
        raise DataError(f"index.shards={shards} is more than the {len(vectors)} products")
    _remove(path_of)
    if shards == 1 or built.spec.factory == FLAT.factory:
        # a flat index is its vectors, and a shard reads its own rows of them
        return
    empty = faiss.clone_index(built.index)
    empty.reset()

    def fill(number: int) -> None:
        shard = Shard(number, shards)
        faiss.omp_set_num_threads(1)
        index: Any = faiss.clone_index(empty)
        first, stop = shard.rows(len(vectors))
        index.add(vectors[first:stop])
        write(BuiltIndex(index, built.spec), path_of(shard))

    with ThreadPoolExecutor(min(shards, threads)) as pool:
        # the list raises the first error of any
        list(pool.map(fill, range(shards)))


def _remove(path_of: Callable[[Shard], Path]) -> None:
    any_shard = path_of(Shard())
    for path in any_shard.parent.glob(any_shard.name.replace("-0-of-1.", "-*-of-*.")):
        path.unlink()
