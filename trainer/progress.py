"""Progress of a loop: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
# seconds between two lines
_EVERY = 10.0


def track(items: Iterable[Item], name: str, unit: str = "it", total: int | None = None) -> Iterator[Item]:
    """Iterates over `items` and shows rate and time left on standard error.

    `total` is the number of items, needed if `items` has no length. A loop of a few seconds shows nothing.
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    if sys.stderr.isatty():
        yield from tqdm(items, desc=name, unit=unit, total=total, leave=False, delay=1)
    else:
        yield from _plain(items, name, unit, total)


def _plain(items: Iterable[Item], name: str, unit: str, total: int | None) -> Iterator[Item]:
    started = shown = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        now = time.monotonic()
        if now - shown >= _EVERY:
            shown = now
            rate = done / (now - started)
            of = f" of {total:,}" if total else ""
            left = f", {max(0, total - done) / rate:.0f} s left" if total else ""
            print(f"{name}: {done:,}{of} {unit}, {rate:.1f}/s{left}", file=sys.stderr, flush=True)
