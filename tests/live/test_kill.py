"""Nothing acknowledged is lost: retrieval and Redis end by SIGKILL, one at a time, while products change."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.helpers.processes import is_log, process
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import cache_of, running, until
from tests.helpers.stack import gateway
from twotower.pb import retrieval_pb2, retrieval_pb2_grpc

pytestmark = pytest.mark.asyncio


async def held(address: str, ids: list[str]) -> list[float | None]:
    """The price of each product as a replica has it, None for one that it does not show."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = retrieval_pb2_grpc.RetrievalServiceStub(channel)
        found = (await stub.Lookup(retrieval_pb2.LookupRequest(product_ids=ids))).products
    return [one.price if one.found else None for one in found]


async def test_every_acknowledged_change_outlives_kills(tiny: Path) -> None:
    environ = {"TWOTOWER_ARTIFACTS": str(tiny), "TWOTOWER_CACHE": str(cache_of(tiny))}
    accepted = dict[str, float]()
    with RedisServer(options=["--appendonly", "yes", "--appendfsync", "always"]) as redis:
        redis.mark_loaded()
        environ["TWOTOWER_RETRIEVAL_CATALOGUE_URL"] = redis.url

        async def retrieval(started: Any) -> str:
            line = await asyncio.to_thread(started.wait_for, lambda line: is_log(line, "listening"))
            return f"127.0.0.1:{json.loads(line)['port']}"

        async with running("item", tiny) as item:
            with process("-m", "retrieval_service", environ=environ) as first:
                address = await retrieval(first)
                settings = {"item_address": item.address, "retrieval_address": address, "redis_url": redis.url}
                async with gateway(live_catalogue=True, redis_retry_seconds=0.05, **settings) as client:

                    async def change(number: int) -> None:
                        body = {"title": f"عقيق يماني {number}", "price": float(number)}
                        answer = await client.put(f"/products/k{number}", json=body)
                        if answer.status_code == 200:
                            accepted[f"k{number}"] = float(number)
                        else:
                            assert answer.status_code in (503, 504), answer.text

                    for number in range(60):
                        if number == 20:
                            first.popen.kill()
                        if number == 40:
                            redis.kill()
                        if number == 45:
                            redis.start()
                        await change(number)
                    assert (await client.delete("/products/p1")).status_code in (200, 503)
                    deleted = await until(lambda: client.delete("/products/p1"), lambda one: one.status_code == 200)
                    assert deleted.json()["sequence"] > 0
                    assert len(accepted) >= 50
                    with process("-m", "retrieval_service", environ=environ) as second:
                        again = await retrieval(second)
                        ids = [*accepted, "p1"]
                        # from its first answer on
                        assert await held(again, ids) == [*accepted.values(), None]
                        # and by vector, as soon as they are encoded
                        async with grpc.aio.insecure_channel(again) as channel:
                            stub = retrieval_pb2_grpc.RetrievalServiceStub(channel)
                            asked = retrieval_pb2.VectorsRequest(product_ids=list(accepted), unknown_only=True)

                            async def missing() -> list[str]:
                                return list((await stub.Vectors(asked)).unknown_product_ids)

                            await until(missing, lambda found: not found)
