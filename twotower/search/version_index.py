"""Opens the index of a version's product vectors, where it is: in a FAISS file, or in Milvus."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from twotower.artifact.catalogue import Columns
from twotower.artifact.version import Version
from twotower.errors import CorruptArtifact
from twotower.search.milvus import KIND, MilvusCollection, Payload
from twotower.search.milvus_address import MilvusAddress
from twotower.search.vector_index import VectorIndex


def index_files(version: Version) -> list[Path]:
    """The files of a version that `open_index` reads, without the graph of a small catalogue."""
    files = version.layout
    return [files.embeddings] if version.manifest.index.kind == KIND else [files.index, files.embeddings]


def open_index(
    version: Version, milvus: MilvusAddress, threads: int = 1, graph: bool = True, columns: Columns | None = None
) -> VectorIndex:
    """The product vectors of a version, whose files must be verified; `graph`: with that of a small catalogue.

    `columns` narrow a filtered search in Milvus. Raises CorruptArtifact if the files or the collection are not what the
    manifest says, and Unavailable if Milvus does not answer.
    """
    files, spec = version.layout, version.manifest.index
    if spec.kind != KIND:
        return VectorIndex.load(files.index, files.embeddings, spec, threads, version.nearest if graph else None)
    try:
        vectors = np.asarray(np.load(files.embeddings, mmap_mode="r", allow_pickle=False))
    except (ValueError, OSError, EOFError) as error:
        raise CorruptArtifact(f"{files.embeddings.name} cannot be read: {error}") from error
    collection = MilvusCollection.open(milvus, spec)
    if columns is not None:
        collection.payload = Payload.of(columns)
    return VectorIndex(collection, vectors, spec, threads)
