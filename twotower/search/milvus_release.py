"""Publishes a version whose vectors may be in Milvus: its collection is checked before, the alias moves after it."""

from __future__ import annotations

from twotower.artifact.layout import Layout
from twotower.artifact.pointer import Pointer
from twotower.artifact.store import publish
from twotower.artifact.version import open_version
from twotower.errors import CorruptArtifact
from twotower.search.milvus import KIND, MilvusCollection, ask, connect
from twotower.search.milvus_address import MilvusAddress


def publish_version(layout: Layout, name: str, milvus: MilvusAddress, expected: Pointer | None = None) -> Pointer:
    """`publish`, and with `index.kind` milvus the alias.

    Raises CorruptArtifact if the collection is missing or of another size, and Unavailable if Milvus does not answer;
    CURRENT then stays as it was, unless Milvus fails between the two: then the same command moves the alias.
    """
    manifest = open_version(layout, name).manifest
    spec = manifest.index
    if spec.kind == KIND:
        opened = MilvusCollection.open(milvus, spec)
        if (opened.ntotal, opened.d) != (manifest.products, manifest.dimension):
            raise CorruptArtifact(
                f"the collection {spec.collection} is {opened.ntotal} x {opened.d}, the manifest of {name} says "
                f"{manifest.products} x {manifest.dimension}"
            )
    pointer = publish(layout, name, expected)
    if spec.kind == KIND:
        _move_alias(milvus, spec.collection)
    return pointer


def _move_alias(milvus: MilvusAddress, collection: str) -> None:
    client = connect(milvus)
    held = ask(milvus, lambda: client.list_aliases(timeout=milvus.timeout_seconds))["aliases"]
    if milvus.alias in held:
        ask(milvus, lambda: client.alter_alias(collection, milvus.alias, timeout=milvus.timeout_seconds))
    else:
        ask(milvus, lambda: client.create_alias(collection, milvus.alias, timeout=milvus.timeout_seconds))
