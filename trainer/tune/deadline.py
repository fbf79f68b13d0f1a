"""The time that a search may take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from trainer.fit.softmax.training import Curve

Clock = Callable[[], float]


class OutOfTime(Exception):
    """What is running cannot end in time; `needed` are the seconds that it would still take."""

    def __init__(self, needed: float) -> None:
        self.needed = needed
        super().__init__(f"it still takes {needed:.0f} s")


@dataclass(frozen=True)
class Deadline:
    """A moment `at` of the clock, in seconds."""

    at: float
    clock: Clock = time.monotonic

    @classmethod
    def after(cls, minutes: float, clock: Clock = time.monotonic) -> Deadline:
        return cls(clock() + 60 * minutes, clock)

    @property
    def left(self) -> float:
        """Seconds; negative after the moment."""
        return self.at - self.clock()

    def earlier(self, seconds: float) -> Deadline:
        """A moment so many seconds before this one."""
        return replace(self, at=self.at - seconds)

    def share(self, part: float) -> Deadline:
        """The moment after this part of the time that is left."""
        return self.earlier((1 - part) * max(self.left, 0.0))


class EpochTimes:
    """Predicts from the epochs so far whether a training can end in time."""

    def __init__(self, deadline: Deadline, planned: int) -> None:
        """The training begins now, or goes on now; it takes `planned` epochs, if nothing stops it."""
        self._deadline, self._planned, self._began, self._epochs = deadline, planned, deadline.clock(), 0

    def check(self, curve: Curve) -> None:
        """Raises OutOfTime after an epoch if the epochs that are left take longer than the time that is left."""
        self._epochs += 1
        needed = (self._deadline.clock() - self._began) / self._epochs * (self._planned - len(curve))
        if needed > self._deadline.left:
            raise OutOfTime(needed)
