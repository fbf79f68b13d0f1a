"""A table whose rows are divided: each process of a training by several workers steps a run of the product rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from twotower.arrays import Int64


class DividedRows:
    """Rows [R, D] of a table: every process of the group has all of them, and steps a run of its own.

    A row is up to date in the process that steps it, and in those that have fetched it for this step. The optimiser's
    moments and the gradient are as long as the own run. `count_received` counts bytes by the kind of exchange.
    """

    def __init__(
        self, table: nn.Embedding, optimiser: torch.optim.Optimizer, count_received: Callable[[str, int], None]
    ) -> None:
        table.sparse = True  # a gradient of the rows that a step reads, not of the whole table
        self._table, self._optimiser, self._count_received = table.weight, optimiser, count_received
        self._rank, processes = dist.get_rank(), dist.get_world_size()
        edges = [len(table.weight) * number // processes for number in range(processes + 1)]
        self._runs = [slice(start, stop) for start, stop in pairwise(edges)]
        self._own = nn.Parameter(table.weight.data[self._runs[self._rank]])  # the same memory
        self._gradient = torch.zeros_like(self._own.data)
        # by process: the own rows that it reads in this step, and its rows that this process reads
        self._given, self._taken = list[Tensor](), list[Tensor]()
        moments = optimiser.state.pop(table.weight, {})
        optimiser.state[self._own] = {
            name: value[self._runs[self._rank]].clone() if value.shape == table.weight.shape else value
            for name, value in moments.items()
        }
        self._replace(table.weight, self._own)

    def fetch(self, needed: list[Int64]) -> None:
        for stepped in self._given:  # in the step before
            self._gradient[stepped - self._start] = 0
        edges = [run.start for run in self._runs[1:]]
        parts = [np.split(one, np.searchsorted(one, edges)) for one in needed]
        self._given = [self._numbers(part[self._rank]) for part in parts]
        self._taken = [self._numbers(part) for part in parts[self._rank]]
        given, taken = self._without_own(self._given), self._without_own(self._taken)
        rows = _exchange([self._table.data[one] for one in given], [len(one) for one in taken])
        self._table.data.index_copy_(0, torch.cat(taken), torch.cat(rows))
        self._count_received("product rows", sum(one.nbytes for one in rows))

    def return_gradient(self) -> None:
        gradient, self._table.grad = self._table.grad, None
        assert gradient is not None
        read = torch.cat(self._taken)
        values = self._gradient.new_zeros(len(read), self._gradient.shape[1])
        values.index_add_(0, torch.searchsorted(read, gradient._indices()[0]), gradient._values())
        parts = values.split([len(one) for one in self._taken])
        received = _exchange(self._without_own(parts), [len(one) for one in self._without_own(self._given)])
        self._count_received("product rows' gradients", sum(one.nbytes for one in received))
        received[self._rank] = parts[self._rank]
        for rows, one in zip(self._given, received, strict=True):
            self._gradient.index_add_(0, rows - self._start, one)
        self._own.grad = self._gradient

    @contextmanager
    def whole(self) -> Iterator[None]:
        for rank, run in enumerate(self._runs):
            dist.broadcast(self._table.data[run], src=rank)
        own = self._optimiser.state[self._own]
        moments = {
            name: self._to_first(value) if value.shape == self._own.shape else value for name, value in own.items()
        }
        if self._rank == 0:
            del self._optimiser.state[self._own]
            self._optimiser.state[self._table] = moments
            self._replace(self._own, self._table)
        yield
        if self._rank == 0:
            del self._optimiser.state[self._table]
            self._optimiser.state[self._own] = own
            self._replace(self._table, self._own)

    @property
    def _start(self) -> int:
        return int(self._runs[self._rank].start)

    def _replace(self, old: Tensor, new: Tensor) -> None:
        """Puts a parameter in the place of another one in the optimiser."""
        for group in self._optimiser.param_groups:
            group["params"] = [new if one is old else one for one in group["params"]]

    def _to_first(self, own: Tensor) -> Tensor:
        """In the first process, the rows of all; `own` in the others."""
        if self._rank:
            dist.send(own, 0)
            return own
        every = own.new_empty(self._table.shape)
        every[self._runs[0]] = own
        for rank, run in list(enumerate(self._runs))[1:]:
            dist.recv(every[run], src=rank)
        return every

    def _numbers(self, rows: Int64) -> Tensor:
        return torch.from_numpy(rows).to(self._table.device)

    def _without_own(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """The parts of all processes, with nothing for this one."""
        return [one[:0] if rank == self._rank else one for rank, one in enumerate(parts)]


def _exchange(parts: Sequence[Tensor], sizes: Sequence[int]) -> list[Tensor]:
    """Sends each process its part, rows [r, D]; returns what each has sent, `sizes` rows."""
    received = parts[0].new_empty(sum(sizes), parts[0].shape[1])
    dist.all_to_all_single(received, torch.cat(list(parts)), list(sizes), [len(one) for one in parts])
    return list(received.split(list(sizes)))
