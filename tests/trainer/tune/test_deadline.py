"""The time budget, on a clock that the test sets."""

from __future__ import annotations

import pytest

from trainer.tune.deadline import Deadline, EpochTimes, OutOfTime


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_share_is_a_part_of_the_time_that_is_left() -> None:
    clock = Clock()
    deadline = Deadline.after(2, clock)
    assert (deadline.left, deadline.earlier(20).left) == (120, 100)
    clock.now += 40
    assert deadline.share(0.25).left == pytest.approx(20)
    clock.now += 100
    assert deadline.left == -20
    assert deadline.share(0.25).left == -20


def test_a_training_that_cannot_end_in_time_stops_after_an_epoch() -> None:
    clock = Clock()
    times = EpochTimes(Deadline.after(1, clock), planned=5)
    curve = [{"epoch": 1.0}]
    clock.now += 12  # the other four take 48 s, and 48 s are left
    times.check(curve)
    clock.now += 15  # 13.5 s each: three more take 40.5 s, and 33 s are left
    with pytest.raises(OutOfTime, match="it still takes 40 s") as stopped:
        times.check([*curve, {"epoch": 2.0}])
    assert stopped.value.needed == pytest.approx(40.5)


def test_a_training_that_goes_on_is_measured_by_its_own_epochs() -> None:
    clock = Clock()
    times = EpochTimes(Deadline.after(1, clock), planned=5)
    clock.now += 25  # the fourth epoch; the last takes as long
    times.check([{"epoch": float(epoch)} for epoch in range(1, 5)])
