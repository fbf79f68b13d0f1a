"""The monolith as a first version would be: torch, LRANGE, a dict returned from FastAPI."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fastapi import FastAPI
from redis.asyncio import Redis
from safetensors.torch import load_file

from benchmarks.monolith.inputs import KEY_PREFIX, open_published
from benchmarks.monolith.ranking import Ranking
from trainer.config.loading import load_config
from trainer.model.towers import BuyerTower
from twotower.artifact.version import Version
from twotower.events import DAY_MS


def create_app() -> FastAPI:
    """The application; uvicorn calls this in each of its workers."""
    version = open_published(Path(os.environ["MONOLITH_ARTIFACTS"]))
    manifest = version.manifest
    ranking = Ranking(version)
    ids = np.load(version.layout.ids).tolist()
    row_of = {product: row for row, product in enumerate(ids)}
    vectors = torch.from_numpy(np.load(version.layout.embeddings))
    tower = _load_tower(version)
    codes = {name: code for code, name in enumerate(manifest.event_weights, start=1)}
    redis = Redis.from_url(os.environ["MONOLITH_REDIS"])
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
        scores, rows = ranking.best(vector[0].numpy(), [row_of[one[0]] for one in known], k)
        return {
            "buyer_id": buyer_id,
            "product_ids": [ids[row] for row in rows],
            "scores": [float(score) for score in scores],
        }

    return app


def _load_tower(version: Version) -> BuyerTower:
    manifest = version.manifest
    changes = {"dimension": manifest.dimension, "max_history": manifest.max_history, "buyer_tower": "attention"}
    config = load_config().model.model_copy(update=changes)
    tower = BuyerTower(len(manifest.event_weights), config.head_count, config).eval()
    tower.load_state_dict(load_file(version.layout.weights))
    return tower
