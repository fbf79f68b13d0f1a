"""The same monolith without its slow parts: the tower in numpy, one thread per worker, orjson."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import orjson
from fastapi import FastAPI
from numpy.typing import NDArray
from redis.asyncio import Redis
from safetensors.numpy import load_file
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.monolith.inputs import KEY_PREFIX, open_published
from benchmarks.monolith.ranking import Ranking
from twotower.arrays import Float32
from twotower.artifact.version import Version
from twotower.events import DAY_MS


class Tower:
    """The attention tower of a version in numpy, with one matrix for the queries of all heads."""

    def __init__(self, version: Version) -> None:
        weights = load_file(version.layout.weights)
        dimension = version.manifest.dimension
        self._heads = len(weights["recency"])
        self._size = dimension // self._heads
        # the logits are those of heads of length one
        self._query = np.zeros((dimension, self._heads), np.float32)
        self._next = np.eye(dimension, dtype=np.float32)
        for head, start in enumerate(range(0, dimension, self._size)):
            part = slice(start, start + self._size)
            self._query[part, head] = weights["query"][part] * self._heads**0.5
            self._next[part, part] += weights["next"][head]
        self._decay, self._recency = weights["decay"], weights["recency"]
        self._place_bias, self._constant = weights["place_bias"], weights["constant"]
        # all that an event's type adds to the logits, by the name of the event
        self.event_terms = {
            name: np.log(weight) + weights["type_bias"][code]
            for code, (name, weight) in enumerate(version.manifest.event_weights.items(), start=1)
        }

    def encode(self, items: Float32, event_terms: Sequence[Any], times: Sequence[int]) -> NDArray[Any]:
        """The buyer's vector [D] from item vectors [T, D], oldest first, with their event terms and times in ms."""
        ages = ((times[-1] - np.array(times)) / DAY_MS)[:, None]  # [T, 1], in days
        logits = items @ self._query + np.array(event_terms) + self._place_bias[len(items) - 1 :: -1]  # [T, H]
        logits -= self._decay * ages + np.log1p(ages) * self._recency
        shares = np.exp(logits - logits.max(axis=0)).astype(np.float32)
        shares /= shares.sum(axis=0)
        pooled = np.einsum("th,thd->hd", shares, items.reshape(-1, self._heads, self._size)).ravel()
        return self._normalise(self._normalise(pooled @ self._next) + self._constant)

    def _normalise(self, vector: NDArray[Any]) -> NDArray[Any]:
        """Scales every head to the same length, and the whole to length one."""
        parts = vector.reshape(self._heads, self._size)
        return (parts / np.sqrt((parts * parts).sum(axis=1, keepdims=True) * self._heads)).ravel()


def create_app() -> FastAPI:
    """The application; uvicorn calls this in each of its workers."""
    version = open_published(Path(os.environ["MONOLITH_ARTIFACTS"]))
    faiss.omp_set_num_threads(1)
    ranking = Ranking(version)
    ids = np.load(version.layout.ids).tolist()
    row_of = {product: row for row, product in enumerate(ids)}
    vectors = np.load(version.layout.embeddings, mmap_mode="r")
    tower = Tower(version)
    redis = Redis.from_url(os.environ["MONOLITH_REDIS"])
    app = FastAPI()

    async def retrieve(request: Request) -> Response:
        buyer_id, k = request.query_params["buyer_id"], int(request.query_params.get("k", 10))
        members: list[Any] = await redis.lrange(KEY_PREFIX + buyer_id, 0, -1)
        fields = b"\0".join(members).decode().split("\0")
        rows, event_terms, times = [], [], []
        for product, event, time in zip(fields[0::3], fields[1::3], fields[2::3], strict=True):
            if (row := row_of.get(product)) is not None:
                rows.append(row)
                event_terms.append(tower.event_terms[event])
                times.append(int(time))
        vector = tower.encode(vectors[rows], event_terms, times)
        scores, best = ranking.best(vector.astype(np.float32), rows, k)
        answer = {"buyer_id": buyer_id, "product_ids": [ids[row] for row in best.tolist()], "scores": scores}
        return Response(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")

    app.add_route("/retrieve", retrieve)
    return app
