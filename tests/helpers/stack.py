"""The whole online system in one event loop: real services on a tiny version, a real Redis, the gateway over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from gateway.app import create_app
from gateway.http.draining import bind
from gateway.http.server import make_server
from gateway.settings import GatewaySettings
from tests.helpers.redis_server import RedisServer, free_port
from tests.helpers.services import running, until
from tests.helpers.tiny_version import HALF_LIFE_DAYS, NOON
from twotower.arrays import Float32, Float64
from twotower.artifact.catalogue import Catalogue, Product
from twotower.artifact.layout import Layout
from twotower.artifact.manifest import WordWeights
from twotower.artifact.version import open_version
from twotower.events import DEFAULT_WEIGHTS, Interaction
from twotower.search.word_index import Word, WordIndex
from twotower.search.word_search import added_by_words
from twotower.text.words import is_number, query_words

NOBODY = "127.0.0.1:1"
DAY_MS = 86_400_000


@dataclass
class Stack:
    """A running gateway with its Redis and its services."""

    client: httpx.AsyncClient
    redis: RedisServer
    artifacts: Path

    async def get(self, path: str, **query: Any) -> httpx.Response:
        return await self.client.get(path, params=query)

    async def post(self, path: str, body: object) -> httpx.Response:
        return await self.client.post(path, json=body)

    async def answer(self, path: str, **query: Any) -> dict[str, Any]:
        """A list of products; anything but 200 is a failure."""
        response = await self.get(path, **query)
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found


@asynccontextmanager
async def gateway(**settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway on a free port, served by uvicorn, and a client of it."""
    values = GatewaySettings(**settings)
    listener = bind("127.0.0.1", 0)
    server = make_server(create_app(values), values)
    task = asyncio.create_task(server.serve(sockets=[listener]))
    await until(lambda: server.started or task.done())
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        async with httpx.AsyncClient(base_url=address, timeout=30, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def stack(
    artifacts: Path, redis: RedisServer, without: Sequence[str] = (), **settings: Any
) -> AsyncIterator[Stack]:
    """Services, Redis and gateway; the services named in `without` do not run. Histories count as loaded."""
    if redis.is_running:
        redis.mark_loaded()
    async with AsyncExitStack() as exits:
        addresses = {}
        for name in ("item", "buyer", "retrieval"):
            address = NOBODY
            if name not in without:
                address = (await exits.enter_async_context(running(name, artifacts))).address
            addresses[f"{name}_address"] = address
        values = {"redis_url": redis.url, "redis_retry_seconds": 0.1, **addresses, **settings}
        client = await exits.enter_async_context(gateway(**values))
        yield Stack(client, redis, artifacts)


class Reference:
    """The right answers of one version, computed with numpy from its files."""

    def __init__(self, artifacts: Path, name: str) -> None:
        files = open_version(Layout(artifacts), name).layout
        self.vectors: Float32 = np.load(files.embeddings)  # [N, D]
        self.texts: Float32 = np.load(files.text_embeddings)  # [N, E]
        self.words = WordIndex.load(files, len(self.texts))
        self.ids: list[str] = np.load(files.ids).tolist()
        self.row = {one: row for row, one in enumerate(self.ids)}
        self.products: dict[str, Product] = {
            one.id: one for one in Catalogue(files.products).lookup(self.ids) if one is not None
        }

    def buyer(self, interactions: Sequence[Interaction]) -> Float64:
        """The tiny buyer tower: the mean weighted by event and by half-life, L2-normalised [D]."""
        known = [one for one in interactions if one.product_id in self.row]
        newest = max(one.timestamp_ms for one in known)
        total = np.zeros(self.vectors.shape[1])
        for one in known:
            age = (newest - one.timestamp_ms) / DAY_MS
            weight = DEFAULT_WEIGHTS[one.event_type] * 0.5 ** (age / HALF_LIFE_DAYS)
            total += weight * self.vectors[self.row[one.product_id]]
        return total / np.linalg.norm(total)

    def best(self, query: NDArray[Any], k: int, allowed: Sequence[str] | None = None) -> dict[str, float]:
        """The k allowed products of highest inner product, best first, with their scores."""
        ids = self.ids if allowed is None else allowed
        scores = {one: float(self.vectors[self.row[one]] @ query) for one in ids}
        return dict(sorted(scores.items(), key=lambda pair: (-pair[1], self.row[pair[0]]))[:k])

    def matching(self, query: NDArray[Any], text: str, k: int) -> dict[str, float]:
        """The k products of the highest cosine of the texts plus what the words of `text` count, best first."""
        words = [Word(word, 1.0, is_number(word), place) for place, word in enumerate(query_words(text))]
        scores = self.texts @ query / np.linalg.norm(query) + added_by_words(self.words, WordWeights(), words)
        best = sorted(range(len(self.ids)), key=lambda row: (-scores[row], row))[:k]
        return {self.ids[row]: float(scores[row]) for row in best}

    def popular(self, k: int, without: Sequence[str] = ()) -> dict[str, float]:
        shares = {one.id: one.popularity for one in self.products.values() if one.id not in without}
        return dict(sorted(shares.items(), key=lambda pair: (-pair[1], self.row[pair[0]]))[:k])


def check_list(answer: dict[str, Any], wanted: dict[str, float]) -> None:
    """The same products in the same order with the same scores, to 1e-5."""
    assert answer["product_ids"] == list(wanted)
    np.testing.assert_allclose(answer["scores"], list(wanted.values()), atol=1e-5)


def event(product_id: str, event_type: str = "View", hours_ago: float = 0.0) -> Interaction:
    """An interaction some hours before the newest ones of the tiny versions."""
    return Interaction(product_id, event_type, NOON - round(hours_ago * 3_600_000))


def as_json(interactions: Sequence[Interaction]) -> list[dict[str, Any]]:
    """Interactions as /encode_buyer takes them, times as epoch milliseconds in a string."""
    return [
        {"product_id": one.product_id, "event_type": one.event_type, "timestamp": str(one.timestamp_ms)}
        for one in interactions
    ]


__all__ = ["NOBODY", "Reference", "Stack", "as_json", "check_list", "event", "free_port", "gateway", "stack"]
