"""Runs a function in the processes of a torch.distributed group on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as multiprocessing


def run_group(work: Callable[..., None], count: int, folder: Path, *arguments: Any) -> None:
    """Calls `work(*arguments)` in `count` processes; an error in one of them ends all and is raised here."""
    multiprocessing.spawn(_start, (work, count, str(folder / "rendezvous"), arguments), nprocs=count)


def _start(rank: int, work: Callable[..., None], count: int, meeting: str, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=count)
    try:
        work(*arguments)
    finally:
        dist.destroy_process_group()
