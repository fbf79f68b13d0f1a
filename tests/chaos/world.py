"""The versions that the rows of faults serve, and the right answers of each, recorded from a calm system."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson

from tests.chaos.asks import Ask, Asks, make_asks, reference_buyer, store
from tests.chaos.judge import Book
from tests.chaos.system import SHARDS, Shape, system
from tests.helpers.services import until
from tests.helpers.tiny_version import build_version, catalogue, publish_version, recent_interactions
from twotower.artifact.layout import Layout, VersionLayout
from twotower.artifact.manifest import Fusion, Manifest
from twotower.artifact.pointer import Pointer
from twotower.artifact.store import write_version
from twotower.artifact.version import describe, open_version
from twotower.sharding import Shard

_FUSION = Fusion(neighbour_weight=0.3, steps=3, prior_weight=0.05)
# a version is followed at once
_CALM = Shape(environ={f"TWOTOWER_{name}_POLL_SECONDS": "0.05" for name in ("ITEM", "BUYER", "RETRIEVAL")})


@dataclass(frozen=True)
class World:
    """Published versions, the first of them current, with the load's requests and their right answers."""

    artifacts: Path
    names: tuple[str, ...]
    asks: Asks
    book: Book

    def copy(self, folder: Path) -> Path:
        """A copy of the artifacts, for a row that may damage them."""
        shutil.copytree(self.artifacts, folder)
        return folder


async def make_world(
    folder: Path, names: tuple[str, ...], products: int, dimension: int = 32, buyers: int = 30
) -> World:
    """Builds one version per name, with other vectors, towers and prices each, and records all answers."""
    artifacts = folder / "artifacts"
    for number, name in enumerate(names):
        build_version(
            artifacts,
            name,
            products=products,
            dimension=dimension,
            seed=number,
            encoder_seed=number,
            buyers=buyers,
            fusion=_FUSION,
            markup=1000.0 * number,
            # a whole service serves them too
            shards=SHARDS,
        )
    histories = dict(recent_interactions(catalogue(products), buyers))
    asks = make_asks(histories, products)
    book = Book(shards=dict(_shards(products)))
    publish_version(artifacts, names[0])
    async with (
        system(artifacts, folder / "calm", _CALM) as calm,
        httpx.AsyncClient(base_url=calm.urls[0], timeout=30, trust_env=False) as client,
    ):
        for product in asks.products:
            ask = store(reference_buyer(product), product)
            stored = await client.post(ask.path, content=ask.body, headers={"Content-Type": "application/json"})
            assert stored.status_code == 200, stored.text
        for name in (*names[1:], names[0]):
            publish_version(artifacts, name)
            await _record(client, name, asks, book)
    return World(artifacts, names, asks, book)


def _shards(products: int) -> Iterator[tuple[str, int]]:
    for number in range(SHARDS):
        for row in range(*Shard(number, SHARDS).rows(products)):
            yield f"p{row}", number


def copy_version(artifacts: Path, name: str, copy: str) -> Pointer:
    """A version folder with the content of another and a name of its own, not published."""
    layout = Layout(artifacts)
    version = open_version(layout, name)

    def fill(files: VersionLayout) -> Manifest:
        for listed in version.manifest.files:
            shutil.copyfile(version.layout.root / listed, files.root / listed)
        for listed in version.manifest.private_files:
            shutil.copyfile(version.layout.private / listed, files.private / listed)
        return version.manifest.model_copy(update={"version": copy})

    write_version(layout, copy, fill)
    return Pointer(copy, describe(layout.version(copy).manifest).sha256)


async def _record(client: httpx.AsyncClient, name: str, asks: Asks, book: Book) -> None:
    """Waits until all services serve version `name`, then records every answer."""
    first = {ask.kind: ask for ask in asks.fixed}

    async def versions() -> set[str]:
        answers = await asyncio.gather(*(_answer(client, ask.method, ask.path, ask.body) for ask in first.values()))
        return {answer["model_version"] for answer in answers}

    await until(versions, lambda found: found == {name})
    known = book.answers.setdefault(name, {})
    wanted = {ask.key: ask for ask in asks.recorded()}
    wanted |= {path: Ask("retrieve", path, path) for ask in asks.recorded() for path in ask.popular}
    keys = list(wanted)
    for some in (keys[place : place + 16] for place in range(0, len(keys), 16)):
        asked = [wanted[key] for key in some]
        answers = await asyncio.gather(*(_answer(client, ask.method, ask.path, ask.body) for ask in asked))
        known.update(zip(some, answers, strict=True))
    assert {answer["model_version"] for answer in known.values()} == {name}
    assert not any(known[ask.key]["warnings"] for ask in asks.recorded() if ask.kind == "retrieve")


async def _answer(client: httpx.AsyncClient, method: str, path: str, body: str) -> dict[str, object]:
    headers = {"Content-Type": "application/json"} if body else {}
    response = await client.request(method, path, content=body, headers=headers)
    assert response.status_code == 200, response.text
    answer: dict[str, object] = orjson.loads(response.content)
    return answer
