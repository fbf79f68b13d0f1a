"""Parts worked through on this machine and on a Ray cluster: the same results, whatever dies."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import ray

from trainer.cluster.parts import Engine, Part, open_engine
from trainer.errors import DataError


class Doubled:
    """Doubles numbers, keeps words and rows of numbers, and names its process."""

    def __init__(self, factor: int) -> None:
        self._factor = factor

    def __call__(self, part: Part) -> Part:
        count = len(part["number"])
        return {
            "number": part["number"] * self._factor,
            "word": part["word"],
            "row": part["row"],
            "process": np.full(count, os.getpid()),
        }


class DiesOnce:
    """Ends its process at the first part that it ever sees."""

    def __init__(self, mark: str) -> None:
        self._mark = Path(mark)

    def __call__(self, part: Part) -> Part:
        if not self._mark.exists():
            self._mark.touch()
            os._exit(1)
        return {"number": part["number"] + 1}


class Fails:
    def __call__(self, part: Part) -> Part:
        raise ValueError(f"no number above {part['number'].max()}")


class Counted:
    """Yields the numbers of a task, each with the one before; a task "bad" is an error after its first number."""

    def __init__(self, start: int) -> None:
        self._start = start

    def __call__(self, task: str) -> Iterator[list[int]]:
        yield [self._start, len(task)]
        if task == "bad":
            raise DataError(f"task {task}: no such file")
        yield [self._start + 1, len(task)]

    @staticmethod
    def pack(result: list[int]) -> pa.Table:
        return pa.table({"number": result})

    @staticmethod
    def unpack(table: pa.Table) -> list[int]:
        return list(table.column("number").to_pylist())


@pytest.fixture
def cluster(ray_cluster: None) -> Engine:
    return open_engine("auto")


def parts(count: int) -> list[Part]:
    return [
        {
            "number": np.arange(place, place + 3),
            "word": np.array(["خاتم ذهب", "", f"part {place}"], dtype=object),
            "row": np.full((3, 4), place, np.float32),
        }
        for place in range(count)
    ]


@pytest.mark.parametrize("count", [0, 1, 9])
def test_both_engines_give_the_same_parts_in_the_same_order(cluster: Engine, count: int) -> None:
    here = list(open_engine("").map(parts(count), Doubled, 2))
    there = list(cluster.map(parts(count), Doubled, 2))
    assert len(here) == len(there) == count
    for one, other, place in zip(here, there, range(count), strict=True):
        assert one["number"].tolist() == other["number"].tolist() == [2 * place, 2 * place + 2, 2 * place + 4]
        assert one["word"].tolist() == other["word"].tolist() == ["خاتم ذهب", "", f"part {place}"]
        assert other["row"].dtype == np.float32
        assert np.array_equal(one["row"], other["row"])
        assert other["process"][0] != os.getpid() == one["process"][0]


def test_a_worker_that_dies_is_started_again_and_its_part_is_not_lost(cluster: Engine, tmp_path: Path) -> None:
    found = list(cluster.map(parts(5), DiesOnce, str(tmp_path / "died")))
    assert (tmp_path / "died").exists()
    assert [one["number"].tolist() for one in found] == [[n + 1, n + 2, n + 3] for n in range(5)]


def test_an_error_of_a_worker_is_not_lost(cluster: Engine) -> None:
    with pytest.raises(Exception, match="no number above 2"):
        list(cluster.map(parts(1), Fails))


@pytest.mark.parametrize("count", [0, 1, 9])
def test_the_results_of_tasks_come_in_their_order(cluster: Engine, count: int) -> None:
    tasks = ["x" * length for length in range(count)]
    here = list(itertools.chain(*open_engine("").flat_map(tasks, Counted, 10)))
    there = list(itertools.chain(*cluster.flat_map(tasks, Counted, 10)))
    assert here == there == list(itertools.chain(*([10, length, 11, length] for length in range(count))))


def test_a_data_error_of_a_task_is_one_here(cluster: Engine) -> None:
    for engine in (open_engine(""), cluster):
        with pytest.raises(DataError, match=r"^task bad: no such file$"):
            list(engine.flat_map(["x", "bad", "xx"], Counted, 10))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_no_cluster_is_an_error_that_names_the_address(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(DataError, match=f"ray={address}: no Ray cluster answers there"):
        open_engine(address)
