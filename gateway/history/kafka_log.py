"""Writes the event log's entries to a Kafka topic, for a shop that runs Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from gateway.history.connection import Command
from twotower.errors import SettingsError, Unavailable
from twotower.serving.kafka import KafkaSettings


class KafkaLog:
    """Takes the same commands as the stream: each becomes a record, its field the key. Connects on first use."""

    def __init__(self, make: Callable[[], Any], topic: str, timeout_seconds: float) -> None:
        """`make` creates an AIOKafkaProducer that waits for all replicas."""
        self._make, self._topic, self._timeout = make, topic, timeout_seconds
        self._producer: Any = None
        self._starting = asyncio.Lock()

    async def write(self, commands: Sequence[Command]) -> None:
        """Returns once Kafka has all entries. Raises Unavailable; then it may have some of them."""
        from aiokafka.errors import KafkaError

        try:
            async with asyncio.timeout(self._timeout):
                producer = await self._started()
                sent = [await producer.send(self._topic, key=_bytes(one[3]), value=_bytes(one[4])) for one in commands]
                await asyncio.gather(*sent)
        except (KafkaError, TimeoutError) as error:
            raise Unavailable(f"Kafka: {error!r}") from None

    async def close(self) -> None:
        if self._producer is not None:
            await self._producer.stop()

    async def _started(self) -> Any:
        async with self._starting:
            if self._producer is None:
                producer = self._make()
                try:
                    await producer.start()
                except BaseException:
                    await producer.stop()
                    raise
                self._producer = producer
            return self._producer


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def connect_kafka(settings: KafkaSettings) -> KafkaLog:
    """The topic in the Kafka of the settings. Raises SettingsError without aiokafka."""
    try:
        from aiokafka import AIOKafkaProducer
    except ImportError:
        raise SettingsError("TWOTOWER_KAFKA needs aiokafka: pip install 'twotower[kafka]'") from None
    options = settings.kafka_options()

    def make() -> Any:
        return AIOKafkaProducer(acks="all", enable_idempotence=True, linger_ms=2, **options)

    return KafkaLog(make, settings.kafka_topic, settings.kafka_timeout_seconds)
