"""Compares 1, 2 and 4 shards of one catalogue: memory of each process, latency of the slowest, and the answers.

Usage:  make bench-shards [ARGS="--products 1000000 --counts 1 2 4"]

The vectors are synthetic: unit vectors around random centres. One index is trained and tuned, and the shards are filled
from it. Each shard is opened by a process of its own, as its service does, which answers all queries one at a time on
one thread; the processes run one after another. Times are CPU time, so that other processes matter little: the slowest
shard of a query is what a gateway waits for. The answers are merged, and compared with those of a service that
holds the whole version, and with those of one index of all products (the first count should be 1).
The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import faiss
import numpy as np

from benchmarks.market import Size, make
from retrieval_service.index import ProductIndex
from retrieval_service.loading import load
from retrieval_service.query import Answer, Filter, Query
from retrieval_service.settings import RetrievalSettings
from trainer.config.schema import Index
from trainer.index.build import BuiltIndex, build, item_queries, write
from trainer.index.shards import write_shards
from twotower.arrays import Float32
from twotower.artifact.layout import Layout, VersionLayout
from twotower.artifact.manifest import Manifest
from twotower.artifact.store import write_version
from twotower.artifact.version import Version, open_version
from twotower.merging import best_of
from twotower.search.word_index import Word

log = logging.getLogger(__name__)

K = 100
QUERIES = {
    "vector": Query(K, for_merge=True),
    "filter": Query(K, filter=Filter(categories=("فئة 3", "فئة 4")), for_merge=True),
    "words": Query(K, words=[Word("منتج"), Word("77", is_number=True, group=1)], for_merge=True),
}
_MIB = 1024.0


class Served(NamedTuple):
    """Of one shard: the answers to each query of each kind, its CPU milliseconds, and memory in MiB.

    `anonymous` is the process's own; `mapped` is what it has touched of files, which the kernel may drop.
    """

    answers: dict[str, list[Answer]]
    milliseconds: dict[str, list[float]]
    anonymous: float
    mapped: float


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--recall", type=float, default=0.95)
    parser.add_argument("--folder", type=Path, help="where versions are kept for the next run; default: nowhere")
    options = parser.parse_args()
    with TemporaryDirectory() as temporary:
        _run(options, options.folder or Path(temporary))


def _run(options: argparse.Namespace, folder: Path) -> None:
    size = Size(options.products, options.dimension, 10, 10, "Flat", 0)
    plain = make(folder, size)
    built = _build(plain, options.recall)
    stored = (np.load(plain.layout.embeddings, mmap_mode="r"), np.load(plain.layout.text_embeddings, mmap_mode="r"))
    queries = tuple(item_queries(np.asarray(one), 3, options.queries).vectors for one in stored)
    one_index: Served | None = None
    results: dict[str, Any] = {"products": options.products, "dimension": options.dimension, "counts": {}}
    for count in options.counts:
        version = _sharded(plain, built, count)
        served = [_in_process(folder, version.name, number, count, queries) for number in range(count)]
        whole = _in_process(folder, version.name, 0, 1, queries)
        one_index = one_index or whole
        results["counts"][count] = _compare(served, whole, one_index, version, count)
        log.info(f"{count} shards: {json.dumps(results['counts'][count])}")
    print(json.dumps(results))


def _build(plain: Version, recall: float) -> tuple[BuiltIndex, BuiltIndex]:
    config, files = Index(kind="ivf", target_recall=recall), plain.layout
    made = []
    for path in (files.embeddings, files.text_embeddings):
        vectors = np.load(path, mmap_mode="r")
        made.append(build(np.asarray(vectors), item_queries(np.asarray(vectors), 7, 200), config, 7, 1))
        log.info(f"{path.name}: {made[-1].spec.factory}, steps {[one.parameter for one in made[-1].spec.steps]}")
    return made[0], made[1]


def _sharded(plain: Version, built: tuple[BuiltIndex, BuiltIndex], count: int) -> Version:
    """The plain version with these indexes for so many shards; its large files are the same files."""
    layout, name = plain.layout.artifacts, f"{plain.name[:40]}-shards-{count}"
    products, texts = built

    def fill(files: VersionLayout) -> Manifest:
        replaced = {files.index.name, files.text_index.name, files.nearest.name}
        for listed in plain.manifest.files.keys() - replaced:
            os.link(plain.layout.root / listed, files.root / listed)
        for one, path, stored, path_of in (
            (products, files.index, plain.layout.embeddings, files.index_of),
            (texts, files.text_index, plain.layout.text_embeddings, files.text_index_of),
        ):
            write(one, path)
            write_shards(one, np.asarray(np.load(stored, mmap_mode="r")), count, path_of, 1)
        search = plain.manifest.text_search.model_copy(update={"index": texts.spec})
        changed = {"version": name, "shards": count, "index": products.spec, "text_search": search}
        return plain.manifest.model_copy(update=changed | {"files": {}, "private_files": {}})

    if layout.version(name).manifest.is_file():
        return open_version(layout, name)
    return write_version(layout, name, fill)


def _in_process(folder: Path, name: str, number: int, count: int, queries: Sequence[Float32]) -> Served:
    # a fresh process: a fork would have the memory of this one
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_serve, (folder, name, number, count, queries))


def _serve(folder: Path, name: str, number: int, count: int, queries: Sequence[Float32]) -> Served:
    faiss.omp_set_num_threads(1)
    version = open_version(Layout(folder), name)
    index = load(version, RetrievalSettings.model_validate({"shard_index": number, "shard_count": count}))
    answers, milliseconds = dict[str, list[Answer]](), dict[str, list[float]]()
    for kind, query in QUERIES.items():
        asked = queries[1] if query.words else queries[0]
        _ask(index, asked[:1], query)
        answers[kind], milliseconds[kind] = [], []
        for one in asked:
            started = time.thread_time()
            answers[kind].append(_ask(index, one[None], query))
            milliseconds[kind].append((time.thread_time() - started) * 1000)
    return Served(answers, milliseconds, _memory("RssAnon"), _memory("RssFile"))


def _ask(index: ProductIndex, vector: Float32, query: Query) -> Answer:
    return (index.search_texts if query.words else index.search)(vector, [query])[0]


def _memory(field: str) -> float:
    """A figure of /proc/self/status in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return round(float(next(one for one in lines if one.startswith(field)).split()[1]) / _MIB, 1)


def _compare(
    served: Sequence[Served], whole: Served, one_index: Served, version: Version, count: int
) -> dict[str, Any]:
    """Figures of the shards beside the same version held as a whole, and beside one index of all products.

    `same`: lists that are the whole's, scores too. `no_worse`: lists whose every score is at least that of the one
    index. `better`: products of a list that the one index lacks.
    """
    files = version.manifest.files
    names = [name for name in files if name.endswith(f"-of-{count}.faiss")] if count > 1 else []
    sizes = [files[name].size for name in names if name.startswith("product_index")]
    found: dict[str, Any] = {
        "anonymous_mib": [one.anonymous for one in served],
        "whole_mib": [whole.anonymous, whole.mapped],
        "mapped_mib": [one.mapped for one in served],
        "index_mib": round(max(sizes, default=files[version.layout.index.name].size) / _MIB**2, 1),
    }
    for kind in QUERIES:
        slowest = [max(times) for times in zip(*(one.milliseconds[kind] for one in served), strict=True)]
        merged = [_merge(parts) for parts in zip(*(one.answers[kind] for one in served), strict=True)]
        same = [
            ids == one.product_ids and (scores == one.scores).all()
            for (ids, scores), one in zip(merged, whole.answers[kind], strict=True)
        ]
        pairs = list(zip(merged, one_index.answers[kind], strict=True))
        found[kind] = {
            "slowest_ms": round(statistics.median(slowest), 2),
            "slowest_p95_ms": round(float(np.quantile(slowest, 0.95)), 2),
            "all_ms": round(
                statistics.median(sum(one.milliseconds[kind][at] for one in served) for at in range(len(slowest))), 2
            ),
            "whole_ms": round(statistics.median(whole.milliseconds[kind]), 2),
            "same": float(np.mean(same)),
            "better": round(float(np.mean([len(set(ids).difference(one.product_ids)) for (ids, _), one in pairs])), 2),
            "no_worse": float(np.mean([bool((scores >= one.scores).all()) for (_, scores), one in pairs])),
        }
    return found


def _merge(parts: Sequence[Answer]) -> tuple[list[str], Float32]:
    """The best products of the answers of all shards, and their scores."""
    ids = [one for part in parts for one in part.product_ids]
    scores = np.concatenate([part.scores for part in parts])
    orders = np.concatenate([part.merge.orders for part in parts if part.merge is not None])
    best = best_of(scores, orders, K)
    return [ids[place] for place in best], scores[best]


if __name__ == "__main__":
    main()
