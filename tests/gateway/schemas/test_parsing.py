"""Bad input, one by one: always a 4xx problem document that names the field and the value, never a stack trace."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import pytest_asyncio
from redis import Redis

from gateway.history.codec import LOADED
from tests.helpers.redis_server import RedisServer
from tests.helpers.stack import Stack, stack

pytestmark = pytest.mark.asyncio(loop_scope="module")
ROW = {"product_id": "p1", "event_type": "View", "timestamp": "2025-10-09T08:00:00Z"}
ABSENT = object()
JSON = {"Content-Type": "application/json"}
TEN_MB = "x" * 10_000_000


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tiny: Path, redis: RedisServer) -> AsyncIterator[Stack]:
    async with stack(tiny, redis) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_is_stored(redis: RedisServer) -> Iterator[None]:
    """What is refused leaves nothing behind."""
    yield
    client = Redis(port=redis.port)
    # searches that were answered are counted
    kept = {key for key in client.scan_iter() if not key.startswith(b"twotower:{searches}")}
    assert kept == {LOADED.encode()}
    client.close()


def problem(response: httpx.Response, status: int, field: str | None = None, value: str = "", why: str = "") -> Any:
    """The problem document, after checking all that every one of them has."""
    assert response.status_code == status, response.text[:500]
    assert response.headers["content-type"] == "application/problem+json"
    document = response.json()
    assert document["status"] == status
    assert document["type"] and document["title"] and document["detail"]
    assert document["request_id"] == response.headers["x-request-id"]
    assert document["instance"].startswith("/")
    assert "Traceback" not in response.text and ".py" not in response.text
    assert len(response.content) < 10_000
    if field is not None:
        assert document["field"] == field
        assert field in document["detail"]
    if value:
        assert value in document["value"]
    assert why in document["detail"]
    return document


IDS = [
    pytest.param(ABSENT, "", "is missing", id="missing"),
    pytest.param(None, "None", "must be a string", id="null"),
    pytest.param(7, "7", "must be a string", id="number"),
    pytest.param(True, "True", "must be a string", id="bool"),
    pytest.param(["p1"], "['p1']", "must be a string", id="list"),
    pytest.param({"a": 1}, "{'a': 1}", "must be a string", id="object"),
    pytest.param("", "''", "must not be empty", id="empty"),
    pytest.param("  ", "'  '", "must not be empty", id="blank"),
    pytest.param("a\u0000b", r"\x00", "control characters", id="NUL"),
    pytest.param("a\nb", r"\n", "control characters", id="newline"),
    pytest.param("a\u007fb", r"\x7f", "control characters", id="DEL"),
    pytest.param("ذ" * 65, "ذذذ", "is 130 bytes long, the limit is 128", id="long"),
]


EVENTS = [
    *IDS[:6],
    pytest.param("view", "'view'", "known: View, AddToCart, Purchase", id="unknown"),
    pytest.param("", "''", "unknown event name", id="empty"),
    pytest.param("View\n", r"View\n", "unknown event name", id="newline"),
]


TIMES = [
    pytest.param(ABSENT, "", "is missing", id="missing"),
    pytest.param(None, "None", "ISO-8601", id="null"),
    pytest.param(True, "True", "ISO-8601", id="bool"),
    pytest.param([1], "[1]", "ISO-8601", id="list"),
    pytest.param("", "''", "neither", id="empty"),
    pytest.param("yesterday", "'yesterday'", "neither", id="words"),
    pytest.param("2025-02-30T00:00:00Z", "2025-02-30", "is not a time", id="no such day"),
    pytest.param("1969-12-31T23:59:59Z", "1969-12-31", "is before 1970-01-01", id="before 1970"),
    pytest.param(-1, "-1", "is before 1970-01-01", id="negative"),
    pytest.param("2999-01-01T00:00:00Z", "2999-01-01", "more than five minutes ahead", id="far ahead"),
    pytest.param(99999999999999, "99999999999999", "more than five minutes ahead", id="far ahead in milliseconds"),
    pytest.param(10**30, "1e+30", "neither", id="huge"),
    pytest.param("2025-10-09T08:00\u0000", r"\x00", "neither", id="control character"),
]


FIELDS = [
    *[pytest.param("buyer_id", *one.values, id=f"buyer_id-{one.id}") for one in IDS],
    *[pytest.param("product_id", *one.values, id=f"product_id-{one.id}") for one in IDS],
    *[pytest.param("event_type", *one.values, id=f"event_type-{one.id}") for one in EVENTS],
    *[pytest.param("timestamp", *one.values, id=f"timestamp-{one.id}") for one in TIMES],
]


def changed(row: dict[str, Any], field: str, value: object) -> dict[str, Any]:
    return {name: old for name, old in row.items() if name != field} | ({} if value is ABSENT else {field: value})


@pytest.mark.parametrize(("field", "value", "shown", "why"), FIELDS)
async def test_encode_buyer_names_the_field(system: Stack, field: str, value: object, shown: str, why: str) -> None:
    rows: list[Any] = [ROW, ROW, ROW]
    body: dict[str, Any] = {"buyer_id": "b", "recent_interactions": rows}
    if field == "buyer_id":
        body, name = changed(body, field, value), field
    else:
        rows[2], name = changed(ROW, field, value), f"recent_interactions[2].{field}"
    problem(await system.post("/encode_buyer", body), 422, name, shown, why)


@pytest.mark.parametrize(("field", "value", "shown", "why"), FIELDS)
async def test_interactions_name_the_field(system: Stack, field: str, value: object, shown: str, why: str) -> None:
    row = changed({"buyer_id": "b", **ROW}, field, value)
    problem(await system.post("/interactions", row), 422, field, shown, why)
    many = {"interactions": [{"buyer_id": "b", **ROW}, row]}
    problem(await system.post("/interactions", many), 422, f"interactions[1].{field}", shown, why)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (ABSENT, "is missing"),
        ([], "must not be empty"),
        (None, "must be a list"),
        ({}, "must be a list"),
        ("p1", "must be a list"),
        (3, "must be a list"),
        ([ROW] * 5001, "has 5001 entries, the limit is 5000"),
    ],
)
async def test_the_list_of_interactions(system: Stack, value: object, why: str) -> None:
    body = changed({"buyer_id": "b"}, "recent_interactions", value)
    problem(await system.post("/encode_buyer", body), 422, "recent_interactions", why=why)
    if value is not ABSENT:
        problem(await system.post("/interactions", {"interactions": value}), 422, "interactions", why=why)


@pytest.mark.parametrize("row", [None, 7, "p1", [ROW], True])
async def test_an_interaction_that_is_no_object(system: Stack, row: object) -> None:
    body = {"buyer_id": "b", "recent_interactions": [row]}
    problem(await system.post("/encode_buyer", body), 422, "recent_interactions[0]", why="must be an object")


async def test_names_that_are_not_known_are_refused(system: Stack) -> None:
    body = {"buyer_id": "b", "recent_interactions": [ROW], "colour": "red"}
    problem(await system.post("/encode_buyer", body), 422, "colour", "red", "known: buyer_id, recent_interactions")
    body = {"buyer_id": "b", "recent_interactions": [{**ROW, "quantity": 2}]}
    problem(await system.post("/encode_buyer", body), 422, "recent_interactions[0].quantity", "2")
    problem(await system.get("/retrieve", buyer_id="b", K=3), 422, "K", "3", "is not a known field")


async def test_every_field_refused_is_listed(system: Stack) -> None:
    rows = [{**ROW, "product_id": 1}, ROW, {**ROW, "event_type": "Wish"}]
    found = problem(await system.post("/encode_buyer", {"recent_interactions": rows}), 422, "buyer_id")
    wanted = ["buyer_id", "recent_interactions[0].product_id", "recent_interactions[2].event_type"]
    assert [one["field"] for one in found["errors"]] == wanted
    assert "(and 2 more)" in found["detail"]
    many = problem(await system.post("/encode_buyer", {"buyer_id": "b", "recent_interactions": [{}] * 500}), 422)
    assert (len(many["errors"]), many["error_count"]) == (20, 1500)


@pytest.mark.parametrize("path", ["/encode_buyer", "/interactions"])
@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(b"", "is empty", id="empty"),
        pytest.param(b"{", "is not JSON", id="cut off"),
        pytest.param(b"buyer_id=b", "is not JSON", id="form"),
        pytest.param(b'{"buyer_id": NaN}', "is not JSON", id="NaN"),
        pytest.param(b'{"buyer_id": -Infinity}', "is not JSON", id="Infinity"),
        pytest.param(b'{"buyer_id": 1e999}', "is not JSON", id="beyond float"),
        pytest.param(b"{'buyer_id': 'b'}", "is not JSON", id="single quotes"),
        pytest.param(b'{"buyer_id": "b",}', "is not JSON", id="trailing comma"),
        pytest.param(b'{"buyer_id": "\\ud800"}', "is not JSON", id="lone surrogate"),
        pytest.param(b'{"buyer_id": "\xed\xa0\x80"}', "is not JSON", id="raw surrogate"),
        pytest.param(b'{"buyer_id": "\xff"}', "is not JSON", id="not UTF-8"),
        pytest.param('{"buyer_id": "b"}'.encode("utf-16"), "is not JSON", id="UTF-16"),
        pytest.param(b'{"buyer_id": "a\nb"}', "is not JSON", id="raw control character"),
        pytest.param(b"[" * 100_000 + b"]" * 100_000, "is not JSON", id="deep"),
        pytest.param(b"[" * 1000 + b"]" * 1000, "", id="less deep"),
        pytest.param(b'{"a": 1, "a": 2}', "more than once", id="repeated name"),
        pytest.param(b'{"a": [{"b\\u0063": 1, "bc": 2}]}', "more than once", id="repeated name, escaped"),
    ],
)
async def test_malformed_json(system: Stack, path: str, body: bytes, why: str) -> None:
    response = await system.client.post(path, content=body, headers=JSON)
    assert response.status_code in ((422, 400) if not why else (400,))
    problem(response, response.status_code, "body", why=why)


@pytest.mark.parametrize("path", ["/encode_buyer", "/interactions"])
@pytest.mark.parametrize("body", [b"null", b"[]", b"3", b'"b"', b"true"])
async def test_json_that_is_no_object(system: Stack, path: str, body: bytes) -> None:
    problem(await system.client.post(path, content=body, headers=JSON), 422, "body", why="must be a JSON object")


@pytest.mark.parametrize("path", ["/encode_buyer", "/interactions"])
@pytest.mark.parametrize("field", ["buyer_id", "product_id", "event_type", "timestamp"])
async def test_ten_megabytes_in_a_body(system: Stack, path: str, field: str) -> None:
    row = {"buyer_id": "b", **ROW, field: TEN_MB}
    body = row if path == "/interactions" else {"buyer_id": row.pop("buyer_id"), "recent_interactions": [row]}
    problem(await system.post(path, body), 413, "body", why="the limit is 1048576")


@pytest.mark.parametrize("declared", ["text/plain", "", "application/x-www-form-urlencoded", "application/jsonp"])
async def test_a_body_that_is_not_declared_as_json(system: Stack, declared: str) -> None:
    """A page of any site can send these without asking first; S3_csrf.html of the attacks sends text/plain."""
    before = await system.answer("/retrieve", buyer_id="B00042", fallback="popular")
    body = json.dumps({"buyer_id": "B00042", **ROW})
    response = await system.client.post("/interactions", content=body, headers={"Content-Type": declared})
    problem(response, 415, "Content-Type", why=f"Content-Type is {declared!r}, and must be application/json")
    assert response.json()["type"] == "urn:twotower:wrong-content-type"
    after = await system.answer("/retrieve", buyer_id="B00042", fallback="popular")
    assert (before["source"], after["source"]) == ("popular", "popular")


async def test_ten_megabytes_without_a_stated_length(system: Stack) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(160):
            yield b" " * 65_536

    problem(
        await system.client.post("/encode_buyer", content=parts(), headers=JSON),
        413,
        "body",
        why="the limit is 1048576",
    )


@pytest.mark.parametrize("field", ["buyer_id", "product_id", "event_type", "timestamp"])
async def test_nearly_a_megabyte_in_one_field(system: Stack, field: str) -> None:
    row = {"buyer_id": "b", **ROW, field: "x" * 1_000_000}
    found = problem(await system.post("/interactions", row), 422, field)
    assert len(found["value"]) <= 80


QUERIES = {"/retrieve": {"buyer_id": "b"}, "/similar": {"product_id": "p1"}, "/search": {"q": "خاتم"}}


@pytest.mark.parametrize("path", QUERIES)
@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        *[
            ("k", value, "must be a whole number")
            for value in ("", "ten", "1.5", "1e2", "0x10", " 5", "5 ", "5\n", "٥", "true")
        ],
        *[
            ("k", value, "between 1 and 1000")
            for value in (
                *("0", "-1", "1001", "1000000000", "9" * 5000, "0" * 5000),
                # what is checked is the whole of a number, however it is padded
                *(
                    "00001001",
                    "0000000000019999",
                    "00000000000199999999999",
                    "0" * 12 + "1001",
                    "0" * 4999 + "1001",
                    "-0010",
                ),
            )
        ],
        ("include[0]", "everything", "must be 'products' or 'reasons'"),
        ("include[0]", "", "must be 'products' or 'reasons'"),
        ("in_stock", "maybe", "must be true or false"),
        ("in_stock", "", "must be true or false"),
        *[
            (field, value, "must be an amount such as 200 or 199.95")
            for field in ("price_min", "price_max")
            for value in ("", "-1", "1e3", "nan", "inf", "٢٠٠", "200 SAR", "1,000", "9" * 41)
        ],
        ("sort", "price", "must be 'relevance', 'price_asc' or 'price_desc'"),
        ("sort", "", "must be 'relevance', 'price_asc' or 'price_desc'"),
        *[
            ("diversity", value, "must be a number from 0 to 1")
            for value in (
                "",
                "some",
                "-0.1",
                "1.01",
                "2",
                "1e-1",
                "nan",
                "inf",
                "0.5 ",
                "٠.٥",
                ".",
                "0.5.5",
                "9" * 5000,
            )
        ],
        ("category[0]", "", "must not be empty"),
        ("category[0]", "a\0b", "control characters"),
        ("category[0]", "x" * 501, "is 501 characters long, the limit is 500"),
        ("brand[0]", "\n", "must not be empty"),
        ("brand[0]", "a\x7f", "control characters"),
        ("exclude[0]", "", "must not be empty"),
        ("exclude[0]", "a\tb", "control characters"),
        ("exclude[0]", "x" * 129, "is 129 bytes long"),
    ],
)
async def test_query_fields_of_every_list(system: Stack, path: str, field: str, value: str, why: str) -> None:
    name = field.removesuffix("[0]")
    problem(await system.get(path, **QUERIES[path], **{name: value}), 422, field, why=why)


@pytest.mark.parametrize(("path", "field"), [("/retrieve", "buyer_id"), ("/similar", "product_id"), ("/search", "q")])
@pytest.mark.parametrize(
    ("value", "why"),
    [
        (ABSENT, "is missing"),
        ("", "must not be empty"),
        ("   ", "must not be empty"),
        ("a\0b", "control characters"),
        ("a\x1b[2J", "control characters"),
        ("ذ" * 501, "the limit is"),
    ],
)
async def test_the_subject_of_a_query(system: Stack, path: str, field: str, value: Any, why: str) -> None:
    problem(await system.get(path, **({} if value is ABSENT else {field: value})), 422, field, why=why)


@pytest.mark.parametrize("path", QUERIES)
@pytest.mark.parametrize("field", ["k", "include", "category", "brand", "in_stock", "exclude", "price_min", None])
async def test_ten_megabytes_in_a_query(system: Stack, path: str, field: str | None) -> None:
    url = f"{path}?{field or next(iter(QUERIES[path]))}={TEN_MB}"
    document = await raw(system, f"GET {url} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert (document["status"], document["field"]) == (414, "query")


async def test_ten_megabytes_in_a_path(system: Stack) -> None:
    document = await raw(system, f"GET /retrieve/{TEN_MB} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    assert document["status"] == 404


@pytest.mark.parametrize("request_bytes", [b"nonsense\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"\x16\x03\x01\x00\xa5\x01"])
async def test_what_is_not_http(system: Stack, request_bytes: bytes) -> None:
    assert (await raw(system, request_bytes))["status"] == 400


async def test_letters_of_a_url_that_are_not_encoded(system: Stack) -> None:
    document = await raw(system, "GET /search?q=خاتم HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert document["status"] == 400 and "percent-encoded" in document["detail"]


HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
FIELD = b"X-A: " + b"a" * 1017 + b"\r\n"  # 1,024 bytes


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(65 * FIELD + b"\r\n", id="a whole head"),
        pytest.param(64 * FIELD, id="a head without an end"),
        pytest.param(b"X-A: " + 64 * 1024 * b"a", id="a value without an end"),
        pytest.param(64 * 1024 * b"a", id="a name without an end"),
    ],
)
async def test_more_than_64_kib_of_headers(system: Stack, rest: bytes) -> None:
    document = await raw(system, HEAD + rest)
    assert (document["status"], document["detail"]) == (431, "the headers are longer than 65536 bytes")


@pytest.mark.parametrize("start", [b"0\r\nX-A: ", b"2;"], ids=["a trailer", "an extension of a chunk"])
async def test_what_stands_around_a_body_has_an_end_too(system: Stack, start: bytes) -> None:
    url = system.client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(b"POST /interactions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n" + start)
    sent = 0
    with contextlib.suppress(ConnectionError):
        while not reader.at_eof() and sent < 16 << 20:
            writer.write(b"a" * 65_536)
            await writer.drain()
            sent += 65_536
    assert sent < 16 << 20
    writer.close()


async def test_nearly_64_kib_of_headers_are_taken_again_and_again_on_one_connection(system: Stack) -> None:
    url = system.client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    for _ in range(3):
        writer.write(HEAD + 63 * FIELD + b"\r\n")
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
        await reader.readuntil(b'{"status":"alive"}')
    writer.close()


async def test_a_long_body_in_small_chunks_is_not_taken_for_headers(system: Stack) -> None:
    head = b"POST /interactions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    document = await raw(system, head + 20_000 * b"1\r\n \r\n" + b"0\r\n\r\n")
    assert (document["status"], document["field"]) == (400, "body")
    assert "is not JSON" in document["detail"]


async def raw(system: Stack, request: bytes) -> Any:
    """The problem document that some bytes get: the client library refuses to send these."""
    url = system.client.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(request)
    await writer.drain()
    head, _, body = (await asyncio.wait_for(reader.read(), 60)).partition(b"\r\n\r\n")
    writer.close()
    document = json.loads(body)
    assert head.split(b" ")[1] == str(document["status"]).encode()
    assert b"application/problem+json" in head
    return document


@pytest.mark.parametrize("path", QUERIES)
async def test_a_number_padded_with_zeros_is_that_number(system: Stack, path: str) -> None:
    for k in ("03", "0" * 12 + "3", "0" * 5000 + "3"):
        assert len((await system.answer(path, **QUERIES[path], k=k))["product_ids"]) == 3


@pytest.mark.parametrize("path", QUERIES)
async def test_a_query_that_is_not_utf_8(system: Stack, path: str) -> None:
    name = next(iter(QUERIES[path]))
    problem(await system.client.get(f"{path}?{name}=%FF%FE"), 400, "query", why="is not UTF-8")
    # a surrogate in UTF-8 clothes
    problem(await system.client.get(f"{path}?{name}=%ED%A0%80"), 400, "query", why="is not UTF-8")


@pytest.mark.parametrize("path", QUERIES)
async def test_a_value_given_twice(system: Stack, path: str) -> None:
    name, value = next(iter(QUERIES[path].items()))
    problem(await system.client.get(f"{path}?{name}={quote(value)}&{name}=2"), 422, name, "2", "more than once")
    problem(await system.client.get(f"{path}?{name}={quote(value)}&k=1&k=2"), 422, "k", "2", "more than once")


async def test_too_many_values(system: Stack) -> None:
    excluded = problem(await system.get("/similar", product_id="p1", exclude=["p"] * 1001), 422, "exclude")
    assert "more than 1000 values" in excluded["detail"]
    problem(await system.get("/similar", product_id="p1", brand=["b"] * 101), 422, "brand", why="more than 100 values")
    problem(await system.client.get("/similar?" + "&a=1" * 2001), 422, "query", why="more than 2000 values")


async def test_retrieves_own_choices(system: Stack) -> None:
    problem(await system.get("/retrieve", buyer_id="b", fallback="all"), 422, "fallback", "all", "'popular' or 'none'")
    problem(await system.get("/retrieve", buyer_id="b", exclude_seen="2"), 422, "exclude_seen", "2")
    problem(await system.get("/similar", product_id="p1", exclude_seen="1"), 422, "exclude_seen", why="not a known")


@pytest.mark.parametrize("path", ["/", "/nothing", "/retrieve/", "/retrieve/b", "/%00", "/خاتم", "/../etc/passwd"])
async def test_there_is_nothing_at_other_paths(system: Stack, path: str) -> None:
    problem(await system.get(path), 404, why="there is no route")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/retrieve", "GET"),
        ("DELETE", "/similar", "GET"),
        ("PUT", "/search", "GET"),
        ("GET", "/encode_buyer", "POST"),
        ("PATCH", "/interactions", "POST"),
        ("POST", "/healthz", "GET"),
    ],
)
async def test_other_methods(system: Stack, method: str, path: str, allowed: str) -> None:
    response = await system.client.request(method, path)
    problem(response, 405, why=f"{path} does not accept {method}")
    assert allowed in response.headers["allow"]


async def test_what_looks_strange_but_is_right_is_taken(system: Stack, redis: RedisServer) -> None:
    buyer = "زبون \u200f👩🏽‍🚀 {}[]*?:%"
    rows = [{**ROW, "timestamp": form} for form in ("2025-10-09", 1_760_000_000, 1_760_000_000_000, 1.76e9, "0")]
    body = json.dumps({"buyer_id": buyer, "recent_interactions": rows})
    declared = {"Content-Type": "Application/JSON; charset=utf-8"}
    response = await system.client.post("/encode_buyer", content=body, headers=declared)
    assert response.status_code == 200, response.text
    # three of these forms are one and the same moment
    assert response.json()["used"] == response.json()["stored"] == 3
    assert (await system.answer("/retrieve", buyer_id=buyer))["source"] == "model"
    assert (await system.answer("/search", q="  ١٢٣ !؟ ﷺ\u202e"))["source"] == "model"
    client = Redis(port=redis.port)
    client.flushall()
    redis.mark_loaded()
    client.close()
