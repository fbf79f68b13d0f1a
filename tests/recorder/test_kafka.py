"""The recorder's side of Kafka, on aiokafka's own types; the whole way only where KAFKA_BROKER names a broker."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError

from gateway.history.kafka_log import connect_kafka as connect_writer
from recorder.kafka_source import KafkaTopic, connect_kafka
from twotower.errors import Unavailable

ONE, TWO = TopicPartition("log", 0), TopicPartition("log", 1)


def record(partition: TopicPartition, offset: int) -> Any:
    value = f"{partition.partition}/{offset}".encode()
    return ConsumerRecord("log", partition.partition, offset, 1000 + offset, 0, b"interactions", value, None, 1, 1, ())


class Consumer:
    """Hands out records and notes commits, as AIOKafkaConsumer does."""

    def __init__(self) -> None:
        self.given = {ONE: [record(ONE, 4), record(ONE, 5)], TWO: [record(TWO, 9)]}
        self.mine = {ONE, TWO}
        self.commits: list[dict[TopicPartition, int]] = []
        self.failure: Exception | None = None

    async def start(self) -> None:
        if self.failure:
            raise self.failure

    async def stop(self) -> None:
        pass

    async def getmany(self, *, timeout_ms: int, max_records: int) -> dict[TopicPartition, list[Any]]:
        given, self.given = self.given, {}
        return given

    def assignment(self) -> set[TopicPartition]:
        return self.mine

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        self.commits.append(offsets)


def topic(consumer: Consumer) -> KafkaTopic:
    return KafkaTopic(lambda: consumer, "log", 20.0)


def test_entries_keep_the_order_of_a_partition_and_nothing_is_committed_before_they_are_confirmed() -> None:
    consumer = Consumer()
    source = topic(consumer)
    entries = source.take(10, 0.01)
    assert [one.place for one in entries] == ["0-4", "0-5", "1-9"]
    assert entries[0].written_ms == 1004 and entries[0].fields == {"interactions": b"0/4"}
    assert consumer.commits == []
    source.confirm(entries)
    assert consumer.commits == [{ONE: 6, TWO: 10}]


def test_a_partition_that_another_recorder_has_now_is_not_committed() -> None:
    consumer = Consumer()
    source = topic(consumer)
    entries = source.take(10, 0.01)
    consumer.mine = {ONE}
    source.confirm(entries)
    assert consumer.commits == [{ONE: 6}]
    consumer.mine = set()
    source.confirm(entries)
    assert len(consumer.commits) == 1


def test_a_broker_that_is_away_is_unavailable_and_tried_again() -> None:
    consumer = Consumer()
    source = topic(consumer)
    consumer.failure = KafkaConnectionError("no broker")
    with pytest.raises(Unavailable, match="Kafka: KafkaConnectionError"):
        source.take(10, 0.01)
    consumer.failure = None
    assert len(source.take(10, 0.01)) == 3


@pytest.mark.skipif("KAFKA_BROKER" not in os.environ, reason="KAFKA_BROKER names no Kafka broker")
def test_what_the_gateway_writes_is_given_until_it_is_confirmed() -> None:
    servers, name = os.environ["KAFKA_BROKER"], f"twotower-test-{uuid.uuid4().hex}"

    async def write() -> None:
        writer = connect_writer(servers, name, 30.0)
        await writer.write([("XADD", "", "*", "interactions", f"[{one}]") for one in range(3)])
        await writer.close()

    asyncio.run(write())
    first = _until(lambda: connect_kafka(servers, name, 30.0).take(10, 5.0))
    assert [one.fields["interactions"] for one in first] == [b"[0]", b"[1]", b"[2]"]


def _until(take: Callable[[], list[Any]]) -> list[Any]:
    for _ in range(5):
        if found := take():
            return found
    raise AssertionError("Kafka gives no entry")
