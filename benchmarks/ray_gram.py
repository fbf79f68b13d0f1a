"""The linear model's Gram matrix in this process, and summed over shards on a Ray cluster of two workers. Prints JSON.

python -m benchmarks.ray_gram
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
from scipy import sparse

from trainer.cluster.parts import open_engine
from trainer.data.gram import SHARD, gram_matrix, sum_of_grams

_PRODUCTS = 8192


def buyers_by_products(buyers: int, products: int, each: int) -> sparse.csc_matrix:
    """Each buyer draws `each` products by a power law."""
    draw = np.random.default_rng(0)
    shares = np.arange(1, products + 1) ** -0.7
    product = draw.choice(products, buyers * each, p=shares / shares.sum()).astype(np.int32)
    buyer = np.repeat(np.arange(buyers, dtype=np.int32), each)
    matrix = sparse.csc_matrix((np.ones(len(buyer), np.float32), (buyer, product)), shape=(buyers, products))
    matrix.data[:] = 1
    return matrix


def measure_gram(buyers: int, each: int) -> dict[str, Any]:
    """Seconds of both ways; CPU seconds are those of this process, which on the cluster cuts, sends and sums."""
    matrix = buyers_by_products(buyers, _PRODUCTS, each)
    found: dict[str, Any] = {"entries": int(matrix.nnz), "shards": -(-int(matrix.nnz) // SHARD)}
    started, cpu = time.perf_counter(), time.process_time()
    here = gram_matrix(matrix)
    found["here"] = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}
    engine = open_engine("local")
    started, cpu = time.perf_counter(), time.process_time()
    there = sum_of_grams(matrix, engine)
    found["cluster"] = {"seconds": time.perf_counter() - started, "cpu_seconds": time.process_time() - cpu}
    return found | {"equal": bool(np.array_equal(here, there)), "bytes": here.nbytes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--buyers", type=int, default=1_500_000)
    parser.add_argument("--each", type=int, default=20)
    options = parser.parse_args()
    print(json.dumps(measure_gram(options.buyers, options.each)))


if __name__ == "__main__":
    main()
