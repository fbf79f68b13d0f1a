"""The batcher: what travels together, and who is hurt by whom."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.clients.batching import Batcher, Limits
from gateway.clients.deadline import Deadline
from tests.helpers.services import until
from twotower.errors import DeadlineExceeded, InvalidInput, NotFound, Overloaded, Unavailable
from twotower.serving import telemetry

LATER = Deadline.after(3600)


class Service:
    """Doubles numbers, when it is let; remembers the batches that came."""

    def __init__(self, *, open_gate: bool = True) -> None:
        self.batches: list[tuple[str, list[int]]] = []
        self.timeouts: list[float] = []
        self.request_ids: list[str] = []
        self.gate = asyncio.Event()
        self.running = self.most_running = 0
        if open_gate:
            self.gate.set()

    async def send(self, group: str, numbers: list[int], timeout: float) -> Sequence[int | Exception]:
        self.batches.append((group, numbers))
        self.timeouts.append(timeout)
        self.request_ids.append(telemetry.request_id.get())
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.gate.wait()
        finally:
            self.running -= 1
        return [2 * number for number in numbers]

    def batcher(self, **limits: Any) -> Batcher[int, int]:
        return Batcher("doubling", self.send, Limits(**{"in_flight": 1, **limits}))


async def settle() -> None:
    """Lets everything happen that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_an_idle_batcher_sends_at_once() -> None:
    service = Service()
    assert await service.batcher().call(21, LATER) == 42
    assert service.batches == [("", [21])]


async def test_calls_that_arrive_together_travel_together_and_keep_their_order() -> None:
    service = Service()
    batcher = service.batcher()
    assert await asyncio.gather(*(batcher.call(number, LATER) for number in range(10))) == [*range(0, 20, 2)]
    assert service.batches == [("", [*range(10)])]


async def test_calls_that_arrive_while_a_batch_is_under_way_form_the_next() -> None:
    service = Service(open_gate=False)
    batcher = service.batcher()
    calls = [asyncio.create_task(batcher.call(1, LATER))]
    await settle()
    for number in (2, 3, 4):
        calls.append(asyncio.create_task(batcher.call(number, LATER)))
        await settle()
    assert service.batches == [("", [1])]
    assert batcher.waiting == 3
    service.gate.set()
    assert await asyncio.gather(*calls) == [2, 4, 6, 8]
    assert service.batches == [("", [1]), ("", [2, 3, 4])]


async def test_a_batch_is_cut_by_size() -> None:
    service = Service()
    batcher = service.batcher(max_batch=4)
    await asyncio.gather(*(batcher.call(number, LATER) for number in range(10)))
    assert [len(numbers) for _, numbers in service.batches] == [4, 4, 2]


async def test_a_batch_is_cut_by_the_size_of_its_calls_and_never_empty() -> None:
    service = Service()
    batcher = Batcher("weighing", service.send, Limits(max_batch=10, in_flight=1), size=lambda number: number)
    await asyncio.gather(*(batcher.call(number, LATER) for number in (4, 6, 1, 50, 2, 3)))
    assert [numbers for _, numbers in service.batches] == [[4, 6], [1], [50], [2, 3]]


async def test_no_more_batches_are_under_way_than_allowed() -> None:
    service = Service(open_gate=False)
    batcher = service.batcher(max_batch=1, in_flight=2)
    calls = [asyncio.create_task(batcher.call(number, LATER)) for number in range(5)]
    await settle()
    assert service.running == 2
    service.gate.set()
    await asyncio.gather(*calls)
    assert service.most_running == 2


async def test_a_further_batch_leaves_early_only_when_it_is_full() -> None:
    service = Service(open_gate=False)
    batcher = service.batcher(max_batch=3, in_flight=2, patience=3600)
    calls = [asyncio.create_task(batcher.call(1, LATER))]
    await settle()
    calls += [asyncio.create_task(batcher.call(number, LATER)) for number in (2, 3)]
    await settle()
    assert service.batches == [("", [1])]
    calls.append(asyncio.create_task(batcher.call(4, LATER)))
    await settle()
    assert service.batches == [("", [1]), ("", [2, 3, 4])]
    service.gate.set()
    assert await asyncio.gather(*calls) == [2, 4, 6, 8]


async def test_a_batch_that_takes_long_does_not_hold_those_who_come_later() -> None:
    service = Service(open_gate=False)
    batcher = service.batcher(in_flight=2, patience=0.01)
    calls = [asyncio.create_task(batcher.call(1, LATER))]
    await settle()
    calls.append(asyncio.create_task(batcher.call(2, LATER)))
    await until(lambda: len(service.batches) == 2)
    assert service.batches == [("", [1]), ("", [2])]
    # no more than allowed, however slow they are
    calls.append(asyncio.create_task(batcher.call(3, LATER)))
    await asyncio.sleep(0.05)
    assert service.running == 2
    service.gate.set()
    assert await asyncio.gather(*calls) == [2, 4, 6]
    assert not batcher._alarms


async def test_groups_never_share_a_batch_nor_wait_for_each_other() -> None:
    service = Service(open_gate=False)
    batcher = service.batcher()
    calls = [asyncio.create_task(batcher.call(number, LATER, "AB"[number % 2])) for number in range(6)]
    await settle()
    assert service.batches == [("A", [0, 2, 4]), ("B", [1, 3, 5])]
    service.gate.set()
    assert await asyncio.gather(*calls) == [0, 2, 4, 6, 8, 10]


async def test_past_the_limit_calls_are_refused_and_those_waiting_are_still_answered() -> None:
    service = Service(open_gate=False)
    batcher = service.batcher(max_waiting=3)
    first = asyncio.create_task(batcher.call(0, LATER))
    await settle()
    waiting = [asyncio.create_task(batcher.call(number, LATER)) for number in (1, 2, 3)]
    await settle()
    with pytest.raises(Overloaded, match="3 calls are waiting for doubling, the limit is 3"):
        await batcher.call(4, LATER)
    service.gate.set()
    assert await asyncio.gather(first, *waiting) == [0, 2, 4, 6]
    assert await batcher.call(5, LATER) == 10


async def test_a_cancelled_caller_leaves_the_queue_and_its_neighbours_alone() -> None:
    service = Service(open_gate=False)
    batcher = service.batcher()
    first = asyncio.create_task(batcher.call(1, LATER))
    await settle()
    gone, stays = (asyncio.create_task(batcher.call(number, LATER)) for number in (2, 3))
    await settle()
    gone.cancel()
    await settle()
    assert batcher.waiting == 1
    service.gate.set()
    assert await asyncio.gather(first, stays) == [2, 6]
    assert service.batches == [("", [1]), ("", [3])]
    assert gone.cancelled()


async def test_cancelling_a_caller_under_way_does_not_cancel_the_batch() -> None:
    service = Service(open_gate=False)
    batcher = service.batcher()
    gone, stays = (asyncio.create_task(batcher.call(number, LATER)) for number in (2, 3))
    await settle()
    gone.cancel()
    await settle()
    assert service.running == 1
    service.gate.set()
    assert await stays == 6


async def test_each_call_keeps_its_own_deadline_and_the_batch_gets_the_longest() -> None:
    service = Service(open_gate=False)
    batcher = service.batcher()
    hasty = asyncio.create_task(batcher.call(1, Deadline.after(0.01)))
    patient = asyncio.create_task(batcher.call(2, LATER))
    with pytest.raises(DeadlineExceeded, match="doubling did not answer in time"):
        await hasty
    assert service.timeouts[0] > 60
    service.gate.set()
    assert await patient == 4


async def test_calls_of_any_order_of_deadlines_each_end_at_their_own() -> None:
    service = Service(open_gate=False)
    batcher = service.batcher()
    ended: list[int] = []

    async def call(number: int, deadline: Deadline) -> None:
        with pytest.raises(DeadlineExceeded, match="doubling did not answer in time"):
            await batcher.call(number, deadline)
        ended.append(number)
        assert deadline.remaining() <= 0

    kept = asyncio.create_task(batcher.call(9, LATER))
    seconds = {1: 0.03, 2: 0.01, 3: 0.02, 4: 0.01}
    await asyncio.gather(*(call(number, Deadline.after(one)) for number, one in seconds.items()))
    assert ended == [2, 4, 3, 1]
    service.gate.set()
    assert await kept == 18
    await batcher.close()


async def test_a_deadline_also_ends_the_wait_in_the_queue() -> None:
    service = Service(open_gate=False)
    batcher = service.batcher()
    first = asyncio.create_task(batcher.call(1, LATER))
    await settle()
    with pytest.raises(DeadlineExceeded):
        await batcher.call(2, Deadline.after(0.01))
    assert batcher.waiting == 0
    with pytest.raises(DeadlineExceeded, match="no time is left"):
        await batcher.call(3, Deadline.after(-1))
    service.gate.set()
    assert await first == 2
    assert service.batches == [("", [1])]


async def test_an_error_in_one_row_is_that_callers_alone() -> None:
    async def send(group: str, numbers: list[int], timeout: float) -> Sequence[int | Exception]:
        return [NotFound(f"no {number}") if number == 2 else number for number in numbers]

    batcher: Batcher[int, int] = Batcher("finding", send, Limits())
    results = await asyncio.gather(*(batcher.call(number, LATER) for number in (1, 2, 3)), return_exceptions=True)
    assert results[0] == 1
    assert results[2] == 3
    assert isinstance(results[1], NotFound)


async def test_a_batch_refused_as_invalid_is_sent_call_by_call() -> None:
    sent: list[list[int]] = []

    async def send(group: str, numbers: list[int], timeout: float) -> Sequence[int | Exception]:
        sent.append(numbers)
        if 2 in numbers:
            raise InvalidInput("number", 2, "is even")
        return numbers

    batcher: Batcher[int, int] = Batcher("odd", send, Limits())
    results = await asyncio.gather(*(batcher.call(number, LATER) for number in (1, 2, 3)), return_exceptions=True)
    assert [results[0], results[2]] == [1, 3]
    assert isinstance(results[1], InvalidInput)
    assert sent == [[1, 2, 3], [1], [2], [3]]


async def test_a_failed_batch_fails_its_own_calls_and_not_the_next() -> None:
    failures = [Unavailable("gone"), ValueError("a bug")]

    async def send(group: str, numbers: list[int], timeout: float) -> Sequence[int | Exception]:
        if failures:
            raise failures.pop(0)
        return numbers

    batcher: Batcher[int, int] = Batcher("failing", send, Limits())
    assert all(isinstance(one, Unavailable) for one in await _both(batcher))
    assert all(isinstance(one, ValueError) for one in await _both(batcher))
    assert await _both(batcher) == [1, 2]


async def test_a_service_that_answers_too_few_rows_is_no_service() -> None:
    async def send(group: str, numbers: list[int], timeout: float) -> Sequence[int | Exception]:
        return numbers[1:]

    batcher: Batcher[int, int] = Batcher("short", send, Limits())
    with pytest.raises(Unavailable, match="short answered 0 rows for 1"):
        await batcher.call(1, LATER)


async def test_a_batch_carries_the_ids_of_its_requests() -> None:
    service = Service()
    batcher = service.batcher()

    async def request(number: int, request_id: str) -> int:
        telemetry.request_id.set(request_id)
        return await batcher.call(number, LATER)

    tasks = [asyncio.create_task(request(number, name)) for number, name in enumerate(("a", "b", "a"))]
    await asyncio.gather(*tasks)
    many = [asyncio.create_task(request(number, f"{number:032}")) for number in range(30)]
    await asyncio.gather(*many)
    assert service.request_ids[0] == "a,b"
    names = service.request_ids[1].split(",")
    assert names[:15] == [f"{number:032}" for number in range(15)]
    assert names[15:] == ["+15"]


async def test_nothing_is_kept_of_groups_that_have_gone() -> None:
    service = Service()
    batcher = service.batcher()
    for version in range(100):
        await batcher.call(version, LATER, f"v{version}")
    await settle()
    assert not batcher._queues
    assert not batcher._sent_at
    assert not batcher._alarms


async def _both(batcher: Batcher[int, int]) -> list[int | BaseException]:
    return await asyncio.gather(batcher.call(1, LATER), batcher.call(2, LATER), return_exceptions=True)
