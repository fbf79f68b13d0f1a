"""Clocks that jump: neither a history nor a live event is lost by it."""

from __future__ import annotations

import logging

import pytest

from gateway.history.clock import SharedClock

DAY = 86_400.0
START = 1_800_000_000.0


class Machine:
    """A steady clock that starts at 1,000, this machine's wall clock, and Redis'; all in seconds."""

    def __init__(self) -> None:
        self.steady = 1_000.0
        self.local = self.redis = START
        self.clock = SharedClock(lambda: self.steady, lambda: self.local)

    def go(self, seconds: float) -> None:
        self.steady += seconds
        self.local += seconds
        self.redis += seconds

    def observe(self, last_written: float | None = None) -> None:
        self.clock.observe(self.redis, last_written)

    def shown(self) -> tuple[float, float, float]:
        """The earliest, the good and the latest clock, in seconds."""
        clock = self.clock
        return clock.earliest_ms() / 1000, clock.good_ms() / 1000, clock.latest_ms() / 1000


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_it_follows_redis_and_small_corrections_of_it(machine: Machine) -> None:
    machine.redis = START + 7
    machine.observe()
    assert machine.shown() == (START + 7, START + 7, START + 7)
    machine.go(100)
    assert machine.shown() == (START + 107, START + 107, START + 107)
    machine.redis += 30
    machine.observe()
    assert machine.shown() == (START + 137, START + 137, START + 137)


@pytest.mark.parametrize("jump", [-2 * DAY, 3650 * DAY], ids=["two days back", "ten years ahead"])
def test_a_jump_of_redis_is_logged_and_moves_only_the_side_that_keeps_more(
    machine: Machine, caplog: pytest.LogCaptureFixture, jump: float
) -> None:
    machine.observe()
    machine.go(10)
    machine.redis += jump
    machine.observe()
    good = START + 10
    assert machine.shown() == (min(good, good + jump), good, max(good, good + jump))
    assert [record.getMessage() for record in caplog.records] == [
        f"Redis' clock jumped by {jump:+.0f} s: no history expires early by it"
    ]
    machine.redis -= jump
    machine.observe()
    assert machine.shown() == (good, good, good)


def test_a_jump_of_this_machine_is_logged_and_changes_nothing(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.observe()
    machine.local += 3650 * DAY
    machine.observe()
    assert machine.shown() == (START, START, START)
    assert "this machine's clock jumped by +315360000 s" in caplog.text


def test_a_process_that_starts_beside_a_wrong_redis_clock_trusts_it_for_a_day(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    machine.redis = START + 3650 * DAY
    machine.observe(last_written=START)
    assert machine.shown() == (START + DAY, START + DAY, START + 3650 * DAY)
    assert "from this machine's" in caplog.text
