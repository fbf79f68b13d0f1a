"""A REST client as a shop would write it, and the answers that the demo shows with it."""

from __future__ import annotations

import http.client
import json
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import urlencode

from twotower.errors import Unavailable


class RestClient(Protocol):
    """The calls that `show_answers` makes."""

    def get(self, path: str, **query: object) -> dict[str, Any]: ...
    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]: ...


class Client:
    """Calls one gateway over one connection. Raises Unavailable if a call fails."""

    def __init__(self, host: str, port: int) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=10)

    def get(self, path: str, **query: object) -> dict[str, Any]:
        return self._call("GET", path_of(path, query), None)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._call("POST", path, json.dumps(body).encode())

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._call("PUT", path, json.dumps(body).encode())

    def _call(self, method: str, path: str, body: bytes | None) -> dict[str, Any]:
        try:
            self._connection.request(method, path, body, {"Content-Type": "application/json"})
            response = self._connection.getresponse()
            content: dict[str, Any] = json.loads(response.read())
        except (OSError, ValueError, http.client.HTTPException) as error:
            self._connection.close()
            raise Unavailable(f"{method} {path.partition('?')[0]}: {error}") from None
        if response.status != 200:
            raise Unavailable(f"{method} {path.partition('?')[0]} answered {response.status}: {content.get('detail')}")
        return content


def path_of(path: str, query: Mapping[str, object]) -> str:
    """Path and query of a request, as they are sent."""
    return f"{path}?{urlencode(query, doseq=True)}" if query else path


def gold_ring_buyer(client: RestClient, buyer: str) -> dict[str, Any]:
    """The body of POST /encode_buyer for a buyer who viewed, carted and bought gold rings."""
    rings = client.get("/search", q="خاتم ذهب", k=3)["product_ids"]
    now = time.time()
    events = ("View", "AddToCart", "Purchase")
    return {
        "buyer_id": buyer,
        "recent_interactions": [
            {"product_id": ring, "event_type": event, "timestamp": _iso(now - 60 * (len(rings) - place))}
            for place, (ring, event) in enumerate(zip(rings, events, strict=True))
        ],
    }


def show_answers(client: RestClient, address: str) -> None:
    """Prints one real answer of each kind, with Arabic titles, and the latency of 100 calls."""
    body = gold_ring_buyer(client, "demo-gold")
    encoded = client.post("/encode_buyer", body)
    print(f"\nPOST {address}/encode_buyer   (buyer demo-gold: viewed, carted and bought gold rings)")
    shown = ", ".join(f"{value:.4f}" for value in encoded["buyer_embedding"][:4])
    print(f"  dimension {encoded['dimension']}, [{shown}, …], model {encoded['model_version']}")
    for query, note in (
        ({"buyer_id": "demo-gold", "k": 5, "exclude_seen": "true", "include": "products"}, ""),
        ({"buyer_id": "B00042", "k": 5, "include": "products"}, "   (a buyer of the synthetic data)"),
    ):
        answer = client.get("/retrieve", **query)
        print(f"\nGET {path_of('/retrieve', query)}{note}   source {answer['source']}")
        for product, score in zip(answer["products"], answer["scores"], strict=True):
            print(f"  {score:6.3f}  {product['product_id']}  {product['category']:<12}  {product['title']}")
    print("\np50 of 100 calls, one at a time:")
    print(f"  /encode_buyer {_median_ms(lambda: client.post('/encode_buyer', body)):.1f} ms")
    print(f"  /retrieve     {_median_ms(lambda: client.get('/retrieve', buyer_id='demo-gold', k=10)):.1f} ms")


def _median_ms(call: Callable[[], object]) -> float:
    times = []
    for _ in range(100):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
