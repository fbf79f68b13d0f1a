"""Tables that lie in a file."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest

from trainer.mapped import drop_pages, mapped_rows

PAGES = 1000


def resident_kib() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def test_rows_come_back_in_order_and_keep_what_is_written_to_them(tmp_path: Path) -> None:
    parts = [np.arange(6, dtype=np.float32).reshape(3, 2), np.empty((0, 2), np.float32), np.full((1, 2), 7, np.float32)]
    rows = mapped_rows(iter(parts), 2, tmp_path)
    assert rows.tolist() == [[0, 1], [2, 3], [4, 5], [7, 7]]
    assert list(tmp_path.iterdir()) == []
    rows[1] = 9
    drop_pages()
    assert rows.tolist() == [[0, 1], [9, 9], [4, 5], [7, 7]]


def test_no_rows_need_no_file(tmp_path: Path) -> None:
    assert mapped_rows([], 3, tmp_path).shape == (0, 3)


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="Linux tells how much memory is resident")
def test_dropped_pages_leave_memory_until_they_are_read(tmp_path: Path) -> None:
    width = mmap.PAGESIZE // 4
    rows = mapped_rows((np.full((100, width), one, np.float32) for one in range(PAGES // 100)), width, tmp_path)
    total = float(rows.sum(dtype=np.float64))
    read = resident_kib()
    drop_pages()
    # nearly all of the pages; other memory may have grown by a little
    assert read - resident_kib() > 0.9 * PAGES * mmap.PAGESIZE / 1024
    assert float(rows.sum(dtype=np.float64)) == total == sum(range(10)) * 100 * width
