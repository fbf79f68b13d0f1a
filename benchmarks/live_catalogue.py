"""Live products: how soon a change shows while searches run, and what 10,000 of them cost a search.

Usage:  python -m benchmarks.live_catalogue [--products 100000] [--live 10000] [--changes 50] [--seconds 20]

The cost is that of a search in the retrieval service's index, with live products divided by without, the two in turn
within each round, median of the rounds. The time until a change shows is that from sending it to the gateway until a
replica gives the new price, or the new product, measured over real processes with searches from other clients. The
last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np

from benchmarks import market
from benchmarks.processes import wait_for_answer
from benchmarks.systems import settings_with_free_ports
from demo.supervisor import children
from retrieval_service.index import ProductIndex, Query, load
from retrieval_service.settings import RetrievalSettings
from twotower.artifact.version import Version
from twotower.live.merging import content_of
from twotower.live.records import DEFAULTS, LiveVectors, State, pack_vectors
from twotower.pb import retrieval_pb2, retrieval_pb2_grpc
from twotower.search.vector_index import unit_rows
from twotower.search.word_index import Word
from twotower.serving.run import limit_numeric_threads
from twotower.serving.wire import pack_history

_ROUNDS, _SEARCHES, _K = 15, 40, 10
_POLL_SECONDS = 0.005


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--products", type=int, default=100_000, help="products of the version")
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--index", default="Flat", help="a description for faiss.index_factory: Flat, HNSW32, ...")
    parser.add_argument("--live", type=int, default=10_000, help="live products beside the index")
    parser.add_argument("--artifacts", type=Path, help="a trained version whose services run, for the time to show")
    parser.add_argument("--changes", type=float, default=50, help="changes a second")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--clients", type=int, default=2, help="clients that search meanwhile")
    parser.add_argument("--folder", type=Path, default=Path(".demo/bench"))
    options = parser.parse_args()
    limit_numeric_threads(1)
    size = market.Size(options.products, options.dimension, 200, 50, options.index, 100)
    cost = search_cost(market.make(options.folder / "artifacts", size), options.live)
    for name, ratio in cost.items():
        print(f"{name:<10} {ratio:.3f} x the time of a search without live products")
    shows = None
    if options.artifacts:
        shows = asyncio.run(visibility(options))
        print(f"a change shows after {shows['p50_ms']:.0f} ms (p50), {shows['p99_ms']:.0f} ms (p99)")
    print(
        json.dumps(
            {"benchmark": "live_catalogue", "live": options.live, "cost": cost, "shows": shows, **size._asdict()}
        )
    )


def search_cost(version: Version, live: int) -> dict[str, float]:
    """Time with live products / without, by kind of search."""
    plain, with_live = (load(version, RetrievalSettings(cache=None)) for _ in range(2))
    _add_live(version, with_live, live)
    draw = np.random.default_rng(1)
    vectors = np.load(version.layout.embeddings, mmap_mode="r")
    texts = np.load(version.layout.text_embeddings, mmap_mode="r")
    rows = draw.integers(0, len(vectors), _SEARCHES)
    history = pack_history([])
    titles = [one.title if one else "" for one in plain.lookup([market.product_id(int(row)) for row in rows])]
    words = [[Word(word, 1.0, word.isdigit(), place) for place, word in enumerate(one.split()[:3])] for one in titles]

    def by_vector(index: ProductIndex, place: int) -> None:
        index.search(np.array(vectors[rows[place]][None]), [Query(_K, history=history)])

    def by_text(index: ProductIndex, place: int) -> None:
        index.search_texts(np.array(texts[rows[place]][None]), [Query(_K, words=words[place])])

    found = {}
    for name, search in (("vector", by_vector), ("text", by_text)):
        ratios = []
        for _ in range(_ROUNDS):
            seconds = {id(index): 0.0 for index in (plain, with_live)}
            for place in range(_SEARCHES):
                for index in (plain, with_live):
                    started = time.perf_counter()
                    search(index, place)
                    seconds[id(index)] += time.perf_counter() - started
            ratios.append(seconds[id(with_live)] / seconds[id(plain)])
        found[name] = statistics.median(ratios)
    return found


def _add_live(version: Version, index: ProductIndex, count: int) -> None:
    """Products like those of the version, under ids of their own."""
    draw = np.random.default_rng(2)
    dimension, text_dimension = version.manifest.dimension, version.manifest.text_dimension
    for start in range(0, count, 1000):
        like = index.lookup([market.product_id((start + one) % version.manifest.products) for one in range(1000)])
        states, vectors = [], {}
        for place, product in enumerate(like[: count - start]):
            assert product is not None
            name = f"live-{start + place}"
            fields = {field: getattr(product, field) for field in DEFAULTS}
            states.append(State(name, start + place + 1, fields, is_whole=True))
            item = unit_rows(draw.normal(size=(1, dimension)).astype(np.float32))[0]
            text = draw.normal(size=text_dimension).astype(np.float32)
            vectors[name] = pack_vectors(LiveVectors(content_of(product).digest(), item, text))
        index.live.apply(states, vectors, "bench")
    assert index.live.live_products == count


async def visibility(options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds from sending a change until the replica shows it, under searches; every tenth is a new product."""
    with ExitStack() as stack, tempfile.TemporaryDirectory() as scratch:
        settings = settings_with_free_ports(Path(scratch)).model_copy(update={"event_log": False})
        (settings.folder / "artifacts").symlink_to(options.artifacts.resolve())
        for child in children(settings):
            child.start(settings.logs)
            assert child.process is not None
            stack.callback(child.process.wait)
            stack.callback(child.process.terminate)
        await asyncio.to_thread(
            wait_for_answer, settings.gateway_port, "/readyz", lambda answer: not answer["degraded"]
        )
        async with (
            httpx.AsyncClient(base_url=settings.address, timeout=30, trust_env=False) as client,
            grpc.aio.insecure_channel(f"127.0.0.1:{settings.retrieval_port}") as channel,
        ):
            return await _measure(client, retrieval_pb2_grpc.RetrievalServiceStub(channel), options)


async def _measure(client: httpx.AsyncClient, stub: Any, options: argparse.Namespace) -> dict[str, Any]:
    popular = (await client.get("/popular", params={"k": 200})).json()["product_ids"]
    stop, searches, waits, late = asyncio.Event(), 0, list[float](), 0.0

    async def search() -> None:
        nonlocal searches
        while not stop.is_set():
            answer = await client.get("/search", params={"q": "خاتم ذهب", "k": 10})
            assert answer.status_code == 200, answer.text
            searches += 1

    async def change(number: int) -> None:
        started = time.perf_counter()
        if number % 10:
            product, price = popular[number % len(popular)], float(number)
            answer = await client.patch(f"/products/{product}", json={"price": price})
        else:
            product, price = f"live-{number}", float(number)
            body = {"title": f"خاتم ذهب جديد {number}", "price": price}
            answer = await client.put(f"/products/{product}", json=body)
        assert answer.status_code == 200, answer.text
        while True:
            if await _shows(stub, product, price, is_new=not number % 10):
                break
            await asyncio.sleep(_POLL_SECONDS)
        waits.append(time.perf_counter() - started)

    clients = [asyncio.create_task(search()) for _ in range(options.clients)]
    began, tasks = time.perf_counter(), []
    for number in range(int(options.seconds * options.changes)):
        due = began + number / options.changes
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        late = max(late, time.perf_counter() - due)
        tasks.append(asyncio.create_task(change(number)))
    await asyncio.gather(*tasks)
    stop.set()
    await asyncio.gather(*clients)
    return {
        "changes": len(waits),
        "changes_per_second": len(waits) / (time.perf_counter() - began),
        "searches_per_second": searches / (time.perf_counter() - began),
        "p50_ms": 1000 * statistics.median(waits),
        "p99_ms": 1000 * float(np.quantile(waits, 0.99)),
        "sent_late_ms": 1000 * late,
    }


async def _shows(stub: Any, product: str, price: float, *, is_new: bool) -> bool:
    """Whether the replica has this price or a later one; of a new product, whether it has vectors."""
    if is_new:
        answer = await stub.Vectors(retrieval_pb2.VectorsRequest(product_ids=[product], unknown_only=True))
        return not answer.unknown_product_ids
    found = (await stub.Lookup(retrieval_pb2.LookupRequest(product_ids=[product]))).products[0]
    return bool(found.price >= price)


if __name__ == "__main__":
    main()
