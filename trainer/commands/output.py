"""What a command prints, and its exit codes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def timed_say() -> Callable[[str], None]:
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - started:6.1f} s] {line}", flush=True)

    return say


def fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code
