"""Histories in a real Redis: merged, capped, in order, never lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import metrics
from gateway.clients.batching import Limits
from gateway.clients.deadline import Deadline
from gateway.history.breaker import Breaker
from gateway.history.clock import SharedClock
from gateway.history.codec import (
    LOADED,
    PROBE_KEYS,
    Addition,
    apart_key_of,
    dismissed_key_of,
    key_of,
    written_key_of,
)
from gateway.history.connect import connect_redis
from gateway.history.redis_client import RedisClient
from gateway.history.redis_history import RedisHistory
from gateway.history.store import HistoryStore
from gateway.settings import GatewaySettings
from tests.helpers.histories import unpack_history
from tests.helpers.redis_server import RedisServer
from twotower.errors import InvalidInput, Unavailable
from twotower.events import Interaction, check_id
from twotower.history import latest
from twotower.serving import wire

pytestmark = pytest.mark.asyncio(loop_scope="module")


def connect(server: RedisServer, size: int = 50) -> RedisHistory:
    pipelines = connect_redis(GatewaySettings(redis_url=server.url))
    return RedisHistory(RedisClient(pipelines, Breaker("Redis", 0.05)), size, SharedClock())


@pytest_asyncio.fixture(loop_scope="module")
async def history(server: RedisServer, raw: Any) -> AsyncIterator[RedisHistory]:
    opened = connect(server)
    yield opened
    await opened.close()


async def read(history: RedisHistory, buyers: Sequence[str]) -> list[list[Interaction]]:
    found = await history.read(buyers)
    assert not [one for one in found if isinstance(one, Exception)]
    return [unpack_history(str(one)) for one in found]


def events(*times: int) -> list[Interaction]:
    return [Interaction(f"p{time}", "View", time) for time in times]


async def test_what_is_added_is_read_oldest_first(history: RedisHistory) -> None:
    given = [Interaction("خاتم ذهب", "Purchase", 3), Interaction("a", "View", 1), Interaction("b", "AddToCart", 2)]
    assert await history.add([Addition("مشترٍ", given)]) == [3]
    assert await read(history, ["مشترٍ", "nobody"]) == [[given[1], given[2], given[0]], []]


async def test_a_repeated_event_changes_nothing_and_another_time_is_another_event(history: RedisHistory) -> None:
    one = Interaction("p", "View", 1000)
    for _ in range(3):
        assert await history.add([Addition("b", [one, one])]) == [1]
    assert await read(history, ["b"]) == [[one]]
    others = [one._replace(timestamp_ms=2000), one._replace(event_type="Purchase"), one._replace(product_id="q")]
    await history.add([Addition("b", others)])
    assert len((await read(history, ["b"]))[0]) == 4


async def test_only_the_newest_are_kept_whatever_the_order_of_writing(server: RedisServer, raw: Any) -> None:
    history = connect(server, size=5)
    times = list(range(1, 21))
    random.Random(7).shuffle(times)
    for time in times:
        await history.add([Addition("b", events(time))])
    assert await read(history, ["b"]) == [events(16, 17, 18, 19, 20)]
    assert raw.zcard(key_of("b")) == 5
    # older ones than all that is kept do not displace any
    await history.add([Addition("b", events(1, 2, 3))])
    assert await read(history, ["b"]) == [events(16, 17, 18, 19, 20)]
    await history.close()


async def test_what_is_older_than_all_that_is_kept_is_not_counted(server: RedisServer, raw: Any) -> None:
    history = connect(server, size=5)
    assert await history.add([Addition("b", events(11, 12, 13, 14, 15))]) == [5]
    assert await history.add([Addition("b", events(1)), Addition("c", events(1))]) == [0, 1]
    # 9 and 10 fall out again, 12 is there already, 16 is new and 11 makes room for it
    assert await history.add([Addition("b", events(9, 10, 12, 16))]) == [2]
    assert await read(history, ["b"]) == [events(12, 13, 14, 15, 16)]
    # of the same time, the order of Redis decides: by product
    both = [Interaction("a", "View", 12), Interaction("z", "View", 12)]
    assert await history.add([Addition("b", both)]) == [1]
    await history.close()


async def test_cap_and_time_of_writing_come_in_one_transaction(server: RedisServer, raw: Any) -> None:
    history = connect(server)
    raw.set(LOADED, "{}")
    await history.ping()
    with raw.monitor() as monitor:
        seen: list[str] = []
        await history.add([Addition("b", events(1))])
        for command in monitor.listen():
            seen.append(command["command"].split(" ")[0])
            if seen[-1] == "EXEC":
                break
    assert seen[-6:] == ["MULTI", "ZADD", "ZADD", "ZREMRANGEBYRANK", "ZRANGE", "EXEC"]
    await history.close()


async def test_many_histories_are_read_in_one_round_trip_and_in_order(history: RedisHistory) -> None:
    await history.add([Addition(f"b{number}", events(number + 1)) for number in range(50)])
    names = [f"b{number}" for number in range(49, -1, -1)]
    assert await read(history, names) == [events(number + 1) for number in range(49, -1, -1)]


async def test_two_gateways_never_lose_each_others_writes(server: RedisServer, raw: Any) -> None:
    one, two = connect(server, size=200), connect(server, size=200)
    buyers = ["x", "y"]
    writes = [
        gateway.add([Addition(buyer, events(100 * place + number + 1))])
        for number in range(50)
        for place, gateway in enumerate((one, two))
        for buyer in buyers
    ]
    for start in range(0, len(writes), 20):
        await asyncio.gather(*writes[start : start + 20])
    wanted = events(*range(1, 51), *range(101, 151))
    assert await read(one, buyers) == await read(two, buyers) == [wanted, wanted]
    await one.close()
    await two.close()


async def test_unreadable_values_are_counted_and_skipped(history: RedisHistory, raw: Any) -> None:
    good = Interaction("p", "View", 5)
    await history.add([Addition("b", [good])])
    for member in (b"", b"p\0View", b"p\0View\0soon", b"\xff\0View\x001", b"p\0V\x001\x002"):
        raw.zadd(key_of("b"), {member: 1})
    raw.set(key_of("c"), "of another kind")
    before = metrics.UNREADABLE_VALUES._value.get()
    assert await read(history, ["b", "c", "b"]) == [[good], [], [good]]
    assert metrics.UNREADABLE_VALUES._value.get() == before + 11


async def test_a_refused_read_is_no_empty_history(
    history: RedisHistory, raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await history.add([Addition("mine", events(1)), Addition("theirs", events(2))])
    before = metrics.REDIS_FAILURES._value.get()
    # whoever asks may read one key and not the other
    mine_alone = [f"~{name}" for name in (key_of("mine"), apart_key_of("mine"), dismissed_key_of("mine"), LOADED)]
    raw.execute_command("ACL", "SETUSER", "default", "resetkeys", *mine_alone)
    try:
        mine, theirs = await history.read(["mine", "theirs"])
    finally:
        raw.execute_command("ACL", "SETUSER", "default", "allkeys")
    assert mine == wire.pack_history(events(1))
    assert isinstance(theirs, Unavailable)
    assert str(theirs) == "Redis' access rules (ACL) do not allow a command or a key that histories need"
    assert metrics.REDIS_FAILURES._value.get() == before + 3
    assert "Redis refused 3 of 6 reads" in caplog.text
    assert await read(history, ["mine", "theirs"]) == [events(1), events(2)]


async def test_a_key_that_cannot_be_written_fails_its_own_buyer_alone(history: RedisHistory, raw: Any) -> None:
    raw.set(key_of("bad"), "of another kind")
    added = await history.add([Addition("good", events(1)), Addition("bad", events(1)), Addition("fine", events(2))])
    assert (added[0], added[2]) == (1, 1)
    assert isinstance(added[1], Unavailable)
    assert await read(history, ["good", "fine"]) == [events(1), events(2)]


async def test_a_write_that_redis_has_no_memory_for_is_refused_as_a_whole(
    history: RedisHistory, raw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await history.add([Addition("a", events(1))])
    raw.config_set("maxmemory", 1)
    try:
        with pytest.raises(Unavailable, match="Redis is full: it stores nothing until it gets more memory"):
            await history.add([Addition("a", events(2)), Addition("b", events(3))])
    finally:
        raw.config_set("maxmemory", 0)
    # of the errors of one transaction, the one that tells why
    assert "used memory" in caplog.text
    assert await read(history, ["a", "b"]) == [events(1), []]
    assert await history.add([Addition("a", events(2)), Addition("b", events(3))]) == [1, 1]


async def test_asking_whether_redis_writes_leaves_one_key_of_no_buyers_for_a_minute(
    history: RedisHistory, raw: Any
) -> None:
    raw.set(LOADED, "{}")
    for _ in range(3):
        await history.ping()
    assert sorted(raw.keys()) == [PROBE_KEYS[0].encode(), LOADED.encode()]
    assert 0 < raw.ttl(PROBE_KEYS[0]) <= 60
    with pytest.raises(InvalidInput):
        check_id("\0ready", "buyer_id")


async def test_a_cancelled_read_leaves_no_half_read_reply_behind(server: RedisServer, raw: Any) -> None:
    # one connection: a reply that is left on it would be the next caller's answer
    pipelines = connect_redis(GatewaySettings(redis_url=server.url, redis_connections=1))
    history = RedisHistory(RedisClient(pipelines, Breaker("Redis", 0.05)), 50, SharedClock())
    await history.add([Addition("a", events(1)), Addition("b", events(2))])
    for steps in range(12):
        task = asyncio.create_task(history.read(["a"]))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await read(history, ["b"]) == [events(2)]
    await history.close()


async def test_requests_share_pipelines_and_get_their_own_answers(server: RedisServer, raw: Any) -> None:
    raw.config_resetstat()
    store = HistoryStore(connect(server), Limits(in_flight=1))
    later = Deadline.after(60)
    writes = [store.add([Addition(f"b{number}", events(number + 1))], later) for number in range(30)]
    assert await asyncio.gather(*writes) == [1] * 30
    reads = [store.read(f"b{number}", later) for number in range(30)]
    assert await asyncio.gather(*reads) == [wire.pack_history(events(number + 1)) for number in range(30)]
    assert raw.info("commandstats")["cmdstat_multi"]["calls"] <= 3
    await store.close()


async def test_without_redis_every_call_says_so_and_most_at_once(server: RedisServer) -> None:
    with RedisServer() as other:
        pipelines = connect_redis(GatewaySettings(redis_url=other.url))
        history = RedisHistory(RedisClient(pipelines, breaker := Breaker("Redis", 3600)), 50, SharedClock())
        await history.add([Addition("b", events(1))])
        other.kill()
        with pytest.raises(Unavailable, match="Redis does not answer"):
            await history.read(["b"])
        with pytest.raises(Unavailable, match="Redis is down"):
            await history.read(["b"])
        assert breaker.is_open
        other.start()
        with pytest.raises(Unavailable, match="it has lost its data"):
            await history.ping()
        assert not breaker.is_open
        assert await read(history, ["b"]) == [[]]
        await history.close()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_an_open_breaker_lets_one_call_try_at_a_time() -> None:
    clock = Clock()
    breaker = Breaker("it", 1.0, clock)
    breaker.check()
    breaker.failed("why")
    for moment in (0.0, 0.5, 0.99):
        clock.now = moment
        with pytest.raises(Unavailable):
            breaker.check()
    clock.now = 1.0
    breaker.check()
    with pytest.raises(Unavailable):
        breaker.check()
    breaker.succeeded()
    breaker.check()
    assert not breaker.is_open


IDS = st.text(
    st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=["Cs"]), min_size=1, max_size=6
)


EVENTS = st.builds(
    Interaction,
    st.one_of(st.sampled_from(["p", "p1", "p10", "p!", "پ", "￿", "𐀀"]), IDS),
    st.sampled_from(["View", "AddToCart", "Purchase"]),
    st.one_of(st.integers(0, 3), st.integers(0, 4_102_444_800_000)),
)


WRITES = st.lists(st.tuples(st.sampled_from(["a", "b"]), st.lists(EVENTS, min_size=1, max_size=8)), max_size=6)


async def apply(server: RedisServer, size: int, writes: list[tuple[str, list[Interaction]]]) -> list[list[Interaction]]:
    history = connect(server, size)
    try:
        for buyer, given in writes:
            await history.add([Addition(buyer, given)])
        return await read(history, ["a", "b"])
    finally:
        await history.close()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writes=WRITES, size=st.integers(1, 6))
def test_redis_holds_what_a_plain_set_would(
    server: RedisServer, raw: Any, writes: list[tuple[str, list[Interaction]]], size: int
) -> None:
    raw.flushall()
    model: dict[str, set[Interaction]] = {"a": set(), "b": set()}
    for buyer, given_events in writes:
        model[buyer] |= set(given_events)
    found = asyncio.run(apply(server, size, writes))
    assert found == [latest(list(model[buyer]), size) for buyer in ("a", "b")]


async def test_what_is_kept_apart_is_read_but_displaces_nothing(history: RedisHistory, raw: Any) -> None:
    known = events(*range(1, 51))
    apart = [Interaction(f"new-{time}", "View", time) for time in range(100, 160)]
    assert await history.add([Addition("a", known, apart[:1])]) == [51]
    assert await read(history, ["a"]) == [[*known, apart[0]]]
    assert await history.add([Addition("a", [], apart)]) == [50]
    # whoever encodes a history skips the products that its version does not know, before it cuts the history
    assert await read(history, ["a"]) == [[*known, *apart[-50:]]]
    assert await history.remove(["a", "nobody"]) == 1
    assert raw.keys(b"*a") == [] and raw.zscore(written_key_of("a"), "a") is None
