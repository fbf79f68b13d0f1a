"""What a part of the work is, and how this machine works through all parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias

from numpy.typing import NDArray

# Columns of equal length: numbers, rows of numbers [n, d], or texts (as objects). None holds lists of other lengths.
Part: TypeAlias = dict[str, NDArray[Any]]
# A class of a module, made once in each process from what `Engine.map` gets, and then called with one part at a time.
Worker: TypeAlias = Callable[..., Callable[[Part], Part]]


class Engine(Protocol):
    """Works through parts with a worker."""

    def map(self, parts: Sequence[Part], worker: Worker, *arguments: Any) -> Iterator[Part]:
        """The results of `worker(*arguments)` called with each part, in the order of the parts."""


class OneMachine:
    """Works in this process, one part after the other; a worker uses as many threads as its arguments say."""

    def map(self, parts: Sequence[Part], worker: Worker, *arguments: Any) -> Iterator[Part]:
        if parts:
            yield from map(worker(*arguments), parts)


def open_engine(ray: str) -> Engine:
    """The engine of the setting `ray`: this machine if it is empty, otherwise the Ray cluster at that address."""
    if not ray:
        return OneMachine()
    from trainer.cluster.ray_cluster import RayCluster

    return RayCluster(ray)
