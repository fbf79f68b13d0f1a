"""One process that does all that the chain does: what the chain is compared with.

Usage:  python -m benchmarks.monolith {plain,tuned} --port N --artifacts DIR --redis URL

Both answer GET /retrieve?buyer_id=&k= from the files of the published version and a list per buyer in Redis.
`plain` is what one writes first: FastAPI returning a dict, the torch module, LRANGE, uvicorn's defaults.
`tuned` is what one makes of it: numpy for the tower, orjson for the answer, no access log, no threads to wait for.
Neither checks more than FastAPI does by itself, filters, falls back, counts or reloads.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

KEY_PREFIX = "monolith:history:"


def plain(artifacts: Path, redis_url: str) -> Any:
    """The first version that one writes."""
    import faiss
    import numpy as np
    import torch
    from fastapi import FastAPI
    from redis.asyncio import Redis
    from safetensors.torch import load_file

    from trainer.config.loading import load_config
    from trainer.model.towers import BuyerTower
    from twotower.artifact.layout import Layout
    from twotower.artifact.pointer import read_pointer
    from twotower.artifact.version import open_version
    from twotower.events import DAY_MS

    layout = Layout(artifacts)
    pointer = read_pointer(layout.current)
    assert pointer is not None
    version = open_version(layout, pointer.version)
    manifest = version.manifest
    index = faiss.read_index(str(version.layout.index))
    ids = np.load(version.layout.ids).tolist()
    row_of = {one: row for row, one in enumerate(ids)}
    vectors = torch.from_numpy(np.load(version.layout.embeddings))
    changes = {"dimension": manifest.dimension, "max_history": manifest.max_history, "buyer_tower": "attention"}
    config = load_config().model.model_copy(update=changes)
    tower = BuyerTower(len(manifest.event_weights), config.head_count, config).eval()
    tower.load_state_dict(load_file(version.layout.weights))
    codes = {name: code for code, name in enumerate(manifest.event_weights, start=1)}
    redis = Redis.from_url(redis_url)
    app = FastAPI()

    @app.get("/retrieve")
    async def retrieve(buyer_id: str, k: int = 10) -> dict[str, Any]:
        members: list[Any] = await redis.lrange(KEY_PREFIX + buyer_id, 0, -1)
        history = [member.decode().split("\0") for member in members]
        known = [one for one in history if one[0] in row_of]
        times = [int(one[2]) for one in known]
        with torch.no_grad():
            vector = tower(
                vectors[[row_of[one[0]] for one in known]][None],
                torch.tensor([[manifest.event_weights[one[1]] for one in known]]),
                torch.tensor([[codes[one[1]] for one in known]]),
                torch.tensor([[(max(times) - time) / DAY_MS for time in times]], dtype=torch.float32),
                torch.ones(1, len(known), dtype=torch.bool),
            )
        scores, rows = index.search(vector.numpy(), k)
        return {
            "buyer_id": buyer_id,
            "product_ids": [ids[row] for row in rows[0]],
            "scores": [float(score) for score in scores[0]],
        }

    return app


def tuned(artifacts: Path, redis_url: str) -> Any:
    """The same with everything slow taken out."""
    import faiss
    import numpy as np
    import orjson
    from fastapi import FastAPI
    from redis.asyncio import Redis
    from safetensors.numpy import load_file
    from starlette.requests import Request
    from starlette.responses import Response

    from twotower.artifact.layout import Layout
    from twotower.artifact.pointer import read_pointer
    from twotower.artifact.version import open_version
    from twotower.events import DAY_MS

    layout = Layout(artifacts)
    pointer = read_pointer(layout.current)
    assert pointer is not None
    version = open_version(layout, pointer.version)
    faiss.omp_set_num_threads(1)
    index = faiss.read_index(str(version.layout.index))
    ids = np.load(version.layout.ids).tolist()
    row_of = {one: row for row, one in enumerate(ids)}
    vectors = np.load(version.layout.embeddings, mmap_mode="r")
    weights = load_file(version.layout.weights)
    heads = len(weights["recency"])
    size = version.manifest.dimension // heads
    # one matrix each for all heads; the logits are of heads of length one
    query = np.zeros((version.manifest.dimension, heads), np.float32)
    onward = np.eye(version.manifest.dimension, dtype=np.float32)
    for head, place in enumerate(slice(start, start + size) for start in range(0, len(query), size)):
        query[place, head] = weights["query"][place] * heads**0.5
        onward[place, place] += weights["next"][head]
    place_bias, constant = weights["place_bias"], weights["constant"]
    # an event's whole share of the logits, looked up by its name
    event_term = {
        name: np.log(weight) + weights["type_bias"][code]
        for code, (name, weight) in enumerate(version.manifest.event_weights.items(), start=1)
    }

    def unit(vector: Any) -> Any:
        parts = vector.reshape(heads, size)
        return (parts / np.sqrt((parts * parts).sum(axis=1, keepdims=True) * heads)).ravel()

    redis = Redis.from_url(redis_url)
    app = FastAPI()

    async def retrieve(request: Request) -> Response:
        buyer_id, k = request.query_params["buyer_id"], int(request.query_params.get("k", 10))
        members: list[Any] = await redis.lrange(KEY_PREFIX + buyer_id, 0, -1)
        fields = b"\0".join(members).decode().split("\0")
        rows, terms, times = [], [], []
        for product, event, time in zip(fields[0::3], fields[1::3], fields[2::3], strict=True):
            if (row := row_of.get(product)) is not None:
                rows.append(row)
                terms.append(event_term[event])
                times.append(int(time))
        items = vectors[rows]  # [T, D]
        ages = ((times[-1] - np.array(times)) / DAY_MS)[:, None]  # [T, 1]
        logits = items @ query + np.array(terms) + place_bias[len(rows) - 1 :: -1]  # [T, H]
        logits -= weights["decay"] * ages + np.log1p(ages) * weights["recency"]
        shares = np.exp(logits - logits.max(axis=0)).astype(np.float32)
        shares /= shares.sum(axis=0)
        pooled = np.einsum("th,thd->hd", shares, items.reshape(-1, heads, size)).ravel()
        vector = unit(unit(pooled @ onward) + constant)
        scores, found = index.search(vector[None].astype(np.float32), k)
        answer = {"buyer_id": buyer_id, "product_ids": [ids[row] for row in found[0].tolist()], "scores": scores[0]}
        return Response(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")

    app.add_route("/retrieve", retrieve)
    return app


def create_app() -> Any:
    """For uvicorn, which starts each of its workers afresh."""
    make = plain if os.environ["MONOLITH_KIND"] == "plain" else tuned
    return make(Path(os.environ["MONOLITH_ARTIFACTS"]), os.environ["MONOLITH_REDIS"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("plain", "tuned"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--artifacts", required=True)
    parser.add_argument("--redis", required=True)
    options = parser.parse_args()
    os.environ |= {
        "MONOLITH_KIND": options.kind,
        "MONOLITH_ARTIFACTS": options.artifacts,
        "MONOLITH_REDIS": options.redis,
    }
    if options.kind == "tuned":
        # must be said before numpy is imported
        os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    import uvicorn

    settings: dict[str, Any] = {"access_log": False, "log_level": "warning"} if options.kind == "tuned" else {}
    uvicorn.run("benchmarks.monolith:create_app", factory=True, port=options.port, workers=options.workers, **settings)


if __name__ == "__main__":
    main()
