"""What the gateway logs, through its API, with a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import orjson
import pytest
import pytest_asyncio
from redis import Redis

from gateway.history.codec import key_of
from gateway.history.event_log import EventLog
from gateway.history.redis_history import RedisHistory
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import until
from tests.helpers.stack import Stack, stack
from twotower.event_log import KINDS, STREAM, event_id_of
from twotower.events import parse_time

pytestmark = pytest.mark.asyncio(loop_scope="module")

TIME = "2025-01-01T12:00:00Z"
MS = parse_time(TIME)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def system(tiny: Path, server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    path = tmp_path_factory.mktemp("private") / "forgotten.txt"
    async with stack(tiny, server, event_log=True, forgotten_file=path) as running:
        yield running


@pytest.fixture
def raw(server: RedisServer) -> Any:
    client = Redis(port=server.port)
    client.delete(STREAM)
    return client


def logged(raw: Any, kind: str) -> list[Any]:
    """The records of one kind, oldest first."""
    values = [fields[kind.encode()] for _, fields in raw.xrange(STREAM) if kind.encode() in fields]
    return [KINDS[kind](*row) for value in values for row in orjson.loads(value)]


def view(product: str, **fields: Any) -> dict[str, Any]:
    return {"product_id": product, "event_type": "View", "timestamp": TIME, **fields}


async def test_an_acknowledged_interaction_is_in_the_stream(system: Stack, raw: Any) -> None:
    said = {
        "event_id": "e1",
        "recommendation_id": "r1",
        "query": "خاتم",
        "session_id": "s",
        "quantity": 2,
        "price": 9.5,
    }
    answer = await system.post("/interactions", view("p1", buyer_id="ليلى", **said))
    assert answer.status_code == 200, answer.text
    rows = [view("p2", buyer_id="a"), view("p3", session_id="g")]
    assert (await system.post("/interactions", {"interactions": rows})).json()["stored"] == 2
    assert [tuple(one) for one in logged(raw, "interactions")] == [
        ("e1", "ليلى", "s", "p1", "View", MS, "r1", "خاتم", 2, 9.5),
        (event_id_of("a", "p2", "View", MS), "a", None, "p2", "View", MS, None, None, None, None),
        (event_id_of("guest:g", "p3", "View", MS), None, "g", "p3", "View", MS, None, None, None, None),
    ]


async def test_the_same_interaction_has_the_same_event_id(system: Stack, raw: Any) -> None:
    for _ in range(2):
        assert (await system.post("/interactions", view("p1", buyer_id="twice"))).json()["stored"] == 1
    one, other = logged(raw, "interactions")
    assert one == other
    assert raw.zcard(key_of("twice")) == 1


async def test_what_is_encoded_is_logged_as_it_was_sent_on(system: Stack, raw: Any) -> None:
    rows = [view("p2"), view("p1"), view("p1")]
    assert (await system.post("/encode_buyer", {"buyer_id": "e", "recent_interactions": rows})).status_code == 200
    ((_, fields),) = raw.xrange(STREAM)
    assert fields == {b"encoded": f"e\x1ep1\0View\0{MS}\x1ep2\0View\0{MS}".encode()}


async def test_what_is_encoded_again_is_logged_once_by_one_gateway(system: Stack, raw: Any) -> None:
    for rows in ([view("p1")], [view("p1")], [view("p1"), view("p2")], [view("p2")]):
        body = {"buyer_id": "again", "recent_interactions": rows}
        assert (await system.post("/encode_buyer", body)).json()["stored"] == len(rows)
    values = [fields[b"encoded"] for _, fields in raw.xrange(STREAM)]
    assert values == [f"again\x1ep1\0View\0{MS}".encode(), f"again\x1ep2\0View\0{MS}".encode()]


async def test_a_redis_that_was_killed_gets_what_is_encoded_again(tiny: Path) -> None:
    with RedisServer() as own:
        async with stack(tiny, own, event_log=True) as system:
            body = {"buyer_id": "again", "recent_interactions": [view("p1")]}
            assert (await system.post("/encode_buyer", body)).json()["stored"] == 1
            own.kill()
            own.start()

            async def is_logged() -> bool:
                await system.post("/encode_buyer", body)
                with Redis(port=own.port) as client:
                    return bool(client.xlen(STREAM))

            await until(is_logged)


async def test_a_call_that_meets_a_new_redis_halfway_hides_nothing_from_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.history.event_log._LOOK_SECONDS", 0.0)
    info = [b"redis_version:7\r\nrun_id:old"]

    class Server:
        async def ask(self, *_: object) -> tuple[int, bytes]:
            return 0, info[0]

    log = EventLog(cast(RedisHistory, SimpleNamespace(redis=Server())), 1 << 20, 1.0)
    await until(lambda: log._run_id == b"run_id:old")
    log.encoded("b", "p1").accepted()
    halfway = log.encoded("b", "p1")
    assert not halfway.commands
    info[0] = b"run_id:new"
    await until(lambda: log.encoded("b", "p1").commands)
    halfway.accepted()
    assert log.encoded("b", "p1").commands
    await log.close()


async def test_a_refused_interaction_is_not_logged(system: Stack, raw: Any) -> None:
    for body in (view("p1", buyer_id="b", event_type="Stare"), view("p1"), view("p1", buyer_id="guest:x")):
        assert (await system.post("/interactions", body)).status_code == 422
    raw.set(key_of("broken"), "of another kind")
    rows = [{"product_id": "nobody", "event_type": "View", "timestamp": TIME}]
    assert (await system.post("/encode_buyer", {"buyer_id": "b", "recent_interactions": rows})).status_code == 422
    assert raw.xlen(STREAM) == 0


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("quantity", 0, "must be at least 1"),
        ("quantity", 1.5, "must be a whole number"),
        ("quantity", "2", "must be a whole number"),
        ("price", -1, "must be at least 0"),
        ("price", "9", "must be a number"),
        ("event_id", "", "must not be empty"),
        ("session_id", "x" * 123, "is 123 bytes long, the limit is 122"),
        ("session_id", None, "must be a string"),
        ("recommendation_id", "a\nb", "control characters"),
        ("query", "x" * 501, "the limit is 500"),
    ],
)
async def test_a_field_that_cannot_be_used_is_named(system: Stack, field: str, value: Any, problem: str) -> None:
    answer = await system.post("/interactions", view("p1", buyer_id="b", **{field: value}))
    assert answer.status_code == 422
    assert answer.json()["field"] == field
    assert problem in answer.json()["problem"]


async def test_every_served_list_is_logged_with_what_it_answers(system: Stack, raw: Any) -> None:
    await system.post("/interactions", view("p1", buyer_id="l"))
    asked: list[tuple[str, dict[str, Any]]] = [
        ("/retrieve", {"buyer_id": "l", "session_id": "s1", "slot": "home", "k": 3}),
        ("/similar", {"product_id": "p2", "k": 2}),
        ("/search", {"q": "خاتم", "session_id": "s2", "k": 2}),
        ("/popular", {"k": 4, "slot": "top"}),
    ]
    answers = [await system.answer(path, **query) for path, query in asked]
    rows = await until(lambda: logged(raw, "lists"), lambda found: len(found) == 4)
    slots = ["home", "product", "search", "top"]
    assert [row.slot for row in rows] == slots
    for (path, query), answer, row in zip(asked, answers, rows, strict=True):
        assert (row.route, row.session_id) == (path, query.get("session_id"))
        assert (row.buyer_id, row.query, row.product_id) == (
            query.get("buyer_id"),
            query.get("q"),
            query.get("product_id"),
        )
        assert row.recommendation_id == answer["recommendation_id"] == answer["request_id"]
        assert (row.model_version, row.source) == (answer["model_version"], answer["source"])
        assert row.product_ids.split("\n") == answer["product_ids"]


async def test_a_dismissed_product_is_in_no_list_of_the_buyer_from_then_on(system: Stack, raw: Any) -> None:
    given = [view("p1", buyer_id="d"), view("p1", buyer_id="other")]
    await system.post("/interactions", {"interactions": given})
    before = await system.answer("/retrieve", buyer_id="d", k=3)
    first = before["product_ids"][0]
    answer = await system.post("/interactions", view(first, buyer_id="d", event_type="Dismiss"))
    assert answer.json()["stored"] == 1
    after = await system.answer("/retrieve", buyer_id="d", k=3)
    # the dismissal is no part of what the vector is made of: the others move up
    assert after["product_ids"][:2] == before["product_ids"][1:]
    assert after["source"] == "model"
    assert first in (await system.answer("/retrieve", buyer_id="other", k=3))["product_ids"]
    # of a buyer without a history, too
    top = (await system.answer("/popular", k=1))["product_ids"][0]
    await system.post("/interactions", view(top, buyer_id="new", event_type="Dismiss"))
    popular = await system.answer("/retrieve", buyer_id="new", k=40)
    assert popular["source"] == "popular" and top not in popular["product_ids"]
    assert [one.event_type for one in logged(raw, "interactions")] == ["View", "View", "Dismiss", "Dismiss"]


async def test_a_guest_has_a_history_and_takes_it_along(system: Stack, raw: Any) -> None:
    await system.post("/interactions", {"interactions": [view("p1", session_id="m"), view("p2", session_id="m")]})
    await system.post("/interactions", view("p3", session_id="m", event_type="Dismiss"))
    assert (await system.answer("/retrieve", session_id="m"))["source"] == "model"
    assert (await system.answer("/retrieve", buyer_id="m"))["source"] == "popular"
    merged = await system.post("/buyers/mona/merge", {"session_id": "m"})
    assert (merged.status_code, merged.json()["merged"]) == (200, 3)
    guest = await system.answer("/retrieve", session_id="m", k=40)
    assert guest["source"] == "popular" and "p3" in guest["product_ids"]
    mona = await system.answer("/retrieve", buyer_id="mona", k=40)
    assert mona["source"] == "model" and "p3" not in mona["product_ids"]
    # once: the same again moves nothing, another buyer is refused
    assert (await system.post("/buyers/mona/merge", {"session_id": "m"})).json()["merged"] == 0
    other = await system.post("/buyers/rana/merge", {"session_id": "m"})
    assert (other.status_code, other.json()["title"]) == (409, "Conflict")
    assert [(one.session_id, one.buyer_id) for one in logged(raw, "merges")] == [("m", "mona")] * 2
    refused = await system.post("/buyers/guest:x/merge", {"session_id": "m"})
    assert (refused.status_code, refused.json()["field"]) == (422, "buyer_id")


async def test_a_buyer_who_is_forgotten_leaves_no_dismissal(system: Stack, raw: Any) -> None:
    await system.post("/interactions", view("p1", buyer_id="gone", event_type="Dismiss"))
    assert (await system.client.delete("/buyers/gone")).json()["removed"] is True
    assert not [key for key in raw.scan_iter() if b"gone" in key]


async def test_a_full_log_drops_lists_first_and_then_refuses_interactions(tiny: Path, server: RedisServer) -> None:
    raw = Redis(port=server.port)
    raw.delete(STREAM)
    async with stack(tiny, server, event_log=True, event_log_max_mb=1) as system:
        raw.xadd(STREAM, {"lists": b"x" * 600_000})
        await until(lambda: ready(system), lambda found: "event log" in str(found["degraded"]))
        await system.answer("/popular")
        await asyncio.sleep(0.2)
        assert raw.xlen(STREAM) == 1
        assert (await system.post("/interactions", view("p1", buyer_id="f"))).status_code == 200
        raw.xadd(STREAM, {"lists": b"x" * 600_000})
        full = await until(lambda: system.post("/interactions", view("p2", buyer_id="f")), lambda one: one.is_error)
        assert (full.status_code, full.json()["detail"]) == (
            503,
            "the event log is full: the recorder has been away for too long",
        )
        assert raw.zcount(key_of("f"), MS, MS) >= 1
        rows = [view("p4")]
        encoded = await system.post("/encode_buyer", {"buyer_id": "f", "recent_interactions": rows})
        assert encoded.json()["stored"] == 0 and "the event log is full" in encoded.json()["warnings"][0]
        # lists are served all the same
        assert (await system.answer("/retrieve", buyer_id="f"))["source"] == "model"
        raw.delete(STREAM)
        await until(lambda: system.post("/interactions", view("p3", buyer_id="f")), lambda one: not one.is_error)
    raw.close()


async def test_a_share_of_none_logs_no_list(tiny: Path, server: RedisServer, raw: Any) -> None:
    async with stack(tiny, server, event_log=True, event_log_lists=0) as system:
        await system.answer("/popular")
        await system.post("/interactions", view("p1", buyer_id="on"))
    assert (len(logged(raw, "lists")), len(logged(raw, "interactions"))) == (0, 1)


async def test_a_gateway_that_logs_nothing_writes_no_stream(tiny: Path, server: RedisServer, raw: Any) -> None:
    async with stack(tiny, server) as system:
        await system.post("/interactions", view("p1", buyer_id="off"))
        await system.answer("/popular")
    assert raw.xlen(STREAM) == 0


async def ready(system: Stack) -> dict[str, Any]:
    found: dict[str, Any] = (await system.get("/readyz")).json()
    return found
