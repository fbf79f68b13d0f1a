"""Builds the search index of a catalogue: chooses its kind and tunes the search to a recall target.

Every kind except `flat` stores codes, not vectors: product quantisation with 4 bits for each two dimensions, scored by
FAISS's FastScan (Quicker ADC, André et al. 2019, arXiv:1812.09162); 8 bits a dimension; or a graph over such codes
(HNSW, Malkov & Yashunin 2018, arXiv:1603.09320). `VectorIndex` ranks their candidates by the stored vectors.
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
from trainer.index.tuning import DEPTHS, PROMISED, SearchSpace, exact_rows, tune
from twotower.arrays import Float32
from twotower.artifact.fsync import write_atomically
from twotower.artifact.manifest import IndexSpec, IndexStep
from twotower.search.vector_index import FLAT, VectorIndex

log = logging.getLogger(__name__)

# number of queries to tune an index with
QUERIES = 1000
# `auto` scans smaller catalogues exactly
_FLAT_BELOW = 20_000
# noise of a synthetic query: its cosine to its product is about 0.7
_NOISE = 1.0
# at most this many exact scores are computed to measure recall: queries x products
_SCORES = 200_000_000
# and recall is measured with at least this many queries
_MINIMUM_QUERIES = 50


class Queries(NamedTuple):
    """Query vectors [Q, D] to measure recall with, and a description for the manifest."""

    vectors: Float32
    description: str


class BuiltIndex(NamedTuple):
    """A FAISS index, and its description for the manifest."""

    index: Any
    spec: IndexSpec


def item_queries(vectors: Float32, seed: int, count: int = QUERIES) -> Queries:
    """Makes queries for a catalogue without buyers: unit vectors near random products."""
    draw = np.random.default_rng(seed)
    rows = np.sort(draw.choice(len(vectors), min(count, len(vectors)), replace=False))
    noise = draw.normal(scale=_NOISE / np.sqrt(vectors.shape[1]), size=(len(rows), vectors.shape[1]))
    queries = vectors[rows] + noise.astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    return Queries(queries, f"{len(rows):,} item vectors with noise: there are no buyers")


def build(vectors: Float32, queries: Queries, config: Index, seed: int, threads: int) -> BuiltIndex:
    """Builds the index of the configured kind, tuned to `target_recall`.

    `auto` chooses the first kind that reaches the target; `flat` always does. Raises DataError if the configured kind
    does not reach it.
    """
    kinds = _kinds(len(vectors)) if config.kind == "auto" else [config.kind]
    for kind in kinds:
        if kind == "flat":
            return _flat(vectors)
        built, best = _approximate(kind, vectors, queries, config.target_recall, seed, threads)
        if built is not None:
            return built
        problem = (
            f"index.kind={kind} finds at most {best:.4f} of the {min(PROMISED, len(vectors))} nearest products, "
            f"index.target_recall is {config.target_recall}"
        )
        if config.kind != "auto":
            raise DataError(f"{problem}; choose another kind or a lower target")
        log.info(problem)
    raise AssertionError("a list of kinds ends with flat")


def describe(spec: IndexSpec) -> str:
    """Returns the index and its search as one log line."""
    if not spec.steps:
        return "flat"
    first = next(one for one in spec.steps if one.depth >= min(PROMISED, spec.steps[-1].depth))
    knob = f"{spec.knob} {first.parameter}, " if spec.knob else ""
    return (
        f"{spec.kind}, {spec.factory}, {knob}{first.factor} candidates for each result: recall@{first.depth} "
        f"{first.recall:.4f} in {first.microseconds:.0f} us, with {spec.queries}"
    )


def is_small(built: BuiltIndex) -> bool:
    """Returns True for a flat index of so few vectors that a second copy of them is worth its memory."""
    return built.spec.factory == FLAT.factory and int(built.index.ntotal) < _FLAT_BELOW


def write(built: BuiltIndex, path: Path) -> None:
    """Writes the index file. Raises OSError if it cannot be written."""
    with write_atomically(path) as temporary:
        faiss.write_index(built.index, str(temporary))


def _kinds(products: int) -> list[str]:
    return ["flat"] if products < _FLAT_BELOW else ["ivf", "flat"]


def _search_space(kind: str, products: int, dimension: int) -> SearchSpace:
    lists = list_count(products)
    probes = tuple(value for value in (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512) if value <= lists)
    if kind == "hnsw":
        return SearchSpace("HNSW32_SQ8", "efSearch", (50, 100, 150, 200, 300, 400, 600, 800, 1200), (1.0,))
    if kind == "compact":
        return SearchSpace(f"IVF{lists},SQ8", "nprobe", probes, (1.0,))
    if dimension % 2:
        raise DataError(f"index.kind={kind} needs an even model.dimension, got {dimension}")
    factors = (1.2, 1.6, 2.2, 3.0, 4.0, 5.0, 6.5, 8.0, 10.0)
    if kind == "pq":
        return SearchSpace(f"PQ{dimension // 2}x4fs", "", (0,), factors)
    return SearchSpace(f"IVF{lists},PQ{dimension // 2}x4fsr", "nprobe", probes, factors)


def list_count(products: int) -> int:
    """Returns a power of two near 3 x the square root of `products`, so that a list has at least 39 products."""
    wanted = min(3 * products**0.5, products / 39)
    return int(2 ** max(0, np.floor(np.log2(max(wanted, 1)) + 0.5)))


def _flat(vectors: Float32) -> BuiltIndex:
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return BuiltIndex(index, FLAT)


def _approximate(
    kind: str, vectors: Float32, queries: Queries, target: float, seed: int, threads: int
) -> tuple[BuiltIndex | None, float]:
    """Returns the tuned index, or None if it misses the target; and its best recall of the promised depth."""
    count, dimension = vectors.shape
    space = _search_space(kind, count, dimension)
    started = time.perf_counter()
    # the graph depends on the order in which threads insert
    faiss.omp_set_num_threads(1 if kind == "hnsw" else threads)
    index = train_index(space.factory, vectors, seed)
    seconds = time.perf_counter() - started
    spec = IndexSpec(
        kind=kind,
        factory=space.factory,
        knob=space.knob,
        target_recall=target,
        queries=queries.description,
        bytes_per_vector=_bytes(index) / count,
        build_seconds=seconds,
    )
    asked = queries.vectors[: max(_MINIMUM_QUERIES, min(len(queries.vectors), _SCORES // count))]
    searcher = VectorIndex(index, vectors, spec)
    steps, curve = _tune_depths(searcher, asked, space, target, threads)
    promised = min(PROMISED, count)
    best = max((step.recall for step in curve if step.depth == promised), default=curve[-1].recall)
    if not any(step.depth == promised for step in steps):
        return None, best
    spec = spec.model_copy(update={"steps": steps, "curve": curve})
    rows = exact_rows(searcher.with_spec(spec), asked, seed)
    return BuiltIndex(index, spec.model_copy(update={"exact_rows": rows})), best


def _tune_depths(
    searcher: VectorIndex, queries: Float32, space: SearchSpace, target: float, threads: int
) -> tuple[list[IndexStep], list[IndexStep]]:
    """Returns the fastest step of each depth that reaches the target, and all steps tried.

    Stops after the first depth without such a step.
    """
    steps, curve = [], []
    for depth in sorted({min(depth, searcher.size) for depth in DEPTHS}):
        tried = tune(searcher, queries, depth, space, target, threads)
        curve += tried
        reaching = [step for step in tried if step.recall >= target]
        if not reaching:
            break
        steps.append(min(reaching, key=lambda step: step.microseconds))
        if depth >= PROMISED:
            # a value that misses the target at this depth misses it at greater depths too
            lowest = min(step.parameter for step in reaching)
            space = space._replace(values=tuple(value for value in space.values if value >= lowest))
    return steps, curve


def train_index(factory: str, vectors: Float32, seed: int) -> Any:
    """Trains the index of a FAISS factory string on all vectors. The same seed gives the same index."""
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
