"""The deadline of a request."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Deadline:
    """The moment on the monotonic clock by which a request must be answered."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        return cls(time.monotonic() + seconds)

    def remaining(self) -> float:
        """Seconds left; negative once it has passed."""
        return self.at - time.monotonic()

    def share(self, part: float) -> Deadline:
        """An earlier deadline, after `part` (0 to 1) of the time left: the next step keeps the rest."""
        now = time.monotonic()
        return Deadline(now + (self.at - now) * part)
