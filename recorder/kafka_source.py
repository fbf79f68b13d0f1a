"""The log's entries from a Kafka topic, for a shop that runs Kafka: a consumer group, at least once.

Offsets are committed after the entries' files are durable. A recorder that ends before that, or loses a partition, is
given the same entries again: readers of the log count an event once by its id.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from recorder.source import Entry
from twotower.errors import SettingsError, Unavailable
from twotower.event_log import GROUP
from twotower.serving.kafka import KafkaSettings

Result = TypeVar("Result")


class KafkaTopic:
    """A `Source` over aiokafka, whose event loop runs in a thread of its own.

    The key of a record is the field of the entry, its value the field's content (see `twotower.event_log`).
    """

    def __init__(self, make: Callable[[], Any], topic: str, timeout_seconds: float) -> None:
        """`make` creates an AIOKafkaConsumer that commits nothing by itself, in the loop's thread."""
        self._make, self._topic, self._timeout = make, topic, timeout_seconds
        self._consumer: Any = None
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="kafka", daemon=True).start()

    def unconfirmed(self) -> list[Entry]:
        # Kafka begins at the last committed offset: what was not confirmed comes with `take`
        return []

    def take(self, count: int, wait_seconds: float) -> list[Entry]:
        found = self._run(self._take(count, wait_seconds), wait_seconds)
        return [_entry(record) for records in found.values() for record in records]

    def confirm(self, entries: Sequence[Entry]) -> None:
        if entries:
            self._run(self._confirm(entries))

    def waiting(self) -> int:
        return self._run(self._waiting())

    def close(self) -> None:
        """Leaves the group, so that its partitions go to another recorder at once, not after the session's timeout."""
        try:
            self._run(self._stop())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)

    async def _stop(self) -> None:
        if self._consumer is not None:
            await self._consumer.stop()

    async def _started(self) -> Any:
        if self._consumer is None:
            consumer = self._make()
            try:
                await consumer.start()
            except BaseException:
                await consumer.stop()
                raise
            self._consumer = consumer
        return self._consumer

    async def _take(self, count: int, wait_seconds: float) -> Mapping[Any, Sequence[Any]]:
        consumer = await self._started()
        found: Mapping[Any, Sequence[Any]] = await consumer.getmany(
            timeout_ms=round(wait_seconds * 1000), max_records=count
        )
        return found

    async def _confirm(self, entries: Sequence[Entry]) -> None:
        from aiokafka import TopicPartition

        consumer, next_of = await self._started(), dict[Any, int]()
        for entry in entries:
            number, _, offset = entry.place.partition("-")
            partition = TopicPartition(self._topic, int(number))
            next_of[partition] = max(next_of.get(partition, 0), int(offset) + 1)
        # a partition that was given to another recorder meanwhile is for that one to confirm
        mine = consumer.assignment()
        if kept := {partition: offset for partition, offset in next_of.items() if partition in mine}:
            await consumer.commit(kept)

    async def _waiting(self) -> int:
        consumer = await self._started()
        partitions = list(consumer.assignment())
        ends = await consumer.end_offsets(partitions)
        begins = await consumer.beginning_offsets(partitions)
        committed = [await consumer.committed(one) for one in partitions]
        return sum(
            ends[one] - (begins[one] if done is None else done) for one, done in zip(partitions, committed, strict=True)
        )

    def _run(self, work: Coroutine[Any, Any, Result], more_seconds: float = 0.0) -> Result:
        from aiokafka.errors import KafkaError

        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(self._timeout + more_seconds)
        except TimeoutError:
            future.cancel()
            raise Unavailable(f"Kafka: no answer within {self._timeout:g} s") from None
        except KafkaError as error:
            raise Unavailable(f"Kafka: {error!r}") from None


def connect_kafka(settings: KafkaSettings) -> KafkaTopic:
    """The topic in the Kafka of the settings; connects on first use. Raises SettingsError without aiokafka."""
    try:
        from aiokafka import AIOKafkaConsumer
    except ImportError:
        raise SettingsError("TWOTOWER_KAFKA needs aiokafka: pip install 'twotower[kafka]'") from None
    topic, options = settings.kafka_topic, settings.kafka_options()

    def make() -> Any:
        return AIOKafkaConsumer(
            topic, group_id=GROUP, enable_auto_commit=False, auto_offset_reset="earliest", **options
        )

    return KafkaTopic(make, topic, settings.kafka_timeout_seconds)


def _entry(record: Any) -> Entry:
    place = f"{record.partition}-{record.offset}"
    return Entry(place, int(record.timestamp), {record.key.decode(): record.value})
