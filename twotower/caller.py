"""Who waits for the work that is running, and until when: long work ends with its caller."""

from __future__ import annotations

import contextvars
import math
import time

from twotower.errors import DeadlineExceeded


class Caller:
    """One caller. `deadline`: the time.monotonic() at which it gives up; `has_left`: it has given up already."""

    __slots__ = ("deadline", "has_left")

    def __init__(self, deadline: float = math.inf) -> None:
        self.deadline = deadline
        self.has_left = False


# work without a caller, such as the trainer's, runs to its end
caller: contextvars.ContextVar[Caller | None] = contextvars.ContextVar("caller", default=None)


def check_caller() -> None:
    """Raises DeadlineExceeded if the caller of the running work has left or its deadline has passed.

    Costs 0.1 us: work that may take longer than a few milliseconds calls it between its steps.
    """
    one = caller.get()
    if one is None:
        return
    if one.has_left:
        raise DeadlineExceeded("the caller has left")
    late = time.monotonic() - one.deadline
    if late >= 0:
        raise DeadlineExceeded(f"the deadline passed {late:.3f} s ago")
