"""Hedged calls: when a second attempt begins, which answer counts, and what the limit is."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from gateway.clients.hedging import Hedging
from tests.helpers.services import until
from twotower import errors

NAME = "item service"


class Replicas:
    """Attempts that a test answers, in the order in which they began."""

    def __init__(self) -> None:
        self.attempts: list[asyncio.Future[str]] = []
        self.cancelled: list[int] = []

    def ask(self) -> Coroutine[Any, Any, str]:
        return self._ask(len(self.attempts))

    async def _ask(self, number: int) -> str:
        self.attempts.append(asyncio.get_running_loop().create_future())
        try:
            return await self.attempts[number]
        except asyncio.CancelledError:
            self.cancelled.append(number)
            raise

    async def begun(self, count: int) -> None:
        await until(lambda: len(self.attempts) >= count)


def start(
    hedging: Hedging, replicas: Replicas, timeout: float = 60.0, *, is_expensive: bool = False
) -> asyncio.Task[str]:
    return asyncio.create_task(hedging.call(replicas.ask, timeout, is_expensive=is_expensive))


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_answer_in_time_needs_one_attempt() -> None:
    replicas = Replicas()
    calling = start(Hedging(NAME, 60.0), replicas)
    await replicas.begun(1)
    replicas.attempts[0].set_result("first")
    assert await calling == "first"
    assert len(replicas.attempts) == 1


@pytest.mark.parametrize("winner", [0, 1])
async def test_the_first_answer_of_a_late_call_counts_and_ends_the_other_attempts(winner: int) -> None:
    replicas = Replicas()
    calling = start(Hedging(NAME, 0.2), replicas)
    await replicas.begun(2)
    replicas.attempts[winner].set_result("good")
    assert await calling == "good"
    await settled()
    assert replicas.cancelled == [1 - winner]


async def test_a_late_call_makes_four_attempts_and_no_more() -> None:
    replicas = Replicas()
    with pytest.raises(errors.DeadlineExceeded, match="item service did not answer in time"):
        await start(Hedging(NAME, 0.01), replicas, timeout=0.5)
    await settled()
    assert sorted(replicas.cancelled) == [0, 1, 2, 3]


async def test_an_expensive_call_is_not_hedged() -> None:
    replicas = Replicas()
    with pytest.raises(errors.DeadlineExceeded):
        await start(Hedging(NAME, 0.01), replicas, timeout=0.3, is_expensive=True)
    assert len(replicas.attempts) == 1


async def test_a_failure_that_may_pass_leaves_the_call_to_the_other_attempt() -> None:
    replicas = Replicas()
    calling = start(Hedging(NAME, 0.05), replicas)
    await replicas.begun(2)
    replicas.attempts[0].set_exception(errors.Unavailable("it is down"))
    await settled()
    assert not calling.done()
    replicas.attempts[1].set_result("good")
    assert await calling == "good"


@pytest.mark.parametrize("failure", [errors.Unavailable("down"), errors.Overloaded("busy"), errors.NotFound("gone")])
async def test_the_failure_of_the_only_attempt_is_raised(failure: errors.TwoTowerError) -> None:
    replicas = Replicas()
    calling = start(Hedging(NAME, 60.0), replicas)
    await replicas.begun(1)
    replicas.attempts[0].set_exception(failure)
    with pytest.raises(type(failure)):
        await calling


async def test_a_failure_that_every_replica_would_repeat_is_raised_at_once() -> None:
    replicas = Replicas()
    calling = start(Hedging(NAME, 0.01), replicas)
    await replicas.begun(2)
    replicas.attempts[1].set_exception(errors.InvalidInput("k", 0, "must be 1 to 1000"))
    with pytest.raises(errors.InvalidInput):
        await calling
    await settled()
    assert 0 in replicas.cancelled


async def test_a_cancelled_call_ends_its_attempts() -> None:
    replicas = Replicas()
    calling = start(Hedging(NAME, 0.01), replicas)
    await replicas.begun(2)
    calling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await calling
    await settled()
    assert sorted(replicas.cancelled)[:2] == [0, 1]


async def test_only_a_tenth_of_the_calls_are_hedged_after_the_first_thirty_hedges() -> None:
    hedging, replicas = Hedging(NAME, 0.001), Replicas()
    for count in range(4, 44, 4):
        calling = start(hedging, replicas)
        await replicas.begun(count)
        calling.cancel()
        await asyncio.wait([calling])
    replicas.attempts.clear()
    for _ in range(20):
        with pytest.raises(errors.DeadlineExceeded):
            await start(hedging, replicas, timeout=0.02)
    # ten calls allow one more hedge; the first ten have allowed one already
    assert 20 < len(replicas.attempts) <= 20 + 3


async def test_no_time_left_is_said_without_an_attempt() -> None:
    replicas = Replicas()
    with pytest.raises(errors.DeadlineExceeded, match="no time is left to ask item service"):
        await Hedging(NAME, 1.0).call(replicas.ask, 0.0)
    assert not replicas.attempts
