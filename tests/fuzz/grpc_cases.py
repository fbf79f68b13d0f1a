"""Hostile gRPC: messages that are no messages, and messages whose fields are extreme, for every method."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from twotower.pb import buyer_pb2, common_pb2, item_pb2, retrieval_pb2

_ONE = "p1\0View\x001760000000000"
_TEXTS = (
    *("", "p1", "p2", "a", "x" * 200, "خاتم ذهب", "\0", "\x1e", "p1\0View\0" + "1" * 18, "p1\0View\0-1", "😀" * 50),
    *("\x7f", _ONE, f"{_ONE}\x1e{_ONE}"),
)
_NUMBERS = (0, 1, 2, 10, 1000, 1001, 2**31 - 1, 2**32 - 1)
_TIMES = (0, 1, -1, 1_760_000_000_000, 2**63 - 1, -(2**63))
_FLOATS = (0.0, 1.0, -1.0, 0.5, float("nan"), float("inf"), float("-inf"), 3e38, 1e-45)
_VERSIONS = ("", "a", "a", "b", "x" * 99)
_NO_METHODS = ("Unknown", "encode", "", "Encode/x", "Check")


class GrpcCase(NamedTuple):
    """One call: its method, the bytes of its messages (one, unless it is a stream), and its deadline in seconds."""

    service: str
    method: str
    messages: tuple[bytes, ...]
    is_stream: bool
    timeout: float
    request_id: str


def grpc_case(draw: random.Random) -> GrpcCase:
    """The next hostile call."""
    service, method = draw.choice(list(_MAKERS))
    make, is_stream = _MAKERS[service, method], method.endswith("Stream")
    count = draw.choice((0, 1, 2, 5)) if is_stream else 1
    messages = tuple(_spoil(draw, make(draw).SerializeToString()) for _ in range(count))
    if draw.random() < 0.03:
        method, is_stream, messages = draw.choice(_NO_METHODS), False, messages[:1] or (b"",)
    request_id = draw.choice(("", "fuzz", "a" * 4000, " "))
    return GrpcCase(service, method, messages, is_stream, draw.choice((0.02, 0.3, 2.0, 2.0)), request_id)


def _spoil(draw: random.Random, data: bytes) -> bytes:
    """The message itself, or bytes that are none."""
    match draw.randrange(10):
        case 0:
            return draw.randbytes(draw.randint(1, 300))
        case 1 if data:
            changed = bytearray(data)
            for _ in range(draw.choice((1, 3, 20))):
                changed[draw.randrange(len(changed))] = draw.randrange(256)
            return bytes(changed)
        case 2:
            return data[: draw.randint(0, len(data))]
        case 3:
            return data + draw.choice((b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\0", data))
        case _:
            return data


def _search(draw: random.Random) -> retrieval_pb2.SearchRequest:
    rows = draw.choice((0, 1, 1, 2, 64, 300, 1025))
    queries = [_query(draw)] * rows if rows > 64 else [_query(draw) for _ in range(rows)]
    return retrieval_pb2.SearchRequest(
        vectors=_vectors(draw, draw.choice((rows, rows, rows, 0, rows + 1))),
        queries=queries,
        packed=draw.random() < 0.5,
        by_text=draw.random() < 0.2,
        caller=_caller(draw),
    )


def _vectors(draw: random.Random, rows: int) -> common_pb2.Vectors:
    dimension = draw.choice((8, 8, 8, 12, 0, 1, 7, 4096, 2**32 - 1))
    values = np.array(draw.choices(_FLOATS, k=rows * min(dimension, 64)), "<f4").tobytes()
    end = b"x" if draw.random() < 0.1 else b""
    return common_pb2.Vectors(data=values + end, dimension=dimension, model_version=draw.choice(_VERSIONS))


def _query(draw: random.Random) -> retrieval_pb2.Query:
    query = retrieval_pb2.Query(
        k=draw.choice(_NUMBERS),
        excluded_ids=[_text(draw) for _ in range(draw.choice((0, 0, 1, 3, 2000)))],
        diversity=draw.choice((0.0, 0.0, 0.3, *_FLOATS)),
        history=draw.choice(("", _ONE, _text(draw))),
        follows=draw.choice(("", "", "p3", _text(draw))),
    )
    if draw.random() < 0.3:
        query.filter.categories.extend([_text(draw)] * draw.choice((0, 1, 50)))
        query.filter.brands.extend([_text(draw)])
        query.filter.in_stock = draw.random() < 0.5
    if draw.random() < 0.2:
        query.filter.price_min, query.filter.price_max = draw.choice(_FLOATS), draw.choice(_FLOATS)
        query.filter.excluded_words.extend([_text(draw)] * draw.choice((0, 1, 600)))
    for place in range(draw.choice((0, 0, 1, 5))):
        query.words.add(
            text=_text(draw), weight=draw.choice((1.0, 0.5, *_FLOATS)), is_number=draw.random() < 0.3, group=place // 2
        )
    query.sort = draw.choice((0, 0, 1, 2, 9))
    query.with_products = draw.random() < 0.2
    if draw.random() < 0.1:
        query.named.ids.extend([_text(draw)] * draw.choice((0, 1, 9)))
    return query


def _popular(draw: random.Random) -> retrieval_pb2.PopularRequest:
    queries = [_query(draw) for _ in range(draw.choice((0, 1, 2, 64)))]
    return retrieval_pb2.PopularRequest(queries=queries, model_version=draw.choice(_VERSIONS))


def _lookup(draw: random.Random) -> retrieval_pb2.LookupRequest:
    return retrieval_pb2.LookupRequest(product_ids=_ids(draw), model_version=draw.choice(_VERSIONS))


def _stored(draw: random.Random) -> retrieval_pb2.VectorsRequest:
    return retrieval_pb2.VectorsRequest(product_ids=_ids(draw), model_version=draw.choice(_VERSIONS))


def _histories(draw: random.Random) -> buyer_pb2.EncodeRequest:
    histories = [_history(draw) for _ in range(draw.choice((0, 1, 1, 3, 64, 1025)))]
    if draw.random() < 0.02:
        histories = [buyer_pb2.History(packed="\x1e".join([_ONE] * 10_001))]
    return buyer_pb2.EncodeRequest(histories=histories, model_version=draw.choice(_VERSIONS), caller=_caller(draw))


def _history(draw: random.Random) -> buyer_pb2.History:
    history = buyer_pb2.History(packed=draw.choice(("", _ONE, _text(draw))))
    for _ in range(draw.choice((0, 0, 1, 3))):
        event = draw.choice(("View", "Purchase", _text(draw)))
        history.interactions.add(product_id=_text(draw), event_type=event, timestamp_ms=draw.choice(_TIMES))
    return history


def _items(draw: random.Random) -> item_pb2.EncodeRequest:
    items = [
        item_pb2.Item(
            title=draw.choice((_text(draw), "ذهب " * 6000)),
            description=_text(draw),
            brand=_text(draw),
            category=_text(draw),
            product_id=_text(draw),
        )
        for _ in range(draw.choice((0, 1, 1, 3, 30)))
    ]
    return item_pb2.EncodeRequest(
        items=items, model_version=draw.choice(_VERSIONS), text_only=draw.random() < 0.5, caller=_caller(draw)
    )


def _queries(draw: random.Random) -> item_pb2.EncodeRequest:
    queries = [
        item_pb2.Query(text=draw.choice((_text(draw), "تحت 100 " * 60)), raw=draw.random() < 0.2)
        for _ in range(draw.choice((1, 1, 3, 30)))
    ]
    return item_pb2.EncodeRequest(queries=queries, model_version=draw.choice(_VERSIONS), caller=_caller(draw))


def _encoded(draw: random.Random) -> item_pb2.EncodeRequest:
    return draw.choice((_items, _queries))(draw)


def _suggest(draw: random.Random) -> item_pb2.SuggestRequest:
    return item_pb2.SuggestRequest(
        text=_text(draw), k=draw.choice((0, 1, 10, 100, 101)), model_version=draw.choice(_VERSIONS)
    )


def _ids(draw: random.Random) -> list[str]:
    return [_text(draw) for _ in range(draw.choice((0, 1, 3, 1024, 3000)))]


def _text(draw: random.Random) -> str:
    return draw.choice(_TEXTS)


def _caller(draw: random.Random) -> common_pb2.Caller | None:
    if draw.random() < 0.5:
        return None
    return common_pb2.Caller(request_id=_text(draw), timeout_ms=draw.choice((0, 1, 100, 2000, 2**32 - 1)))


RETRIEVAL = "twotower.retrieval.v1.RetrievalService"
BUYER = "twotower.buyer.v1.BuyerService"
ITEM = "twotower.item.v1.ItemService"
_MAKERS: dict[tuple[str, str], Callable[[random.Random], Any]] = {
    (RETRIEVAL, "Search"): _search,
    (RETRIEVAL, "SearchStream"): _search,
    (RETRIEVAL, "Popular"): _popular,
    (RETRIEVAL, "Lookup"): _lookup,
    (RETRIEVAL, "Vectors"): _stored,
    (BUYER, "Encode"): _histories,
    (BUYER, "EncodeStream"): _histories,
    (ITEM, "Encode"): _encoded,
    (ITEM, "EncodeStream"): _encoded,
    (ITEM, "Suggest"): _suggest,
}
