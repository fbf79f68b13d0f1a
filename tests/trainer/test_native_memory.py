"""Memory of native libraries."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from trainer.native_memory import limit_caches, release


def test_caches_are_limited_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LRU_CACHE_CAPACITY", raising=False)
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "100")
    limit_caches()
    assert (os.environ["LRU_CACHE_CAPACITY"], os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]) == ("16", "100")


def resident_mb() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone keeps freed memory this way")
def test_freed_memory_between_used_pieces_goes_back_to_the_system() -> None:
    # 200 MB, below the size from which glibc maps memory for each piece
    pieces = [(bytearray(100_000), bytearray(2_000)) for _ in range(2_000)]
    kept = [small for _, small in pieces]
    del pieces
    before = resident_mb()
    release()
    assert before - resident_mb() > 100
    assert len(kept) == 2_000
