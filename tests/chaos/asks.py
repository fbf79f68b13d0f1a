"""The requests of the load: every kind that the gateway answers, from a small fixed set."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import urlencode

from tests.helpers.stack import as_json
from tests.helpers.tiny_version import CATEGORIES, NOON
from twotower.events import Interaction

NOBODY = "nobody"
Kind = Literal["retrieve", "similar", "search", "encode", "store"]
# what each kind cannot be answered without: without a buyer's vector or history, /retrieve answers popular products.
# "product": the shard that holds the product that is asked about
NEEDS: dict[Kind, frozenset[str]] = {
    "retrieve": frozenset({"retrieval"}),
    "similar": frozenset({"retrieval", "product"}),
    "search": frozenset({"item", "retrieval"}),
    "encode": frozenset({"buyer"}),
    "store": frozenset({"redis"}),
}


@dataclass(frozen=True)
class Ask:
    """One request. Requests with one `key` have one answer per version.

    `popular` are the requests whose answers are right where the buyer's history cannot be read, or not be encoded.
    """

    kind: Kind
    path: str
    key: str
    body: str = ""
    popular: tuple[str, ...] = ()

    @property
    def method(self) -> str:
        return "POST" if self.body else "GET"

    @property
    def needs(self) -> frozenset[str]:
        return NEEDS[self.kind]


@dataclass(frozen=True)
class Asks:
    """All requests: `fixed` ones, and those for buyers that the load itself creates."""

    fixed: list[Ask]
    products: list[str]

    def recorded(self) -> list[Ask]:
        """Every request whose answer must be known beforehand."""
        ones = [retrieve_written(reference_buyer(product), product) for product in self.products]
        return [*self.fixed, *ones]


def make_asks(histories: Mapping[str, Sequence[Interaction]], products: int) -> Asks:
    """Requests for buyers with these histories and a catalogue of `products` products."""
    fixed = [*_retrieves(histories), *_similars(products), *_searches(), *_encodes(histories)]
    return Asks(fixed, [f"p{row}" for row in range(0, products, max(1, products // 40))])


def reference_buyer(product: str) -> str:
    """The buyer with whom the answer for a history of one product is recorded."""
    return f"one-{product}"


def store(buyer: str, product: str) -> Ask:
    """Stores one view."""
    view = {"buyer_id": buyer, "product_id": product, "event_type": "View", "timestamp": str(NOON)}
    return Ask("store", "/interactions", "store", json.dumps(view))


def retrieve_written(buyer: str, product: str) -> Ask:
    """Products for a buyer who has viewed one product."""
    nobody = _path("/retrieve", buyer_id=NOBODY)
    return Ask("retrieve", _path("/retrieve", buyer_id=buyer), f"one {product}", popular=(nobody,))


def mixed(asks: Asks, seed: int) -> Iterator[Ask | None]:
    """The load: of 20 requests 12 are /retrieve, 2 each of /similar, /search, /encode_buyer.

    None stands for a request about a buyer that the load creates: the other 2 of 20.
    """
    draw = random.Random(seed)
    shares: dict[Kind | None, int] = {"retrieve": 12, "similar": 2, "search": 2, "encode": 2, None: 2}
    kinds = [kind for kind, share in shares.items() for _ in range(share)]
    of_kind = {kind: [one for one in asks.fixed if one.kind == kind] for kind in shares}
    while True:
        draw.shuffle(kinds)
        for kind in kinds:
            yield draw.choice(of_kind[kind]) if kind else None


def _path(route: str, **query: object) -> str:
    return f"{route}?{urlencode(query, doseq=True)}"


def _retrieves(histories: Mapping[str, Sequence[Interaction]]) -> list[Ask]:
    category = next(iter(CATEGORIES))
    variants: list[dict[str, object]] = [
        {},
        {"k": 10, "include": "products"},
        {"k": 100},
        {"k": 20, "category": category},
        {"k": 20, "in_stock": "true"},
        {"k": 10, "diversity": 0.3},
        {"k": 10, "exclude_seen": "true"},
    ]
    asks = []
    for buyer, history in histories.items():
        for query in variants:
            made = _list("retrieve", "/retrieve", buyer_id=buyer, **query)
            unread = _path("/retrieve", buyer_id=NOBODY, **query)
            seen = sorted({one.product_id for one in history})
            popular = (unread, _path("/retrieve", buyer_id=NOBODY, exclude=seen, **query))
            asks.append(replace(made, popular=popular if "exclude_seen" in query else (unread,)))
    return asks


def _similars(products: int) -> list[Ask]:
    rows = range(0, products, max(1, products // 12))
    return [
        _list("similar", "/similar", product_id=f"p{row}", by=by, include="products")
        for row in rows
        for by in ("vector", "sequence")
    ]


def _searches() -> list[Ask]:
    return [_list("search", "/search", q=titles[0], include="products") for titles in CATEGORIES.values()]


def _encodes(histories: Mapping[str, Sequence[Interaction]]) -> list[Ask]:
    """Each buyer's own history once more, which changes no history."""
    return [
        Ask(
            "encode",
            "/encode_buyer",
            f"encode {buyer}",
            json.dumps({"buyer_id": buyer, "recent_interactions": as_json(history)}),
        )
        for buyer, history in histories.items()
    ]


def _list(kind: Kind, route: str, **query: object) -> Ask:
    path = _path(route, **query)
    return Ask(kind, path, path)
