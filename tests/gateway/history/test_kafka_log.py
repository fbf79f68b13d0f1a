"""The gateway's side of Kafka: acknowledged after Kafka has the entries, refused if it has not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiokafka.errors import NotEnoughReplicasError

from gateway.history.kafka_log import KafkaLog
from tests.helpers.services import until
from twotower.errors import Unavailable

COMMANDS = [("XADD", "log", "*", "interactions", b"[1]"), ("XADD", "log", "*", "encoded", "b1 x")]


class Producer:
    """Notes what is sent; a record is acknowledged when `acknowledge` says so, as AIOKafkaProducer's futures are."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.sent: list[tuple[str, bytes, bytes]] = []
        self.waiting: list[asyncio.Future[None]] = []
        self.failure = failure

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    async def send(self, topic: str, *, key: bytes, value: bytes) -> Any:
        self.sent.append((topic, key, value))
        self.waiting.append(asyncio.get_running_loop().create_future())
        return self.waiting[-1]

    def acknowledge(self) -> None:
        for one in self.waiting:
            one.set_exception(self.failure) if self.failure else one.set_result(None)


async def test_write_returns_after_every_entry_is_acknowledged() -> None:
    producer = Producer()
    writing = asyncio.create_task(KafkaLog(lambda: producer, "log", 20.0).write(COMMANDS))
    await until(lambda: len(producer.waiting), lambda count: count == 2)
    assert not writing.done()
    producer.acknowledge()
    await writing
    assert producer.sent == [("log", b"interactions", b"[1]"), ("log", b"encoded", b"b1 x")]


async def test_what_kafka_refuses_is_unavailable() -> None:
    producer = Producer(NotEnoughReplicasError())
    writing = asyncio.create_task(KafkaLog(lambda: producer, "log", 20.0).write(COMMANDS))
    await until(lambda: len(producer.waiting), lambda count: count == 2)
    producer.acknowledge()
    with pytest.raises(Unavailable, match="NotEnoughReplicas"):
        await writing


async def test_kafka_that_does_not_answer_in_time_is_unavailable() -> None:
    with pytest.raises(Unavailable, match="TimeoutError"):
        await KafkaLog(Producer, "log", 0.01).write(COMMANDS)
