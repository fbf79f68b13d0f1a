"""The search index of a catalogue: of which kind, and searched how, so that it finds what an exact search finds.

Every kind but the flat one holds codes alone: product quantisation with 4 bits for each two dimensions, scored by
FAISS's FastScan (Quicker ADC, André et al. 2019, arXiv:1812.09162), 8 bits a dimension, or a graph over such codes
(HNSW, Malkov & Yashunin 2018, arXiv:1603.09320). `VectorIndex` ranks what they find by the stored vectors.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np

from trainer.config.schema import Index
from trainer.errors import DataError
from trainer.index.tuning import DEPTHS, PROMISED, Way, exact_rows, tune
from twotower.arrays import Float32
from twotower.artifact.manifest import IndexSpec
from twotower.search.vector_index import FLAT, VectorIndex

log = logging.getLogger(__name__)

# `auto` scans smaller catalogues exactly
_FLAT_BELOW = 20_000


# of a query that recall is measured with: a cosine of about .7 to the product that it was made from
_NOISE = 1.0


QUERIES = 1000


# exact scores computed to measure recall, at the most: queries times products
_SCORES = 200_000_000


class Queries(NamedTuple):
    """Vectors [Q, D] to measure recall with, and what they are."""

    vectors: Float32
    what: str


class Built(NamedTuple):
    """A FAISS index over the vectors given, and what is to be known of it."""

    index: Any
    spec: IndexSpec


def item_queries(vectors: Float32, seed: int, count: int = QUERIES) -> Queries:
    """Queries for a catalogue without buyers: unit vectors around products drawn at random."""
    draw = np.random.default_rng(seed)
    rows = np.sort(draw.choice(len(vectors), min(count, len(vectors)), replace=False))
    noise = draw.normal(scale=_NOISE / np.sqrt(vectors.shape[1]), size=(len(rows), vectors.shape[1]))
    made = vectors[rows] + noise.astype(np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return Queries(made, f"{len(rows):,} item vectors with noise: there are no buyers")


def build(vectors: Float32, queries: Queries, config: Index, seed: int, threads: int) -> Built:
    """The index of the configured kind, tuned to `target_recall`.

    `auto` takes the first kind that reaches it, and the flat one always does. DataError names the recall of a kind that
    was asked for and does not reach it.
    """
    kinds = _kinds(len(vectors)) if config.kind == "auto" else [config.kind]
    for kind in kinds:
        if kind == "flat":
            return _flat(vectors)
        built, best = _approximate(kind, vectors, queries, config.target_recall, seed, threads)
        if built is not None:
            return built
        problem = (
            f"index.kind={kind} finds {best:.4f} of the {min(PROMISED, len(vectors))} nearest products at the most, "
            f"index.target_recall is {config.target_recall}"
        )
        if config.kind != "auto":
            raise DataError(f"{problem}; choose another kind or a lower target")
        log.info(problem)
    raise AssertionError("a list of kinds ends with flat")


def told(spec: IndexSpec) -> str:
    """One line for people."""
    if not spec.steps:
        return "flat"
    first = next(one for one in spec.steps if one.depth >= min(PROMISED, spec.steps[-1].depth))
    knob = f"{spec.knob} {first.parameter}, " if spec.knob else ""
    return (
        f"{spec.kind}, {spec.factory}, {knob}{first.factor} candidates for each: recall@{first.depth} "
        f"{first.recall:.4f} in {first.microseconds:.0f} us, with {spec.queries}"
    )


def is_small(built: Built) -> bool:
    """True of a flat index that `auto` would choose too: a second copy of so few vectors is worth its memory."""
    return built.spec.factory == FLAT.factory and int(built.index.ntotal) < _FLAT_BELOW


def write(built: Built, path: Path) -> None:
    """Writes the index file; OSError where it cannot be written."""
    temporary = path.with_suffix(".new")
    faiss.write_index(built.index, str(temporary))
    temporary.replace(path)


def _kinds(products: int) -> list[str]:
    return ["flat"] if products < _FLAT_BELOW else ["ivf", "flat"]


def _way(kind: str, products: int, dimension: int) -> Way:
    lists = _lists(products)
    probes = tuple(value for value in (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512) if value <= lists)
    if kind == "hnsw":
        return Way("HNSW32_SQ8", "efSearch", (50, 100, 150, 200, 300, 400, 600, 800, 1200), (1.0,))
    if kind == "compact":
        return Way(f"IVF{lists},SQ8", "nprobe", probes, (1.0,))
    if dimension % 2:
        raise DataError(f"index.kind={kind} needs an even model.dimension, got {dimension}")
    factors = (1.2, 1.6, 2.2, 3.0, 4.0, 5.0, 6.5, 8.0, 10.0)
    if kind == "pq":
        return Way(f"PQ{dimension // 2}x4fs", "", (0,), factors)
    return Way(f"IVF{lists},PQ{dimension // 2}x4fsr", "nprobe", probes, factors)


def _lists(products: int) -> int:
    """A power of two near 3 times the root of the number of products, with at least 39 products to each."""
    wanted = min(3 * products**0.5, products / 39)
    return int(2 ** max(0, np.floor(np.log2(max(wanted, 1)) + 0.5)))


def _flat(vectors: Float32) -> Built:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return Built(index, FLAT)


def _approximate(
    kind: str, vectors: Float32, queries: Queries, target: float, seed: int, threads: int
) -> tuple[Built | None, float]:
    """The tuned index, or None where it does not reach the target; and the best recall of its first depth."""
    count, dimension = vectors.shape
    way = _way(kind, count, dimension)
    started = time.perf_counter()
    # a graph depends on the order in which its threads come to insert
    faiss.omp_set_num_threads(1 if kind == "hnsw" else threads)
    index = trained(way.factory, vectors, seed)
    seconds = time.perf_counter() - started
    spec = IndexSpec(
        kind=kind, factory=way.factory, knob=way.knob, target_recall=target, queries=queries.what,
        bytes_per_vector=_bytes(index) / count, build_seconds=seconds,
    )  # fmt: skip
    chosen = queries.vectors[: max(50, min(len(queries.vectors), _SCORES // count))]
    searcher = VectorIndex(index, vectors, spec)
    steps, curve = [], []
    for depth in sorted({min(one, count) for one in DEPTHS}):
        tried = tune(searcher, chosen, depth, way, target, threads)
        curve += tried
        reaching = [one for one in tried if one.recall >= target]
        if not reaching:
            break
        steps.append(min(reaching, key=lambda one: one.microseconds))
        if depth >= PROMISED:
            # what finds too little of a hundred finds too little of more
            least = min(one.parameter for one in reaching)
            way = way._replace(values=tuple(value for value in way.values if value >= least))
    promised = min(PROMISED, count)
    best = max((one.recall for one in curve if one.depth == promised), default=curve[-1].recall)
    if not any(one.depth == promised for one in steps):
        return None, best
    spec = spec.model_copy(update={"steps": steps, "curve": curve})
    rows = exact_rows(searcher.with_spec(spec), chosen, seed)
    return Built(index, spec.model_copy(update={"exact_rows": rows})), best


def trained(factory: str, vectors: Float32, seed: int) -> Any:
    """The index that FAISS's factory describes, over all vectors; the same for the same seed."""
    index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    if factory.startswith("IVF"):
        inner = faiss.extract_index_ivf(index)
        inner.cp.seed, inner.cp.niter, inner.cp.max_points_per_centroid = seed + 1, 6, 64
    if factory.startswith("HNSW"):
        index.hnsw.efConstruction = 100  # type: ignore[attr-defined]
    index.train(vectors)
    index.add(vectors)
    return index


def _bytes(index: Any) -> int:
    return int(faiss.serialize_index(index).nbytes)
