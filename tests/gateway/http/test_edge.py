"""HTTP as its standard has it: HEAD and OPTIONS, a path that a proxy adds, compressed bodies, messages that help."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from pydantic import ValidationError

from gateway.schemas.parsing import BodyTooLarge, Malformed, unpack_gzip
from gateway.settings import GatewaySettings
from tests.helpers.redis_server import RedisServer
from tests.helpers.stack import Stack, gateway, stack

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROWS = {
    "interactions": [
        {"buyer_id": f"b{n}", "product_id": "p1", "event_type": "View", "timestamp": "2025-10-09T08:00:00Z"}
        for n in range(300)
    ]
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tiny: Path) -> AsyncIterator[Stack]:
    with RedisServer() as redis:
        async with stack(tiny, redis, without=("item", "buyer"), max_body_bytes=100_000) as running:
            yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def below() -> AsyncIterator[httpx.AsyncClient]:
    """A gateway that a proxy serves under /recs."""
    async with gateway(root_path="/recs", redis_url="redis://127.0.0.1:1/0") as client:
        yield client


GETS = ["/healthz", "/popular", "/metrics", "/docs", "/openapi.json", "/static-offline-docs/swagger-ui.css"]


@pytest.mark.parametrize("path", GETS)
async def test_head_has_the_head_of_get_and_no_body(system: Stack, path: str) -> None:
    got, head = await system.get(path), await system.client.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"") == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    if path != "/metrics":  # counts these requests
        assert head.headers["content-length"] == got.headers["content-length"]
    # the connection is still in step
    assert (await system.get("/healthz")).json() == {"status": "alive"}


async def test_head_of_a_refusal_has_its_status(system: Stack) -> None:
    head = await system.client.head("/similar", params={"product_id": "no-such"})
    assert (head.status_code, head.content) == (404, b"")


READS, WRITES, ANY = "GET, HEAD, OPTIONS", "OPTIONS, POST", "DELETE, GET, HEAD, OPTIONS, POST"
METHODS = {
    **dict.fromkeys([*GETS, "/retrieve", "/similar", "/search", "/readyz"], READS),
    **dict.fromkeys(["/interactions", "/encode_buyer"], WRITES),
    "/buyers/b/7": "DELETE, OPTIONS",
}


@pytest.mark.parametrize(("path", "allowed"), METHODS.items())
async def test_options_lists_the_methods_and_others_are_refused_with_them(
    system: Stack, path: str, allowed: str
) -> None:
    asked = await system.client.options(path)
    assert (asked.status_code, asked.headers["allow"], asked.content) == (204, allowed, b"")
    wrong = await system.client.request("PATCH", path, content=b"{}")
    assert (wrong.status_code, wrong.headers["allow"]) == (405, allowed)
    assert wrong.json()["detail"] == f"{path} does not accept PATCH, only {allowed}"


async def test_options_of_the_whole_server_and_of_no_route(system: Stack) -> None:
    request = httpx.Request("OPTIONS", system.client.base_url, extensions={"target": b"*"})
    asked = await system.client.send(request)
    assert (asked.status_code, asked.headers["allow"]) == (204, ANY)
    assert (await system.client.options("/nothing")).status_code == 404


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/retrieve/", "; did you mean /retrieve?"),
        ("//retrieve", "; did you mean /retrieve?"),
        ("/Retrieve", "; did you mean /retrieve?"),
        ("/encode-buyer", "; did you mean /encode_buyer?"),
        ("/v1/recommendations", "; /docs lists all"),
        ("/" + "x" * 3000, ""),
    ],
)
async def test_the_nearest_route_is_named(system: Stack, path: str, hint: str) -> None:
    request = httpx.Request("GET", system.client.base_url, extensions={"target": path.encode()})
    answer = await system.client.send(request)
    assert (answer.status_code, answer.json()["detail"]) == (404, f"there is no route {path!r}{hint}")


async def test_behind_a_proxy_the_documentation_finds_its_files(below: httpx.AsyncClient) -> None:
    """The proxy may take the path away (nginx: proxy_pass http://gateway:8000/;) or leave it."""
    page = (await below.get("/docs")).text
    assert page == (await below.get("/recs/docs")).text
    linked = re.findall(r'(?:href|src)="([^"]+)"', page) + re.findall(r"url: '([^']+)'", page)
    assert len(linked) == 4
    for link in linked:
        assert link.startswith("/recs/")
        for seen in (link, link.removeprefix("/recs")):
            assert (await below.get(seen)).status_code == 200, seen
    described = (await below.get("/recs/openapi.json")).json()
    assert described["servers"] == [{"url": "/recs"}]
    assert set(described["paths"]) >= {"/retrieve", "/interactions"}


@pytest.mark.parametrize("prefix", ["", "/recs"])
async def test_behind_a_proxy_problems_name_the_path_that_the_caller_asked(
    below: httpx.AsyncClient, prefix: str
) -> None:
    refused = await below.get(f"{prefix}/retrieve")
    assert (refused.status_code, refused.json()["instance"]) == (422, "/recs/retrieve")
    # a URN is the same under every path
    assert refused.json()["type"] == "urn:twotower:invalid-input"
    wrong = await below.post(f"{prefix}/retrieve")
    assert (wrong.status_code, wrong.json()["instance"]) == (405, "/recs/retrieve")
    missing = (await below.get(f"{prefix}/retreive")).json()
    assert missing["instance"] == "/recs/retreive"
    assert missing["detail"].endswith("; did you mean /recs/retrieve?")
    assert (await below.head(f"{prefix}/healthz")).status_code == 200


async def test_behind_a_proxy_metrics_have_the_routes_of_every_gateway(below: httpx.AsyncClient) -> None:
    await below.get("/recs/retrieve")
    text = (await below.get("/metrics")).text
    assert 'route="/retrieve",status="422"' in text
    assert "/recs" not in text


@pytest.mark.parametrize("path", ["recs", "/recs/", "/a b", "https://shop.example/recs", "/recs?x"])
async def test_a_root_path_is_a_path(path: str) -> None:
    with pytest.raises(ValidationError, match="root_path"):
        GatewaySettings(root_path=path)


async def _post(system: Stack, content: bytes, encoding: str) -> httpx.Response:
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    return await system.client.post("/interactions", content=content, headers=headers)


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", True), ("X-Gzip", True), ("identity", False)])
async def test_a_gzip_body_is_read(system: Stack, encoding: str, pack: bool) -> None:
    body = json.dumps(ROWS).encode()
    answer = await _post(system, gzip.compress(body) if pack else body, encoding)
    assert (answer.status_code, answer.json()["stored"]) == (200, 300)


async def test_a_bomb_is_refused_at_the_limit(system: Stack) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < 50_000
    answer = await _post(system, bomb, "gzip")
    assert (answer.status_code, answer.json()["field"]) == (413, "body")
    assert answer.json()["detail"] == "the body is 100001 bytes or more unpacked, the limit is 100000"


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b'{"interactions": []}', "is not gzip, as Content-Encoding says"),
        (zlib.compress(b"{}"), "is not gzip, as Content-Encoding says"),
        (gzip.compress(b"{}" * 50, mtime=0)[:-4], "ends before its gzip data does"),
        (gzip.compress(b"{}", mtime=0) * 2, "has more behind the end of its gzip data"),
        (b"", "ends before its gzip data does"),
        (gzip.compress(b"", mtime=0), "is empty; send a JSON object"),
        (gzip.compress(b"\xff", mtime=0), "is not JSON"),
    ],
)
async def test_a_broken_gzip_body_is_refused_with_its_fault(system: Stack, body: bytes, problem: str) -> None:
    answer = await _post(system, body, "gzip")
    assert (answer.status_code, answer.json()["field"]) == (400, "body")
    assert problem in answer.json()["detail"]


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, gzip", "gzip;q=1", "compress"])
async def test_other_encodings_are_refused_with_the_one_that_is_read(system: Stack, encoding: str) -> None:
    answer = await _post(system, b"{}", encoding)
    assert (answer.status_code, answer.headers["accept-encoding"]) == (415, "gzip")
    assert answer.json()["type"] == "urn:twotower:wrong-content-encoding"
    assert answer.json()["detail"] == f"Content-Encoding is {encoding!r}, and must be gzip, or be left out"


async def test_a_body_of_exactly_the_limit_is_unpacked() -> None:
    assert unpack_gzip(gzip.compress(b"x" * 1000), 1000) == b"x" * 1000
    with pytest.raises(BodyTooLarge):
        unpack_gzip(gzip.compress(b"x" * 1001), 1000)
    with pytest.raises(Malformed):
        unpack_gzip(gzip.compress(b"x") + b"\0", 1000)
