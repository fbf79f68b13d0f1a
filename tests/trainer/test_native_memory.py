"""Memory of native libraries."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from trainer.native_memory import limit_caches

# In a process of its own: the heap of this one has holes of any size, so the small pieces would not lie between the
# large ones. 200 MB, in pieces below the size from which glibc maps memory for each.
FREED = """
import os
from pathlib import Path
from trainer.native_memory import release

def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 2**20

pieces = [(bytearray(100_000), bytearray(2_000)) for _ in range(2_000)]
kept = [small for _, small in pieces]
del pieces
before = resident_mb()
release()
print(before, resident_mb(), len(kept))
"""

FROZEN = """
import gc, json, weakref
from trainer.native_memory import freeze_imports, release

class Node:
    pass

before = Node()
before.itself, before_ref = before, weakref.ref(before)
del before
freeze_imports()
after = Node()
after.itself, after_ref = after, weakref.ref(after)
del after
release()
print(before_ref() is None, after_ref() is None, gc.get_freeze_count() > 10 * len(gc.get_objects()))
"""


def test_caches_are_limited_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LRU_CACHE_CAPACITY", raising=False)
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "100")
    limit_caches()
    assert (os.environ["LRU_CACHE_CAPACITY"], os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"]) == ("16", "100")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone keeps freed memory this way")
def test_freed_memory_between_used_pieces_goes_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, check=True)
    before, after, kept = map(int, done.stdout.split())
    assert before - after > 150 and kept == 2_000


def test_what_is_imported_is_not_searched_again_and_later_cycles_are_freed() -> None:
    done = subprocess.run([sys.executable, "-c", FROZEN], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "True"]
