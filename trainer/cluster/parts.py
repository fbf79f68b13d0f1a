"""What a part of the work is, and how this machine works through all parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray

# Columns of equal length: numbers, rows of numbers [n, d], or texts (as objects). None holds lists of other lengths.
Part: TypeAlias = dict[str, NDArray[Any]]
# A class of a module, made once in each process from what `Engine.map` gets, and then called with one part at a time.
Worker: TypeAlias = Callable[..., Callable[[Part], Part]]


class Engine(Protocol):
    """Works through parts with a worker."""

    def map(self, parts: Iterable[Part], worker: Worker, *arguments: Any) -> Iterator[Part]:
        """The results of `worker(*arguments)` called with each part, in the order of the parts."""


class OneMachine:
    """Works in this process, one part after the other: a part is asked for when the one before has its result.

    A worker uses as many threads as its arguments say. Without parts there is none.
    """

    def map(self, parts: Iterable[Part], worker: Worker, *arguments: Any) -> Iterator[Part]:
        work: Callable[[Part], Part] | None = None
        for part in parts:
            work = work or worker(*arguments)
            yield work(part)


def open_engine(ray: str) -> Engine:
    """The engine of the setting `ray`: this machine if it is empty, otherwise the Ray cluster at that address."""
    if not ray:
        return OneMachine()
    from trainer.cluster.ray_cluster import RayCluster

    return RayCluster(ray)
