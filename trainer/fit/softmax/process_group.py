"""Workers that are processes of a torch.distributed group: gloo between CPUs, NCCL between GPUs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.futures import Future
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from trainer.fit.softmax.divided_rows import DividedRows
from trainer.fit.softmax.workers import AllRows, Rows
from twotower.arrays import Int64


@dataclass
class ProcessGroup:
    """The default process group, which must be initialised. `device` is where this worker computes.

    `received` counts the bytes from other workers by the kind of exchange, padding left out.
    """

    device: torch.device
    received: dict[str, int] = field(default_factory=dict)

    @property
    def rank(self) -> int:
        return dist.get_rank()

    @property
    def count(self) -> int:
        return dist.get_world_size()

    def exchange(self, numbers: Int64) -> list[Int64]:
        rows = torch.from_numpy(numbers).to(self.device)
        sizes = self._sizes(len(rows))
        every = _all_rows(rows[:, None], sizes)
        self.count_received("product numbers", (sum(sizes) - len(rows)) * 8)
        return [one[:, 0].cpu().numpy() for one in every]

    def gather(self, rows: Tensor, sizes: list[int], place: Int64) -> Tensor:
        every: Tensor = _AllGather.apply(rows, max(sizes))
        # where the padding moves each worker's rows
        moved = np.arange(self.count) * max(sizes) - np.cumsum([0, *sizes[:-1]])
        place = place + moved[np.searchsorted(np.cumsum(sizes), place, side="right")]
        self.count_received("candidate vectors and their gradients", 2 * (sum(sizes) - len(rows)) * rows.shape[1] * 4)
        return functional.embedding(torch.from_numpy(place).to(self.device), every)

    def total(self, value: Tensor) -> Tensor:
        value = value.detach().clone()
        dist.all_reduce(value)
        return value

    def from_first(self, value: float) -> float:
        shared = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.broadcast(shared, src=0)
        return float(shared)

    def synchronise(self, loss: nn.Module, rows: Tensor) -> nn.Module:
        names = [name for name, value in loss.named_parameters() if value is rows]
        # DDP would send the whole table: `sum_rows` sends the rows that the step has touched
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(loss, names)
        # a table that the shop has no values for takes no part in the loss
        wrapped = DistributedDataParallel(loss, forward_sync_buffers=False, find_unused_parameters=True)
        wrapped.register_comm_hook(None, lambda _, bucket: self._add_up(bucket.buffer()))
        return wrapped

    def divide(self, table: nn.Embedding, optimiser: torch.optim.Optimizer) -> Rows:
        return DividedRows(table, optimiser, self.count_received) if table.weight.requires_grad else AllRows()

    def _sizes(self, size: int) -> list[int]:
        """Each worker's size."""
        sizes = torch.empty(self.count, dtype=torch.int64, device=self.device)
        dist.all_gather_single(sizes, torch.tensor([size], device=self.device))
        return [int(one) for one in sizes]

    def _add_up(self, gradients: Tensor) -> Future[Tensor]:
        """The sum over the workers, where DDP itself would take the mean."""
        self.count_received("other gradients", 2 * gradients.numel() * 4 * (self.count - 1) // self.count)
        work = dist.all_reduce(gradients, async_op=True)
        assert work is not None
        summed: Future[Tensor] = work.get_future().then(lambda done: done.value()[0])
        return summed

    def count_received(self, kind: str, size: int) -> None:
        """Counts bytes from other workers."""
        self.received[kind] = self.received.get(kind, 0) + size


def _all_rows(rows: Tensor, sizes: list[int]) -> list[Tensor]:
    """Each worker's rows [size, D]. They travel with padding: a collective call takes equal shapes."""
    longest = max(sizes)
    every = rows.new_empty(len(sizes) * longest, rows.shape[1])
    dist.all_gather_single(every, _padded(rows, longest))
    return [every[rank * longest :][:size] for rank, size in enumerate(sizes)]


def _padded(rows: Tensor, length: int) -> Tensor:
    padded = rows.new_zeros(length, rows.shape[1])
    padded[: len(rows)] = rows
    return padded


class _AllGather(torch.autograd.Function):
    """All workers' rows, one below the other, `longest` of each; backwards, the sum over the workers of the gradients.

    As `torch.distributed.nn.functional.all_gather`, for rows of different numbers.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, longest: int) -> Tensor:
        ctx.size = len(rows)
        every = rows.new_empty(dist.get_world_size() * longest, rows.shape[1])
        dist.all_gather_single(every, _padded(rows, longest))
        return every

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        # gloo's reduce_scatter sends as much as an all_reduce
        parts = torch.empty_like(upstream)
        dist.all_to_all_single(parts, upstream.contiguous())
        return parts.unflatten(0, (dist.get_world_size(), -1))[:, : ctx.size].sum(dim=0), None
