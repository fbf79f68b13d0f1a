"""What a part of the work is, and how this machine works through all parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

from numpy.typing import NDArray

if TYPE_CHECKING:
    # it comes with the extra `ray`
    import pyarrow as pa

# Columns of equal length: numbers, rows of numbers [n, d], or texts (as objects). None holds lists of other lengths.
Part: TypeAlias = dict[str, NDArray[Any]]
# A class of a module, made once in each process from what `Engine.map` gets, and then called with one part at a time.
Worker: TypeAlias = Callable[..., Callable[[Part], Part]]
Result = TypeVar("Result")


class TableWorker(Protocol[Result]):
    """A class of a module, made once in each process: a call with a task yields its results.

    `pack` writes a result as a flat Arrow table, `unpack` reads several packed results of a task, one below the other,
    as one.
    """

    def __call__(self, *arguments: Any) -> Callable[[Any], Iterator[Result]]: ...

    @staticmethod
    def pack(result: Result) -> pa.Table: ...

    @staticmethod
    def unpack(table: pa.Table) -> Result: ...


class Engine(Protocol):
    """Works through parts or tasks with a worker.

    `has_workers`: whether other processes do the work, so that it is worth cutting.
    """

    has_workers: bool

    def map(self, parts: Iterable[Part], worker: Worker, *arguments: Any) -> Iterator[Part]:
        """The results of `worker(*arguments)` called with each part, in the order of the parts."""

    def flat_map(self, tasks: Sequence[Any], worker: TableWorker[Result], *arguments: Any) -> Iterator[Result]:
        """What `worker(*arguments)` yields for each task, in the order of the tasks.

        Raises DataError if the worker does.
        """


class OneMachine:
    """Works in this process, one part after the other: a part is asked for when the one before has its result.

    A worker uses as many threads as its arguments say. Without parts there is none.
    """

    has_workers = False

    def map(self, parts: Iterable[Part], worker: Worker, *arguments: Any) -> Iterator[Part]:
        work: Callable[[Part], Part] | None = None
        for part in parts:
            work = work or worker(*arguments)
            yield work(part)

    def flat_map(self, tasks: Sequence[Any], worker: TableWorker[Result], *arguments: Any) -> Iterator[Result]:
        work: Callable[[Any], Iterator[Result]] | None = None
        for task in tasks:
            work = work or worker(*arguments)
            yield from work(task)


def open_engine(ray: str) -> Engine:
    """The engine of the setting `ray`: this machine if it is empty, otherwise the Ray cluster at that address."""
    if not ray:
        return OneMachine()
    from trainer.cluster.ray_cluster import RayCluster

    return RayCluster(ray)
