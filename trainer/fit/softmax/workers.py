"""What the workers of one training exchange at every step. One process is the trivial case."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn

from twotower.arrays import Int64


class Workers(Protocol):
    """The workers that make each step together; this process is number `rank` of `count`.

    Every method is called by all workers, in the same order.
    """

    @property
    def rank(self) -> int: ...

    @property
    def count(self) -> int: ...

    def exchange(self, numbers: Int64) -> list[Int64]:
        """The numbers of each worker, in order of rank; they may be of different lengths."""

    def gather(self, rows: Tensor, sizes: list[int], place: Int64) -> Tensor:
        """Rows `place` [C] of all workers' rows [R, D], put one below the other in order of rank: `sizes` of each.

        The gradient of a row is the sum over all workers, and goes to the worker that computed it.
        """

    def total(self, value: Tensor) -> Tensor:
        """The sum over the workers, without a gradient."""

    def from_first(self, value: float) -> float:
        """The value of the worker with rank 0."""

    def synchronise(self, loss: nn.Module, rows: Tensor) -> nn.Module:
        """The same loss; its backward pass sums the gradients over the workers, except those of the table `rows`."""

    def divide(self, table: nn.Embedding, optimiser: torch.optim.Optimizer) -> Rows:
        """Divides the rows of a table among the workers: the optimiser of each steps its own rows alone."""


class Rows(Protocol):
    """The rows of a table that the workers have divided.

    Every method is called by all workers, in the same order.
    """

    def fetch(self, needed: list[Int64]) -> None:
        """Brings up to date the rows that each worker reads in this step: rising numbers, in order of rank."""

    def return_gradient(self) -> None:
        """Gives the gradients of the rows that `fetch` has brought to the workers that step them."""

    def whole(self) -> AbstractContextManager[None]:
        """While it lasts, all rows are up to date, and the first worker's optimiser has the moments of all."""


class OneProcess:
    """Training without other workers."""

    rank, count = 0, 1

    def exchange(self, numbers: Int64) -> list[Int64]:
        return [numbers]

    def gather(self, rows: Tensor, sizes: list[int], place: Int64) -> Tensor:
        return rows

    def total(self, value: Tensor) -> Tensor:
        return value

    def from_first(self, value: float) -> float:
        return value

    def synchronise(self, loss: nn.Module, rows: Tensor) -> nn.Module:
        return loss

    def divide(self, table: nn.Embedding, optimiser: torch.optim.Optimizer) -> Rows:
        return AllRows()


class AllRows:
    """The rows of a table that one process has, or that nobody trains."""

    def fetch(self, needed: list[Int64]) -> None:
        return None

    def return_gradient(self) -> None:
        return None

    def whole(self) -> AbstractContextManager[None]:
        return nullcontext()


ONE_PROCESS = OneProcess()


def share(total: int, workers: Workers) -> int:
    """How many of `total` things fall to this worker if they are dealt out in turn."""
    return len(range(workers.rank, total, workers.count))
