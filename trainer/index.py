"""The search index of a catalogue: of which kind, and searched how, so that it finds what an exact search finds.

Every kind but the flat one holds codes alone: product quantisation with 4 bits for each two dimensions, scored by
FAISS's FastScan (Quicker ADC, André et al. 2019, arXiv:1812.09162), 8 bits a dimension, or a graph over such codes
(HNSW, Malkov & Yashunin 2018, arXiv:1603.09320). `VectorIndex` ranks what they find by the stored vectors.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from trainer.config.schema import Index
from trainer.errors import DataError
from trainer.progress import Say
from twotower.arrays import Float32
from twotower.artifact.manifest import IndexSpec, IndexStep
from twotower.search.vector_index import FLAT, VectorIndex

# `auto` scans smaller catalogues exactly
_FLAT_BELOW = 20_000
# rows that a search is tuned to find: recall@100 is what is promised, the others serve a short list, a hundred without
# the buyer's history, and filters and a large k
_PROMISED = 100
_DEPTHS = (10, _PROMISED, 200, 400, 1600)
# of a query that recall is measured with: a cosine of about .7 to the product that it was made from
_NOISE = 1.0
QUERIES = 1000
# an index under a filter must take less than this share of an exact scan's time to be preferred to it
_AS_QUICK = 0.9
# exact scores computed to measure recall, at the most: queries times products
_SCORES = 200_000_000
_TIMED = 100
# a way that finds less than this is not worth its timing
_TOO_LITTLE = 0.8
_NONE = np.empty(0, np.int64)


class Queries(NamedTuple):
    """Vectors [Q, D] to measure recall with, and what they are."""

    vectors: Float32
    what: str


class Built(NamedTuple):
    """A FAISS index over the vectors given, and what is to be known of it."""

    index: Any
    spec: IndexSpec


class _Way(NamedTuple):
    """How a kind is built, and among what its search is tuned: values of the parameter and factors, by rising cost."""

    factory: str
    knob: str
    values: tuple[int, ...]
    factors: tuple[float, ...]


def item_queries(vectors: Float32, seed: int, count: int = QUERIES) -> Queries:
    """Queries for a catalogue without buyers: unit vectors around products drawn at random."""
    draw = np.random.default_rng(seed)
    rows = np.sort(draw.choice(len(vectors), min(count, len(vectors)), replace=False))
    noise = draw.normal(scale=_NOISE / np.sqrt(vectors.shape[1]), size=(len(rows), vectors.shape[1]))
    made = vectors[rows] + noise.astype(np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return Queries(made, f"{len(rows):,} item vectors with noise: there are no buyers")


def build(vectors: Float32, queries: Queries, config: Index, seed: int, threads: int, say: Say) -> Built:
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
            f"index.kind={kind} finds {best:.4f} of the {min(_PROMISED, len(vectors))} nearest products at the most, "
            f"index.target_recall is {config.target_recall}"
        )
        if config.kind != "auto":
            raise DataError(f"{problem}; choose another kind or a lower target")
        say(problem)
    raise AssertionError("a list of kinds ends with flat")


def told(spec: IndexSpec) -> str:
    """One line for people."""
    if not spec.steps:
        return "flat"
    first = next(one for one in spec.steps if one.depth >= min(_PROMISED, spec.steps[-1].depth))
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


def _way(kind: str, products: int, dimension: int) -> _Way:
    lists = _lists(products)
    probes = tuple(value for value in (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 512) if value <= lists)
    if kind == "hnsw":
        return _Way("HNSW32_SQ8", "efSearch", (50, 100, 150, 200, 300, 400, 600, 800, 1200), (1.0,))
    if kind == "compact":
        return _Way(f"IVF{lists},SQ8", "nprobe", probes, (1.0,))
    if dimension % 2:
        raise DataError(f"index.kind={kind} needs an even model.dimension, got {dimension}")
    factors = (1.2, 1.6, 2.2, 3.0, 4.0, 5.0, 6.5, 8.0, 10.0)
    if kind == "pq":
        return _Way(f"PQ{dimension // 2}x4fs", "", (0,), factors)
    return _Way(f"IVF{lists},PQ{dimension // 2}x4fsr", "nprobe", probes, factors)


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
    for depth in sorted({min(one, count) for one in _DEPTHS}):
        tried = _tune(searcher, chosen, depth, way, target, threads)
        curve += tried
        reaching = [one for one in tried if one.recall >= target]
        if not reaching:
            break
        steps.append(min(reaching, key=lambda one: one.microseconds))
        if depth >= _PROMISED:
            # what finds too little of a hundred finds too little of more
            least = min(one.parameter for one in reaching)
            way = way._replace(values=tuple(value for value in way.values if value >= least))
    promised = min(_PROMISED, count)
    best = max((one.recall for one in curve if one.depth == promised), default=curve[-1].recall)
    if not any(one.depth == promised for one in steps):
        return None, best
    spec = spec.model_copy(update={"steps": steps, "curve": curve})
    rows = _exact_rows(searcher.with_spec(spec), chosen, seed)
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


def _tune(
    searcher: VectorIndex, queries: Float32, depth: int, way: _Way, target: float, threads: int
) -> list[IndexStep]:
    """The curve of one depth: for each parameter the least factor that reaches the target, or the largest, with its
    recall and time; until more of the parameter costs more than it saves."""
    faiss.omp_set_num_threads(threads)
    last = faiss.knn(queries, searcher.vectors, depth, faiss.METRIC_INNER_PRODUCT)[0][:, -1]
    curve: list[IndexStep] = []
    quickest = np.inf
    for value in way.values:
        step = IndexStep(depth=depth, parameter=value, factor=way.factors[-1], recall=0, microseconds=0)
        recalls = _recalls(searcher, queries, last, step, way.factors)
        if recalls[step.factor] < _TOO_LITTLE and value != way.values[-1]:
            continue
        enough = [factor for factor, recall in recalls.items() if recall >= target]
        step = step.model_copy(update={"factor": min(enough, default=step.factor)})
        micros = _microseconds(searcher.with_spec(searcher.spec.model_copy(update={"steps": [step]})), queries)
        curve.append(step.model_copy(update={"recall": recalls[step.factor], "microseconds": micros}))
        if micros > quickest:
            break
        quickest = micros if enough else quickest
    return curve


def _recalls(
    searcher: VectorIndex, queries: Float32, last: Float32, step: IndexStep, factors: tuple[float, ...]
) -> dict[float, float]:
    """The share of the true best `step.depth` that lies among the candidates of each factor.

    `last` [Q] is the exact score of the last of the true best: what scores as much is one of them, or as good.
    """
    hits = dict.fromkeys(factors, 0)
    for query, least in zip(queries, last, strict=True):
        rows = searcher.candidates(query[None], step)[0]
        rows = rows[rows >= 0]
        good = np.cumsum(searcher.scores(query[None], rows[None])[0] >= least - 1e-6)
        for factor in factors:
            asked = min(searcher.fetched(step.depth, factor), len(good))
            hits[factor] += min(step.depth, int(good[asked - 1])) if asked else 0
    return {factor: found / (step.depth * len(queries)) for factor, found in hits.items()}


def _microseconds(searcher: VectorIndex, queries: Float32) -> float:
    """Time of a single query for as many as the only step finds, on one thread, the least of three means: that of the
    thread, not of who else runs."""
    some, means, k = queries[:_TIMED], [], searcher.spec.steps[0].depth
    for _ in range(3):
        started = time.thread_time()
        for query in some:
            searcher.search(query[None], [k], [_NONE])
        means.append((time.thread_time() - started) / len(some) * 1e6)
    return round(min(means), 1)


def _exact_rows(searcher: VectorIndex, queries: Float32, seed: int) -> int:
    """Up to how many allowed rows an exact scan for the best 100 costs little more than the index under that filter.

    Where so few are allowed that the index gives up, it scans as well: both times are of the same work then, and must
    not be told apart by noise.
    """
    draw, size = np.random.default_rng(seed), searcher.size
    for share in (0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.05, 0.02, 0.01):
        allowed = draw.random(size) < share
        if _filtered(searcher, queries, allowed, 0) >= _AS_QUICK * _filtered(searcher, queries, allowed, size):
            return int(np.count_nonzero(allowed))
    return 0


def _filtered(searcher: VectorIndex, queries: Float32, allowed: NDArray[np.bool_], exact_rows: int) -> float:
    """Microseconds of a query for the best 100 of the allowed rows, where up to `exact_rows` are scanned: the least of
    three means."""
    spec = searcher.spec.model_copy(update={"exact_rows": exact_rows})
    other = searcher.with_spec(spec)
    some, means = queries[:7], []
    for _ in range(3):
        started = time.thread_time()
        for query in some:
            other.search(query[None], [_PROMISED], [_NONE], allowed)
        means.append((time.thread_time() - started) / len(some) * 1e6)
    return min(means)
