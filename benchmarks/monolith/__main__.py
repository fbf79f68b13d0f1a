"""Runs a monolith.

Usage:  python -m benchmarks.monolith {plain,tuned} --port N --artifacts DIR --redis URL [--workers N]

Both answer GET /retrieve?buyer_id=&k= from the files of the published version and a list per buyer in Redis. `plain`
is a first version: FastAPI that returns a dict, the torch module, LRANGE, uvicorn's defaults. `tuned` is fast: numpy
for the tower, orjson for the answer, no access log, no wait for threads. Neither validates more than FastAPI does by
itself, and neither filters, falls back, counts or reloads.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import uvicorn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("plain", "tuned"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1, help="number of processes that answer")
    parser.add_argument("--artifacts", required=True, help="artifact folder, with a published version")
    parser.add_argument("--redis", required=True, help="URL of the Redis that holds the histories")
    options = parser.parse_args()
    # the application reads these, in each worker
    os.environ |= {"MONOLITH_ARTIFACTS": options.artifacts, "MONOLITH_REDIS": options.redis}
    server: dict[str, Any] = {}
    # must be set before the application imports numpy, whose threads would fight with those of torch and FAISS
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    if options.kind == "tuned":
        os.environ["OMP_NUM_THREADS"] = "1"
        server = {"access_log": False, "log_level": "warning"}
    application = f"benchmarks.monolith.{options.kind}:create_app"
    uvicorn.run(application, factory=True, port=options.port, workers=options.workers, **server)


if __name__ == "__main__":
    main()
