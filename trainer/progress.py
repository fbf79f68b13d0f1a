"""Progress of a stage: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from types import TracebackType
from typing import Generic, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
# without a terminal, one line each this many seconds
_EVERY = 10.0


class track(Generic[Item]):
    """Iterates over `items`, showing rate and time left; usable as a context manager as well."""

    def __init__(self, items: Iterable[Item], name: str, unit: str = "it") -> None:
        self._items, self._name, self._unit = items, name, unit
        self._total = len(items) if isinstance(items, Sized) else None

    def __enter__(self) -> track[Item]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def __iter__(self) -> Iterator[Item]:
        if sys.stderr.isatty():
            yield from tqdm(self._items, desc=self._name, unit=self._unit, total=self._total, leave=False)
            return
        yield from self._plain()

    def _plain(self) -> Iterator[Item]:
        started = shown = time.monotonic()
        for done, item in enumerate(self._items, start=1):
            yield item
            now = time.monotonic()
            if now - shown >= _EVERY:
                shown = now
                rate = done / (now - started)
                of = f" of {self._total:,}" if self._total else ""
                left = f", {(self._total - done) / rate:.0f} s left" if self._total else ""
                print(f"{self._name}: {done:,}{of} {self._unit}, {rate:.1f}/s{left}", file=sys.stderr, flush=True)
