"""The log in Kafka: the recorder on aiokafka's own types, and the whole way through a broker of librdkafka."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaConnectionError
from redis import Redis

from gateway.history.kafka_log import connect_kafka as connect_writer
from recorder.__main__ import open_source
from recorder.drain import Recorder
from recorder.files import LogFolder
from recorder.kafka_source import KafkaTopic, connect_kafka
from recorder.settings import RecorderSettings
from recorder.source import connect_redis
from tests.helpers.certificates import write_identity
from tests.helpers.event_log import rows
from tests.helpers.kafka_server import Account, kafka_broker, kafka_listener
from tests.helpers.redis_server import RedisServer
from tests.helpers.stack import stack
from twotower.errors import Unavailable
from twotower.event_log import STREAM
from twotower.serving.kafka import KafkaSettings

EVENT = {"product_id": "p1", "event_type": "View", "timestamp": "2025-01-01T12:00:00Z"}
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


async def test_what_gateways_write_to_kafka_is_recorded(tiny: Path, tmp_path: Path) -> None:
    with kafka_broker() as broker, RedisServer() as redis:
        async with stack(tiny, redis, event_log=True, kafka=broker) as system:
            events = [{**EVENT, "buyer_id": f"b{number}", "event_id": f"e{number}"} for number in range(20)]
            answer = await system.post("/interactions", {"interactions": events})
            assert answer.json()["stored"] == 20, answer.text
        with Redis(port=redis.port) as raw:
            assert raw.exists(STREAM) == 0
        settings = RecorderSettings(
            artifacts=tmp_path, redis_url=redis.url, kafka=broker, flush_seconds=0.001, ready_file=tmp_path / "ready"
        )
        source = open_source(settings, connect_redis(redis.url, 5.0))
        recorder = Recorder(source, LogFolder(settings.layout.log), settings)
        await asyncio.to_thread(_until, lambda: recorder.step() or rows(settings.layout.log, "interactions"))
        recorder.step()
        assert source.waiting() == 0
        source.close()
    found = rows(settings.layout.log, "interactions")
    assert sorted(row["event_id"] for row in found) == sorted(f"e{number}" for number in range(20))


def test_what_is_not_confirmed_is_given_to_the_next_recorder_once_the_last_has_left() -> None:
    with kafka_broker() as broker:
        settings = KafkaSettings(kafka=broker)
        asyncio.run(_write(settings, 3))
        first = connect_kafka(settings)
        entries = _until(lambda: first.take(10, 1.0))
        assert [one.fields["interactions"] for one in entries] == [b"[0]", b"[1]", b"[2]"]
        assert first.waiting() == 3
        first.confirm(entries[:1])
        assert first.waiting() == 2
        first.close()
        second = connect_kafka(settings)
        assert _until(lambda: second.take(10, 1.0)) == entries[1:]
        second.close()


def test_tls_and_a_password_let_in_who_has_both(tmp_path: Path) -> None:
    authority = trustme.CA()
    brokers = write_identity(tmp_path / "brokers", authority)
    shop = write_identity(tmp_path / "shop", authority, "shop")
    account = Account("shop", "p:w")
    with kafka_broker() as broker, kafka_listener(broker, brokers, account, client_certificate=True) as it:
        settings = KafkaSettings(
            kafka=it,
            kafka_security="SASL_SSL",
            kafka_sasl_mechanism="PLAIN",
            kafka_username="shop",
            kafka_password="p:w",
            kafka_tls=shop,
            kafka_timeout_seconds=20,
        )
        asyncio.run(_write(settings, 2))
        source = connect_kafka(settings)
        assert len(_until(lambda: source.take(10, 1.0))) == 2
        source.close()
        stranger = write_identity(tmp_path / "stranger", trustme.CA(), "shop", trusted=authority)
        fooled = write_identity(tmp_path / "fooled", authority, "shop", trusted=trustme.CA())
        (nameless := tmp_path / "nameless").mkdir()
        (nameless / "ca.crt").write_bytes((shop / "ca.crt").read_bytes())
        wrong = [{"kafka_password": "other"}, *({"kafka_tls": one} for one in (stranger, fooled, nameless))]
        for change in wrong:
            with pytest.raises(Unavailable, match="Kafka: "):
                asyncio.run(_write(settings.model_copy(update=change), 1))


async def _write(settings: KafkaSettings, count: int) -> None:
    writer = connect_writer(settings)
    try:
        await writer.write([("XADD", "", "*", "interactions", f"[{one}]") for one in range(count)])
    finally:
        await writer.close()


def _until(take: Callable[[], list[Any]]) -> list[Any]:
    for _ in range(20):
        if found := take():
            return found
    raise AssertionError("Kafka gives no entry")
