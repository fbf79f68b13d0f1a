"""Keeps the memory small that native libraries hold for later."""

from __future__ import annotations

import ctypes
import gc
import os
import platform

from trainer.mapped import drop_pages

# both libraries keep compiled matrix products by shape, 1024 of them; a training step has other shapes than the last
_CACHES = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "16", "LRU_CACHE_CAPACITY": "16"}


def limit_caches() -> None:
    """Limits the caches of torch's matrix products (oneDNN, ideep); call it before torch is imported.

    A training with bfloat16 would otherwise grow by about 2 MB at every step. Values that are already in the
    environment stay.
    """
    for name, value in _CACHES.items():
        os.environ.setdefault(name, value)


def freeze_imports() -> None:
    """Leaves what is imported out of later collections: a search for cycles among torch's modules takes .3 seconds.

    Call it before any data is read, since a cycle of frozen objects is never freed.
    """
    gc.collect()
    gc.freeze()


def release() -> None:
    """Returns freed memory to the system: glibc keeps what lies between pieces that are still used.

    Collects reference cycles first. Tables that lie in a file give their memory back too.
    """
    gc.collect()
    drop_pages()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL("libc.so.6").malloc_trim(0)
