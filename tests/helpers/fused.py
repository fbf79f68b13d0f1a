"""Fused scores computed from their definition, product by product."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from twotower.arrays import Float32, Float64
from twotower.artifact.catalogue import Product
from twotower.artifact.layout import Layout, VersionLayout
from twotower.artifact.manifest import Fusion, Manifest
from twotower.artifact.pointer import read_pointer
from twotower.artifact.store import publish, write_version
from twotower.artifact.version import Version, open_version
from twotower.search.neighbours import NeighbourTable


class Parts(NamedTuple):
    """The parts of a fused score: dense neighbours' scores [N, N] and the prior [N]."""

    fusion: Fusion
    following: Float32
    prior: Float32

    @property
    def table(self) -> NeighbourTable:
        return sparse(self.following)

    def save(self, files: VersionLayout) -> None:
        """Writes the files of the parts that have a weight."""
        if self.fusion.neighbour_weight:
            self.table.save(files)
        if self.fusion.prior_weight:
            np.save(files.prior, self.prior)


def sparse(following: Float32) -> NeighbourTable:
    """The table of the numbers above 0 in a matrix [N, N]."""
    products, rows = np.nonzero(following)
    offsets = np.searchsorted(products, np.arange(len(following) + 1))
    return NeighbourTable(offsets, rows.astype(np.int32), following[products, rows])


def stored_parts(version: Version) -> Parts:
    """The parts of a version's score, from its files."""
    files, fusion, size = version.layout, version.manifest.fusion, version.manifest.products
    following, prior = np.zeros((size, size), np.float32), np.zeros(size, np.float32)
    if fusion.neighbour_weight:
        table = NeighbourTable.load(files)
        following[np.repeat(np.arange(size), np.diff(table.offsets)), table.rows] = table.scores
    if fusion.prior_weight:
        prior = np.load(files.prior)
    return Parts(fusion, following, prior)


def publish_fused(artifacts: Path, name: str, parts: Parts) -> Version:
    """Publishes the version that CURRENT names once more, as `name`, with these parts of a score."""
    layout, pointer = Layout(artifacts), read_pointer(Layout(artifacts).current)
    assert pointer is not None
    version = open_version(layout, pointer.version)

    def fill(files: VersionLayout) -> Manifest:
        for listed in version.manifest.files:
            shutil.copyfile(version.layout.root / listed, files.root / listed)
        for listed in version.manifest.private_files:
            shutil.copyfile(version.layout.private / listed, files.private / listed)
        parts.save(files)
        return version.manifest.model_copy(update={"version": name, "fusion": parts.fusion})

    made = write_version(layout, name, fill)
    publish(layout, name)
    return made


def tiny_parts(fusion: Fusion, products: Sequence[Product], seed: int = 0) -> Parts:
    """The parts of the tiny versions: each product but every fifth is followed by some four others."""
    draw, size = np.random.default_rng([seed, 9]), len(products)
    following = draw.random((size, size), np.float32) * (draw.random((size, size)) < 4 / size)
    following[::5] = 0
    shares = np.array([one.popularity for one in products])
    return Parts(fusion, following, np.sqrt(shares / shares.max()).astype(np.float32))


def fused_scores(parts: Parts, vectors: Float32, query: Float32, history: Sequence[int]) -> Float64:
    """The score of every product [N]; `history` holds rows, newest first."""
    fusion = parts.fusion
    scores = np.zeros(len(vectors))
    for product, vector in enumerate(vectors):
        scores[product] = fusion.vector_weight * float(vector.astype(np.float64) @ query)
        for back, row in enumerate(history[: fusion.steps]):
            scores[product] += fusion.neighbour_weight * fusion.decay**back * float(parts.following[row, product])
        for back, row in enumerate(history[: fusion.own_steps]):
            scores[product] += fusion.own_weight * fusion.own_decay**back * (row == product)
        scores[product] += fusion.prior_weight * float(parts.prior[product])
    return scores
