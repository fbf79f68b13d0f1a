"""Hostile HTTP: requests of bytes that no client library would send, drawn from a seeded generator."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

_ROUTES = ("/retrieve", "/similar", "/search", "/suggest", "/popular", "/again", "/trending")
_ROUTES += ("/encode_buyer", "/interactions", "/healthz", "/readyz")
_METHODS = ("GET", "POST", "HEAD", "OPTIONS", "DELETE", "PUT", "PATCH", "TRACE", "CONNECT", "get", "G\0T", "X" * 300)
_VERSIONS = ("HTTP/1.1", "HTTP/1.0", "HTTP/0.9", "HTTP/2.0", "HTTP/9", "http/1.1", "", "HTTP/1.1 ")
_PATHS = ("*", "", "/", "//", "/../..", "http://fuzz/healthz", "/%00", "/\xff", "/" + "a" * 70_000, "/docs?x=\0")
_PARAMETERS = (
    *("buyer_id", "product_id", "q", "k", "include", "category", "brand", "in_stock", "exclude", "diversity"),
    *("exclude_seen", "fallback", "by", "understand", "unknown"),
)
_TAILS = ("&%ff=%fe", "&k=%", "&&&", "&=", "&k", ";k=1", "&q=%00", "&k=%zz", "#x", "&q=" + "y" * 40_000)
_TEXTS = (
    *("", " ", "b0", "p1", "nobody", "خاتم ذهب", "ـ", "٣", "😀", "e\u0301" * 40, "\u202e", "a" * 128, "a" * 129),
    *("a" * 5000, "\0", "a\0b", "\x1e", "\x7f", "\n", "' OR 1=1 --", "<script>", "../../etc/passwd", "%s%n", "{{7*7}}"),
    *("null", "NaN", "-1", "0", "10", "1000", "1e999", "9" * 400, "0x10", "1_0", "٥", "true", "\ufeff", "\ud800"),
)
_NUMBERS: tuple[Any, ...] = (
    *(0, -1, 1, 1.5, -0.0, 1e308, -1e308, 10**18, 10**30, 2**31, 2**63, 2**64, 1_760_000_000, 1_760_000_000_000),
    *(True, False, None),
)
_TIMES = (
    *("2026-01-31T12:00:00Z", "0000-00-00T00:00:00Z", "9999-12-31T23:59:59+14:00", "10000-01-01", "2026-02-30", "T"),
    *("1969-12-31T23:59:59Z", "2026-01-31T25:00:00Z", "2026-W05-6", "-1", "1e3", "1760000000000", "9" * 40, "١٧٦"),
)
_HEADERS = (
    *("X-Request-ID: " + "a" * 129, "X-Request-ID: \xff", "X: " + "y" * 9000, "X" * 2000 + ": y", "no colon", ": none"),
    *("Content-Length: -1", "Content-Length: 99999999999999999999", "Content-Length: 1, 1", "Content-Length: abc"),
    *("Transfer-Encoding: chunked", "Transfer-Encoding: gzip", "Transfer-Encoding: chunked, chunked", "TE: trailers"),
    *("Expect: 100-continue", "Expect: 999", "Connection: Upgrade\r\nUpgrade: websocket", "Upgrade: h2c"),
    *("Content-Encoding: gzip", "Content-Type: text/plain", "Content-Type: application/json; charset=utf-16"),
    *("Content-Type: multipart/form-data; boundary=x", "Authorization: Bearer " + "a" * 500, "Authorization: \0"),
    *("X-API-Key: x", "X-Buyer-Token: a.b.c", "Cookie: " + "a=b; " * 500, "Range: bytes=0-1", "Accept-Encoding: br"),
    *("Origin: http://evil.example", "Host: evil.example", "Host: ", "X-Forwarded-For: " + "1.1.1.1, " * 200),
    *(" folded: value", "X: a\r\n b", "X: \0"),
)
_BODIES = (
    *(b"", b"{", b"[]", b"null", b"\xff\xfe", b"\xef\xbb\xbf{}", b'"' + b"a" * 100_000 + b'"', b"[" * 100_000),
    *(b"{" * 50, b'{"a":' * 30_000, b'{"buyer_id":"a","buyer_id":"b"}', b'{"buyer_id":"\\ud800"}', b'{"buyer_id":NaN}'),
    *(b"1e99999", b"-", b"0123", b"[1,]", b"{'a':1}", b"9" * 100_000, b" " * 1_100_000, b'{"\\u0000":1}', b"\0"),
    b'{"buyer_id":"x","recent_interactions":[' + b"1," * 6000 + b"1]}",
    b'{"interactions":[' + b"{}," * 100 + b"{}]}",
)
_CHUNK_SIZES = (b"5", b"0", b"-1", b"FFFFFFFFFFFFFFFFF", b"zz", b"5;ext=" + b"y" * 5000, b"", b"0x5", b" 5")
_LAST_CHUNKS = (b"0\r\n\r\n", b"0\r\nTrailer: x\r\n\r\n", b"0\r\nX: " + b"y" * 70_000, b"")
_NO_HTTP = (
    *(b"", b"\r\n" * 50, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    b"\0" * 100,
)


@dataclass(frozen=True)
class HttpCase:
    """Bytes for one connection.

    `parts` are sent one after the other. Then the sending side is closed if `closes`. `reads`: whether the client waits
    for answers at all.
    """

    name: str
    parts: tuple[bytes, ...]
    closes: bool = False
    reads: bool = True

    @property
    def is_head(self) -> bool:
        """Whether the answer has no body."""
        return self.parts[0].startswith(b"HEAD ")


def http_case(draw: random.Random) -> HttpCase:
    """The next hostile request."""
    make = draw.choices(list(_KINDS), list(_KINDS.values()))[0]
    case = make(draw)
    if draw.random() < 0.03:
        return HttpCase(f"{case.name}, gone", case.parts, reads=False)
    return case


def _query(draw: random.Random) -> HttpCase:
    values: list[tuple[str, str]] = []
    for name in draw.sample(_PARAMETERS, draw.randint(0, len(_PARAMETERS))):
        values += [(name, draw.choice(_TEXTS))] * draw.choice((1, 1, 1, 2))
    if draw.random() < 0.05:
        values += [("exclude", f"p{number}") for number in range(draw.choice((999, 1001, 2001)))]
    query = urlencode(values, errors="surrogatepass")
    if draw.random() < 0.1:
        query += draw.choice(_TAILS)
    return HttpCase("query", (f"GET {draw.choice(_ROUTES)}?{query} HTTP/1.1\r\nHost: fuzz\r\n\r\n".encode(),))


def _body(draw: random.Random) -> HttpCase:
    row: dict[str, Any] = {"product_id": "p1", "event_type": "View", "timestamp": "1760000000000"}
    rows = [{**row, **_noise(draw, (*row, "other"))} for _ in range(draw.choice((0, 1, 1, 2, 60)))]
    bodies: tuple[Any, ...] = (
        {"buyer_id": "fuzz", "recent_interactions": rows},
        {"interactions": [{**row, "buyer_id": "fuzz"} for row in rows]},
        {**row, "buyer_id": "fuzz", **_noise(draw, ("buyer_id", *row))},
        {"buyer_id": draw.choice(_TEXTS), "recent_interactions": draw.choice((rows, {}, "x", None, [rows]))},
        draw.choice(_NUMBERS),
        rows,
    )
    text = json.dumps(draw.choice(bodies), ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")
    return _post(draw, draw.choice(_BODIES) if draw.random() < 0.3 else text)


def _noise(draw: random.Random, names: tuple[str, ...]) -> dict[str, Any]:
    values: tuple[Any, ...] = (*_TEXTS, *_NUMBERS, *_TIMES, [], {}, [[]], {"a": 1})
    return {draw.choice(names): draw.choice(values) for _ in range(draw.choice((0, 1, 1, 2)))}


def _post(draw: random.Random, body: bytes) -> HttpCase:
    head = (
        f"POST {draw.choice(('/encode_buyer', '/interactions'))} HTTP/1.1\r\nHost: fuzz\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    if draw.random() < 0.02:
        return HttpCase("body without its end", (head + body[:-1] if body else head[:-1],), draw.random() < 0.5)
    return HttpCase("body", (head, body) if draw.random() < 0.3 else (head + body,))


def _headers(draw: random.Random) -> HttpCase:
    more = "\r\n".join(draw.sample(_HEADERS, draw.choice((1, 1, 2, 5))))
    if draw.random() < 0.1:
        more += "".join(f"\r\nX-{number}: y" for number in range(draw.choice((100, 2000, 12_000))))
    body = b'{"buyer_id":"fuzz","product_id":"p1","event_type":"View","timestamp":"1760000000000"}'
    length = f"Content-Length: {len(body)}\r\n" if draw.random() < 0.5 else ""
    head = f"{draw.choice(('GET', 'POST'))} {draw.choice(_ROUTES)} HTTP/1.1\r\nHost: fuzz\r\n{length}{more}\r\n\r\n"
    return HttpCase("headers", (head.encode("latin-1", "replace") + body,), closes=draw.random() < 0.9)


def _line(draw: random.Random) -> HttpCase:
    # DELETE would rightly forget the buyer of the ordinary requests
    buyer = "/buyers/" + quote(draw.choice([one for one in _TEXTS if one != "b0"]), errors="replace")
    path = draw.choice((draw.choice(_PATHS), draw.choice(_ROUTES), buyer))
    line = f"{draw.choice(_METHODS)} {path} {draw.choice(_VERSIONS)}\r\nHost: fuzz\r\n\r\n"
    return HttpCase("line", (line.encode("latin-1", "replace"),), closes=draw.random() < 0.9)


def _chunks(draw: random.Random) -> HttpCase:
    head = "POST /interactions HTTP/1.1\r\nHost: fuzz\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked"
    parts = [f"{head}\r\n\r\n".encode()]
    for _ in range(draw.randint(0, 6)):
        parts.append(draw.choice(_CHUNK_SIZES) + b"\r\n" + draw.choice((b'{"a":', b"x" * 70_000, b"")) + b"\r\n")
    parts.append(draw.choice(_LAST_CHUNKS))
    return HttpCase("chunks", tuple(parts), closes=draw.random() < 0.9)


def _pipeline(draw: random.Random) -> HttpCase:
    """Many requests on one connection before the first answer is read, if one is."""
    ones = [b"".join(_query(draw).parts) for _ in range(draw.choice((2, 3, 15, 17, 40)))]
    return HttpCase("pipeline", (b"".join(ones),), closes=True, reads=draw.random() < 0.7)


def _mutated(draw: random.Random) -> HttpCase:
    """A request with bytes changed, removed, repeated or added."""
    data = bytearray(b"".join(draw.choice((_query, _body, _headers))(draw).parts))
    for _ in range(draw.choice((1, 1, 3, 10))):
        place = draw.randrange(len(data))
        match draw.randrange(4):
            case 0:
                data[place] = draw.randrange(256)
            case 1 if len(data) > 50:
                del data[place : place + draw.randint(1, 20)]
            case 2:
                data[place:place] = data[place : place + draw.randint(1, 200)]
            case _:
                data[place:place] = draw.randbytes(draw.randint(1, 8))
    return HttpCase("mutated", (bytes(data),), closes=draw.random() < 0.95)


def _other(draw: random.Random) -> HttpCase:
    """Another protocol, noise, or nothing."""
    data = draw.choice((*_NO_HTTP, draw.randbytes(draw.randint(1, 4000))))
    return HttpCase("no HTTP", (data,), closes=True)


# how often each kind is drawn
_KINDS: dict[Callable[[random.Random], HttpCase], int] = {
    _query: 25,
    _body: 25,
    _headers: 15,
    _line: 8,
    _chunks: 6,
    _pipeline: 6,
    _mutated: 12,
    _other: 3,
}
