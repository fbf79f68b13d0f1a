"""Who may ask what, over HTTP: keys, scopes, tokens for one buyer, rate limits, and the file that holds the keys."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.auth import guard
from gateway.auth.keys import BuyerTokens, NewKey, Scope, add_key, read_document, remove_key
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import until
from tests.helpers.stack import Stack, as_json, event, stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = b"0123456789abcdef0123456789abcdef"
LISTS = ("/similar?product_id=p1", "/together?product_id=p1", "/search?q=gold", "/popular", "/trending")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def keys(folder: Path) -> dict[str, str]:
    """One key for each scope, and two public ones whose shops sign tokens."""
    file = folder / "keys.json"
    (folder / "secret").write_bytes(SECRET + b"\n")
    signer = Ed25519PrivateKey.from_private_bytes(SECRET)
    (folder / "shop.pem").write_bytes(signer.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    scopes: tuple[Scope, ...] = ("public", "read", "write", "admin")
    made = {scope: add_key(file, NewKey(scope, (scope,), None, None)) for scope in scopes}
    shared, signed = (
        BuyerTokens(algorithm="HS256", key_file="secret"),
        BuyerTokens(algorithm="EdDSA", key_file="shop.pem"),
    )
    made["page"] = add_key(file, NewKey("page", ("public",), None, shared))
    made["signed"] = add_key(file, NewKey("signed", ("public",), None, signed))
    return made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tiny: Path, redis: RedisServer, folder: Path, keys: dict[str, str]) -> AsyncIterator[Stack]:
    async with stack(tiny, redis, keys_file=folder / "keys.json") as running:
        yield running


@pytest.fixture
def buyer() -> str:
    return uuid4().hex


def bearer(key: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}", **more}


def token(buyer: str, secret: Any = SECRET, algorithm: str = "HS256", **changed: Any) -> str:
    now = int(time.time())
    claims = {"sub": buyer, "aud": "twotower", "iat": now, "exp": now + 300} | changed
    return jwt.encode({name: value for name, value in claims.items() if value is not None}, secret, algorithm)


def body(buyer: str) -> dict[str, Any]:
    return {"buyer_id": buyer, "recent_interactions": as_json([event("p4"), event("p8")])}


async def statuses(client: httpx.AsyncClient, buyer: str, headers: Any) -> dict[str, int]:
    """The status of each call that needs a scope."""
    asked = {path.partition("?")[0]: await client.get(path, headers=headers) for path in LISTS}
    asked["/retrieve"] = await client.get("/retrieve", params={"buyer_id": buyer}, headers=headers)
    asked["/encode_buyer"] = await client.post("/encode_buyer", json=body(buyer), headers=headers)
    rows = [{"buyer_id": buyer, **row} for row in as_json([event("p1")])]
    asked["/interactions"] = await client.post("/interactions", json={"interactions": rows}, headers=headers)
    asked["/again"] = await client.get("/again", params={"buyer_id": buyer}, headers=headers)
    asked["/history"] = await client.get("/history", params={"buyer_id": buyer}, headers=headers)
    asked["/products"] = await client.get("/products", params={"id": "p1"}, headers=headers)
    asked["/metrics"] = await client.get("/metrics", headers=headers)
    return {path: response.status_code for path, response in asked.items()}


READ = ("/similar", "/together", "/search", "/popular", "/trending", "/retrieve", "/again", "/history", "/products")
WRITE = ("/encode_buyer", "/interactions")
PRODUCTS = ("/similar", "/together", "/search", "/popular", "/trending")


@pytest.mark.parametrize(
    ("scope", "allowed"), [("read", READ), ("write", WRITE), ("admin", ("/metrics",)), ("public", PRODUCTS)]
)
async def test_a_scope_covers_its_calls_alone(
    system: Stack, keys: dict[str, str], buyer: str, scope: str, allowed: tuple[str, ...]
) -> None:
    found = await statuses(system.client, buyer, bearer(keys[scope]))
    assert found == {path: 200 if path in allowed else 403 for path in found}


async def test_a_public_key_completes_a_cart_of_no_named_buyer(system: Stack, keys: dict[str, str], buyer: str) -> None:
    cart = {"product_ids": ["p1"]}
    for scope, body, status in (
        ("public", cart, 200),
        ("public", {**cart, "buyer_id": buyer}, 403),
        ("read", {**cart, "buyer_id": buyer}, 200),
        ("write", cart, 403),
    ):
        answer = await system.client.post("/complete", json=body, headers=bearer(keys[scope]))
        assert answer.status_code == status, (scope, body)


async def test_without_a_known_key_nothing_is_answered(system: Stack, keys: dict[str, str], buyer: str) -> None:
    wrong = keys["read"][:-1] + ("0" if keys["read"][-1] != "0" else "1")
    for headers in (
        {},
        bearer(wrong),
        bearer("tt_"),
        {"Authorization": f"Basic {keys['read']}"},
        {"X-API-Key": b"\xe9"},
    ):
        found = await statuses(system.client, buyer, headers)
        assert set(found.values()) == {401}, headers
    refused = await system.client.get("/popular", headers=bearer(wrong))
    assert refused.headers["WWW-Authenticate"] == 'Bearer realm="twotower", error="invalid_token"'
    assert refused.json()["type"] == "urn:twotower:unauthorized"
    missing = await system.client.get("/popular")
    assert missing.headers["WWW-Authenticate"] == 'Bearer realm="twotower"'


async def test_a_key_may_come_in_either_header(system: Stack, keys: dict[str, str]) -> None:
    for headers in ({"X-API-Key": keys["read"]}, {"Authorization": f"bearer {keys['read']}"}):
        assert (await system.client.get("/popular", headers=headers)).status_code == 200


async def test_health_and_documentation_need_no_key(system: Stack) -> None:
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
        assert (await system.client.get(path)).status_code == 200
    described = (await system.client.get("/openapi.json")).json()
    assert set(described["components"]["securitySchemes"]) == {"bearer", "apiKey", "buyerToken"}
    assert {"bearer": ["read", "public"]} in described["paths"]["/search"]["get"]["security"]
    assert {"apiKey": ["public"], "buyerToken": []} in described["paths"]["/retrieve"]["get"]["security"]
    assert "security" not in described["paths"]["/healthz"]["get"]


async def test_popular_products_need_no_buyer(system: Stack, keys: dict[str, str]) -> None:
    answer = (await system.client.get("/popular", params={"k": 5}, headers=bearer(keys["public"]))).json()
    unknown = await system.client.get("/retrieve", params={"k": 5, "buyer_id": "x"}, headers=bearer(keys["read"]))
    assert (answer["product_ids"], answer["source"]) == (unknown.json()["product_ids"], "popular")
    assert len(answer["product_ids"]) == 5


async def test_a_buyers_token_opens_this_buyer_alone(system: Stack, keys: dict[str, str], buyer: str) -> None:
    client = system.client
    await client.post("/encode_buyer", json=body(buyer), headers=bearer(keys["write"]))
    signer = Ed25519PrivateKey.from_private_bytes(SECRET)
    for key, signed in (("page", token(buyer)), ("signed", token(buyer, signer, "EdDSA"))):
        headers = bearer(keys[key], **{"X-Buyer-Token": signed})
        answer = await client.get("/retrieve", params={"buyer_id": buyer}, headers=headers)
        assert (answer.status_code, answer.json()["source"]) == (200, "model")
        other = await client.get("/retrieve", params={"buyer_id": "b2"}, headers=headers)
        assert (other.status_code, other.json()["detail"]) == (403, "the token is another buyer's")
        # reading is not writing
        assert (await client.post("/encode_buyer", json=body(buyer), headers=headers)).status_code == 403


async def test_a_token_may_allow_writing_its_buyers_history(system: Stack, keys: dict[str, str], buyer: str) -> None:
    client, headers = system.client, bearer(keys["page"], **{"X-Buyer-Token": token(buyer, scope="read write")})
    rows = [{"buyer_id": one, **as_json([event("p1")])[0]} for one in (buyer, "b2")]
    assert (await client.post("/interactions", json=rows[0], headers=headers)).status_code == 200
    assert (await client.post("/encode_buyer", json=body(buyer), headers=headers)).status_code == 200
    assert (await client.post("/interactions", json={"interactions": rows}, headers=headers)).status_code == 403
    assert (await client.post("/encode_buyer", json=body("b2"), headers=headers)).status_code == 403
    stranger = await client.get(
        "/retrieve", params={"buyer_id": "b2", "fallback": "none"}, headers=bearer(keys["read"])
    )
    assert stranger.status_code == 404


BAD_TOKENS = {
    "another secret": (lambda now: {"secret": b"f" * 32}, "Signature verification failed"),
    "another algorithm": (lambda now: {"algorithm": "HS512", "secret": SECRET * 2}, "alg value is not allowed"),
    "no algorithm": (lambda now: {"algorithm": "none", "secret": None}, "alg value is not allowed"),
    "expired": (lambda now: {"iat": now - 400, "exp": now - 60}, "expired"),
    "too long a life": (lambda now: {"exp": now + 7200}, "it lives 7200 s, the limit is 3600"),
    "no expiry": (lambda now: {"exp": None}, "exp"),
    "no start": (lambda now: {"iat": None}, "iat"),
    "of the future": (lambda now: {"iat": now + 600, "exp": now + 900}, "not yet valid"),
    "another audience": (lambda now: {"aud": "mail"}, "Audience"),
    "no buyer": (lambda now: {"sub": None}, "sub"),
}


@pytest.mark.parametrize("name", BAD_TOKENS)
async def test_a_bad_token_is_refused_with_its_reason(
    system: Stack, keys: dict[str, str], buyer: str, name: str
) -> None:
    change, reason = BAD_TOKENS[name]
    signed = token(buyer, **change(int(time.time())))
    headers = bearer(keys["page"], **{"X-Buyer-Token": signed})
    answer = await system.client.get("/retrieve", params={"buyer_id": buyer}, headers=headers)
    assert answer.status_code == 401 and reason in answer.json()["detail"]


async def test_a_token_without_its_key_or_of_another_key_opens_nothing(
    system: Stack, keys: dict[str, str], buyer: str
) -> None:
    async def ask(headers: dict[str, str]) -> int:
        return (await system.client.get("/retrieve", params={"buyer_id": buyer}, headers=headers)).status_code

    signed = {"X-Buyer-Token": token(buyer)}
    assert await ask(signed) == 401
    assert await ask(bearer(keys["page"])) == 401
    assert await ask(bearer(keys["signed"]) | signed) == 401
    # this key's entry names no key for tokens
    assert await ask(bearer(keys["public"]) | signed) == 403


async def test_the_public_key_of_a_shop_signs_nothing(system: Stack, keys: dict[str, str], folder: Path) -> None:
    """The classic confusion: a token by HS256 whose secret is the text of the public key."""
    import base64
    import hashlib
    import hmac
    import json

    def part(content: bytes) -> bytes:
        return base64.urlsafe_b64encode(content).rstrip(b"=")

    now = int(time.time())
    claims = {"sub": "b1", "aud": "twotower", "iat": now, "exp": now + 60}
    signed = part(b'{"alg":"HS256","typ":"JWT"}') + b"." + part(json.dumps(claims).encode())
    mac = hmac.new((folder / "shop.pem").read_bytes(), signed, hashlib.sha256).digest()
    headers = bearer(keys["signed"], **{"X-Buyer-Token": (signed + b"." + part(mac)).decode()})
    assert (await system.client.get("/retrieve", params={"buyer_id": "b1"}, headers=headers)).status_code == 401


async def test_keys_come_and_go_without_a_restart(
    system: Stack, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    file, client = folder / "keys.json", system.client
    monkeypatch.setattr(guard, "_POLL_SECONDS", 0.01)
    key = add_key(file, NewKey("new", ("read",), None, None))

    async def status() -> int:
        return (await client.get("/popular", headers=bearer(key))).status_code

    await until(status, lambda found: found == 200)
    good = file.read_bytes()
    file.write_text("{")
    await until(lambda: "the last good keys stay in force" in caplog.text)
    assert await status() == 200
    file.unlink()
    await asyncio.sleep(0.05)
    assert (await status(), (await client.get("/popular")).status_code) == (200, 401)
    file.write_bytes(good)
    remove_key(file, key[3:15])
    await until(status, lambda found: found == 401)


async def test_a_gateway_without_keys_asks_for_them_once_there_is_one(
    tiny: Path, redis: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "_POLL_SECONDS", 0.01)
    file = tmp_path / "keys.json"
    async with stack(tiny, redis, without=["item", "buyer"], keys_file=file) as system:
        assert (await system.get("/popular")).status_code == 200
        key = add_key(file, NewKey("first", ("read",), None, None))

        async def status() -> int:
            return (await system.get("/popular")).status_code

        await until(status, lambda found: found == 401)
        assert (await system.client.get("/popular", headers=bearer(key))).status_code == 200


async def test_a_small_limit_is_exact_and_says_when_to_come_back(
    tiny: Path, redis: RedisServer, tmp_path: Path
) -> None:
    file = tmp_path / "keys.json"
    limited, free = (add_key(file, NewKey("one", ("read",), limit, None)) for limit in ("5/minute", "5/hour"))
    async with (
        stack(tiny, redis, without=["item", "buyer"], keys_file=file) as one,
        stack(tiny, redis, without=["item", "buyer"], keys_file=file) as two,
    ):
        # the limit is one for both gateways
        answers = [await system.client.get("/popular", headers=bearer(limited)) for system in (one, two, one, two, one)]
        assert [answer.status_code for answer in answers] == [200] * 5
        assert [answer.headers["RateLimit"].split(";")[1] for answer in answers] == ["r=4", "r=3", "r=2", "r=1", "r=0"]
        assert {answer.headers["RateLimit-Policy"] for answer in answers} == {'"key";q=5;w=60'}
        for system in (one, two):
            refused = await system.client.get("/popular", headers=bearer(limited))
            assert refused.status_code == 429
            assert 1 <= int(refused.headers["Retry-After"]) <= 60
            assert refused.headers["RateLimit"].startswith('"key";r=0;t=')
            assert refused.json()["title"] == "Too many requests"
        # another key has a limit of its own
        assert (await one.client.get("/popular", headers=bearer(free))).status_code == 200


async def test_many_at_once_never_exceed_the_limit(tiny: Path, redis: RedisServer, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key = add_key(file, NewKey("busy", ("read",), "200/hour", None))
    async with stack(tiny, redis, without=["item", "buyer"], keys_file=file, request_timeout_seconds=30) as system:
        found = await asyncio.gather(
            *(system.client.get("/popular", params={"k": 1}, headers=bearer(key)) for _ in range(240))
        )
    codes = [one.status_code for one in found]
    assert (codes.count(200), codes.count(429)) == (200, 40)


async def test_without_redis_a_worker_limits_alone(tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    key = add_key(file, NewKey("lonely", ("read",), "3/hour", None))
    with RedisServer() as redis:
        async with stack(tiny, redis, without=["item", "buyer"], keys_file=file) as system:
            redis.kill()
            codes = [(await system.client.get("/popular", headers=bearer(key))).status_code for _ in range(4)]
    assert codes == [200, 200, 200, 429]


async def test_the_file_holds_no_key(keys: dict[str, str], folder: Path) -> None:
    text = (folder / "keys.json").read_text()
    assert not any(key[16:] in text for key in keys.values())
    assert (folder / "keys.json").stat().st_mode & 0o777 == 0o600
    assert {entry.name for entry in read_document(folder / "keys.json").keys} >= set(keys)
