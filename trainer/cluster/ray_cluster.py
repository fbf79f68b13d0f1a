"""The same work on a Ray cluster: Ray Data gives the parts to one actor for each CPU."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import pyarrow as pa

from trainer.cluster.parts import Part, Result, TableWorker, Worker
from trainer.errors import DataError

# Ray reports its use to its makers unless this says otherwise before it is imported
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
log = logging.getLogger(__name__)

_CONNECT_SECONDS = 5.0
# the column of an error in the place of a result
_PROBLEM = "problem"


class RayCluster:
    """The cluster at `address`: `auto` for one that runs on this machine, `local` to start one, or `ray://HOST:PORT`.

    Every node needs this package and the artifact folder at the same path. An actor that dies is started again, and its
    part is computed again. Raises DataError if there is no Ray, or no cluster at `address`.
    """

    has_workers = True

    def __init__(self, address: str) -> None:
        try:
            import ray
        except ModuleNotFoundError:
            raise DataError("ray is not installed: pip install 'twotower[ray]'") from None
        if not ray.is_initialized():
            try:
                _check_reachable(address)
                ray.init(address, include_dashboard=False if address == "local" else None, log_to_driver=False)
            except (OSError, ValueError) as error:
                raise DataError(f"ray={address}: no Ray cluster answers there ({error})") from None
        self._workers = max(1, int(ray.cluster_resources().get("CPU", 1)))
        log.info(f"Ray cluster {address}: {len(ray.nodes())} nodes, {self._workers} CPUs")

    def map(self, parts: Iterable[Part], worker: Worker, *arguments: Any) -> Iterator[Part]:
        tables = [_to_table(part) for part in parts]
        for table in self._map(tables, _Actor, worker, arguments):
            yield _to_part(table)

    def flat_map(self, tasks: Sequence[Any], worker: TableWorker[Result], *arguments: Any) -> Iterator[Result]:
        import ray

        places = [pa.table({"task": [place]}) for place in range(len(tasks))]
        with closing(self._map(places, _TaskActor, worker, arguments, ray.put(tasks))) as tables:
            for table in tables:
                if _PROBLEM in table.column_names:
                    raise DataError(next(filter(None, table.column(_PROBLEM).to_pylist())))
                yield worker.unpack(table)

    def _map(self, tables: list[pa.Table], actor: type, *arguments: Any) -> Generator[pa.Table]:
        """What actors make of each table, in order."""
        if not tables:
            return
        import ray.data

        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        results = ray.data.from_arrow(tables).map_batches(
            actor,
            fn_constructor_args=arguments,
            compute=ray.data.ActorPoolStrategy(size=min(self._workers, len(tables))),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=1,
        )
        yield from results.iter_batches(batch_size=None, batch_format="pyarrow")


def _check_reachable(address: str) -> None:
    """Raises OSError if nothing listens at HOST:PORT: Ray itself would try for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()


class _Actor:
    """A worker in a process of the cluster."""

    def __init__(self, worker: Worker, arguments: tuple[Any, ...]) -> None:
        self._work = worker(*arguments)

    def __call__(self, table: pa.Table) -> pa.Table:
        return _to_table(self._work(_to_part(table)))


class _TaskActor:
    """A worker that yields the results of tasks. A DataError becomes a row: Ray would wrap it into its own errors."""

    def __init__(self, worker: TableWorker[Any], arguments: tuple[Any, ...], tasks: Any) -> None:
        import ray

        self._work, self._pack, self._tasks = worker(*arguments), worker.pack, ray.get(tasks)

    def __call__(self, places: pa.Table) -> Iterator[pa.Table]:
        try:
            for place in places.column("task").to_pylist():
                yield from map(self._pack, self._work(self._tasks[place]))
        except DataError as error:
            yield pa.table({_PROBLEM: [str(error)]})


def _to_table(part: Part) -> pa.Table:
    """Rows of numbers [n, d] become lists of one length: Arrow has no columns of two dimensions."""
    columns = {}
    for name, values in part.items():
        if values.ndim == 1:
            columns[name] = pa.array(values)
        else:
            columns[name] = pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    return pa.table(columns)


def _to_part(table: pa.Table) -> Part:
    part: Part = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        if pa.types.is_fixed_size_list(column.type):
            part[name] = np.asarray(column.flatten()).reshape(len(column), column.type.list_size)
        elif pa.types.is_string(column.type):
            part[name] = np.array(column.to_pylist(), dtype=object)
        else:
            part[name] = column.to_numpy(zero_copy_only=False)
    return part
