"""The scores of a training over time. Standard library only: it runs in both environments of `make bench-training`."""

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
    """One training. `setup` are the seconds before the first step; the points' seconds include them. `interactions` are
    the training events of one pass."""

    setup: float
    interactions: int
    points: list[Point]

    @property
    def best(self) -> Point:
        """The first point of the highest score."""
        return max(self.points, key=lambda point: point.score)

    @property
    def rate(self) -> float:
        """Interactions per second of training, without the set-up."""
        last = self.points[-1]
        return self.interactions * last.epochs / (last.seconds - self.setup)

    def time_to(self, score: float) -> float | None:
        """Seconds until the first point with at least this score; None if there is none."""
        return next((point.seconds for point in self.points if point.score >= score), None)


class Clock:
    """Seconds since it was created, without those in which it was paused."""

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now, self._start = now, now()

    @property
    def seconds(self) -> float:
        return self._now() - self._start

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Pauses the clock for the block."""
        before = self._now()
        try:
            yield
        finally:
            self._start += self._now() - before


def say(name: str, point: Point) -> None:
    """Prints a validation while the training goes on."""
    print(
        f"{name:<8} {point.epochs:6.2f} epochs {point.seconds:9.1f} s   validation NDCG@10 {point.score:.4f}",
        flush=True,
    )
