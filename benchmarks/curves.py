"""What a training reached, and when. Standard library alone: it runs in both environments of `make bench-training`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple


class Point(NamedTuple):
    """One validation: passes over the data and seconds of training until then, and the score (higher is better)."""

    epochs: float
    seconds: float
    score: float


class Curve(NamedTuple):
    """One training. `setup` are the seconds before the first step, which those of the points include; `interactions`
    are the training events of one pass."""

    setup: float
    interactions: int
    points: list[Point]

    @property
    def best(self) -> Point:
        """The first point of the highest score."""
        return max(self.points, key=lambda point: point.score)

    @property
    def rate(self) -> float:
        """Interactions per second of training, set-up left out."""
        last = self.points[-1]
        return self.interactions * last.epochs / (last.seconds - self.setup)

    def time_to(self, score: float) -> float | None:
        """Seconds until the first point of at least this score; None where there is none."""
        return next((point.seconds for point in self.points if point.score >= score), None)


class Clock:
    """Seconds since it was made, less those in which it was held."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now, self._start = now, now()

    @property
    def seconds(self) -> float:
        return self._now() - self._start

    @contextmanager
    def held(self) -> Iterator[None]:
        """What happens inside does not count."""
        before = self._now()
        try:
            yield
        finally:
            self._start += self._now() - before
