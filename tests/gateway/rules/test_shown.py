"""What a buyer was shown, kept in Redis: newest lists first, at most 500 products, cut when it is long."""

from __future__ import annotations

from redis import Redis

from gateway.clients.batching import Limits
from gateway.clients.deadline import Deadline
from gateway.history.breaker import Breaker
from gateway.history.codec import shown_key_of
from gateway.history.connect import connect_redis
from gateway.history.redis_client import RedisClient
from gateway.rules import shown
from gateway.rules.shown import ShownProducts, pack_shown, unpack_shown
from gateway.settings import GatewaySettings
from tests.helpers.redis_server import RedisServer


def names(start: int, stop: int) -> list[str]:
    return [f"منتج {one}" for one in range(start, stop)]


def test_the_newest_list_comes_first_and_each_counts_from_its_time() -> None:
    packed = (pack_shown(["a", "b"], 1000) + pack_shown(["b", "c"], 2000)).encode()
    assert packed == b"\0\x001000\0a\0b\0\x002000\0b\0c"
    found = unpack_shown(packed)
    assert found == ([["b", "c"], ["a", "b"]], [2000, 1000])
    assert (found.since(1000), found.since(1001), found.since(2001)) == ({"a", "b", "c"}, {"b", "c"}, set())
    assert unpack_shown(b"") == ([], [])


def test_wherever_the_text_is_cut_the_whole_entries_are_left() -> None:
    first, second = pack_shown(names(0, 3), 1).encode(), pack_shown(names(3, 5), 2).encode()
    for cut in range(1, len(first) + 1):
        assert unpack_shown((first + second)[cut:]) == ([names(3, 5)], [2])


def test_no_more_is_kept_than_500_products() -> None:
    packed = "".join(pack_shown(names(100 * one, 100 * (one + 1)), one) for one in range(8)).encode()
    assert unpack_shown(packed).times == [7, 6, 5, 4, 3]


async def test_a_long_text_is_cut_and_keeps_its_time_to_live(server: RedisServer) -> None:
    pipelines = connect_redis(GatewaySettings(redis_url=server.url))
    redis = RedisClient(pipelines, Breaker("Redis", 0.05))
    products = ShownProducts(redis, Limits())
    deadline = Deadline.after(20)
    long = [f"{one:0>120}" for one in range(100)]
    try:
        with Redis(port=server.port) as raw:
            most = 0
            for time in range(8):
                await products.add("owner", long, time, 1.0, deadline)
                most = max(most, raw.strlen(shown_key_of("owner")))
            # an entry has 12 KB: the sixth list is over the limit of 64 KiB
            assert most < shown._MOST_BYTES
            assert 3590 < raw.ttl(shown_key_of("owner")) <= 3600
        found = await products.read("owner", deadline)
        assert found == ([long], [7])
        assert await products.read("nobody", deadline) == ([], [])
    finally:
        await products.close()
        await redis.close()
