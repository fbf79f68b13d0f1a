"""Live products: how soon a change shows while searches run, and what 10,000 of them cost a search.

Usage:  OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python -m benchmarks.live_catalogue [--artifacts .demo/artifacts]

The cost of a search is its CPU time with live products divided by that without, the two in turn, median of the rounds,
in the retrieval service's index; with --artifacts also the time of a whole /search, through two gateways. The time
until a change shows is that from sending it to the gateway until a replica gives the new price or the new product, or
no longer gives the hidden one, measured over real processes with searches from other clients. The last line is one JSON
object.
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
from benchmarks.processes import free_port, wait_for_answer
from benchmarks.systems import settings_with_free_ports
from demo.supervisor import children
from retrieval_service.index import ProductIndex
from retrieval_service.loading import load
from retrieval_service.query import Query
from retrieval_service.settings import RetrievalSettings
from twotower.artifact.version import Version
from twotower.live.merging import content_of
from twotower.live.records import DEFAULTS, LiveVectors, State, pack_vectors
from twotower.pb import retrieval_pb2, retrieval_pb2_grpc
from twotower.search.vector_index import unit_rows
from twotower.search.word_index import Word
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
    size = market.Size(options.products, options.dimension, 200, 50, options.index, 100)
    cost = search_cost(market.make(options.folder / "artifacts", size), options.live)
    for name, ratio in cost.items():
        print(f"{name:<10} {ratio:.3f} x the time of a search without live products", flush=True)
    shows = None
    if options.artifacts:
        shows = asyncio.run(measure_running(options))
        print(f"/search    {shows['search_cost']:.3f} x the time of a /search without live products")
        print(f"a change shows after {shows['p50_ms']:.0f} ms (p50), {shows['p99_ms']:.0f} ms (p99)")
    print(
        json.dumps(
            {"benchmark": "live_catalogue", "live": options.live, "cost": cost, "shows": shows, **size._asdict()}
        )
    )


def search_cost(version: Version, live: int) -> dict[str, float]:
    """CPU time with live products / without, by kind of search."""
    plain, with_live = (load(version, RetrievalSettings.model_validate({"cache": None})) for _ in range(2))
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
                    started = time.process_time()
                    search(index, place)
                    seconds[id(index)] += time.process_time() - started
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


async def measure_running(options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds from sending a change until the replica shows it, under searches; every tenth is a new product, and
    every tenth hides one. Then what live products cost a /search.
    """
    with ExitStack() as stack, tempfile.TemporaryDirectory() as scratch:
        settings = settings_with_free_ports(Path(scratch)).model_copy(update={"event_log": False})
        (settings.folder / "artifacts").symlink_to(options.artifacts.resolve())
        other = settings.model_copy(
            update={"live_catalogue": False, "gateway_port": free_port(), "retrieval_port": free_port()}
        )
        plain = [child for child in children(other) if child.name in ("retrieval", "gateway")]
        for child in [*children(settings), *plain]:
            child.start(settings.logs)
            assert child.process is not None
            stack.callback(child.process.wait)
            stack.callback(child.process.terminate)
        await asyncio.to_thread(wait_for_answer, settings.gateway_port, "/readyz", _is_ready)
        await asyncio.to_thread(wait_for_answer, other.gateway_port, "/readyz", _is_ready)
        async with (
            httpx.AsyncClient(base_url=settings.address, timeout=30, trust_env=False) as client,
            httpx.AsyncClient(base_url=other.address, timeout=30, trust_env=False) as without,
            grpc.aio.insecure_channel(f"127.0.0.1:{settings.retrieval_port}") as channel,
        ):
            stub = retrieval_pb2_grpc.RetrievalServiceStub(channel)
            shown = await _measure(client, stub, options)
            print(json.dumps(shown), flush=True)
            return shown | {"search_cost": await _cost(client, without, stub, options.live)}


def _is_ready(answer: dict[str, Any]) -> bool:
    """Every service answers."""
    return all(answer["dependencies"][name] == "ok" for name in ("item", "buyer", "retrieval"))


async def _cost(with_live: httpx.AsyncClient, without: httpx.AsyncClient, stub: Any, live: int) -> float:
    """Time of a /search with so many live products, whose titles are those of the version, divided by without."""
    popular = (await without.get("/popular", params={"k": 1000, "include": "products"})).json()["products"]
    rows = [{"product_id": f"more-{place}", **_content_of(popular, place)} for place in range(live)]
    for start in range(0, live, 1000):
        lines = "\n".join(json.dumps(row) for row in rows[start : start + 1000])
        headers = {"Content-Type": "application/x-ndjson"}
        answer = await with_live.post("/products", content=lines, headers=headers)
        assert answer.json()["accepted"] == len(rows[start : start + 1000]), answer.text[:500]
    asked = retrieval_pb2.VectorsRequest(product_ids=[row["product_id"] for row in rows], unknown_only=True)
    while True:
        if not (await stub.Vectors(asked)).unknown_product_ids:
            break
        await asyncio.sleep(0.5)
    ratios = []
    for number in range(_ROUNDS):
        seconds = [0.0, 0.0]
        for place in range(_SEARCHES):
            title = popular[(number * _SEARCHES + place) % len(popular)]["title"]
            for which, client in enumerate((with_live, without)):
                started = time.perf_counter()
                answer = await client.get("/search", params={"q": " ".join(title.split()[:3]), "k": _K})
                seconds[which] += time.perf_counter() - started
                assert answer.status_code == 200, answer.text
        ratios.append(seconds[0] / seconds[1])
    return statistics.median(ratios)


def _content_of(products: list[dict[str, Any]], place: int) -> dict[str, Any]:
    product = products[place % len(products)]
    return {name: product[name] for name in ("brand", "category", "price")} | {"title": f"{product['title']} {place}"}


async def _measure(client: httpx.AsyncClient, stub: Any, options: argparse.Namespace) -> dict[str, Any]:
    listed = (await client.get("/popular", params={"k": 1000})).json()["product_ids"]
    popular, to_hide = listed[:200], listed[200:]
    assert len(to_hide) * 10 > options.seconds * options.changes, "too few products to hide"
    stop, searches, waits, hidden, late = asyncio.Event(), 0, list[float](), list[float](), 0.0

    async def search() -> None:
        nonlocal searches
        while not stop.is_set():
            answer = await client.get("/search", params={"q": "خاتم ذهب", "k": 10})
            assert answer.status_code == 200, answer.text
            searches += 1

    async def change(number: int) -> None:
        started = time.perf_counter()
        if number % 10 == 5:
            product, price = to_hide[number // 10], None
            answer = await client.patch(f"/products/{product}", json={"hidden": True})
        elif number % 10:
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
        if price is None:
            hidden.append(waits[-1])

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
        "hidden": len(hidden),
        "hidden_max_ms": 1000 * max(hidden, default=0.0),
        "sent_late_ms": 1000 * late,
    }


async def _shows(stub: Any, product: str, price: float | None, *, is_new: bool) -> bool:
    """Whether the replica has this price or a later one, or hides the product (None); whether a new one has vectors."""
    if is_new:
        answer = await stub.Vectors(retrieval_pb2.VectorsRequest(product_ids=[product], unknown_only=True))
        return not answer.unknown_product_ids
    found = (await stub.Lookup(retrieval_pb2.LookupRequest(product_ids=[product]))).products[0]
    return not found.found if price is None else bool(found.price >= price)


if __name__ == "__main__":
    main()
