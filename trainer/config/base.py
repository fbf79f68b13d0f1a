"""The types that settings are made of."""

from __future__ import annotations

import os
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from twotower.errors import SettingsError

Share = Annotated[float, Field(ge=0, lt=1)]


Positive = Annotated[float, Field(gt=0)]


Count = Annotated[int, Field(ge=1)]


Several = Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1)]


class Section(BaseModel):
    """A part of the configuration. No field has a default here: config.yaml is the only place for them."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def cores() -> int:
    """Cores that this process may use: fewer than the machine has where it is held to some (taskset, a cpuset)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_threads(asked: int, name: str) -> int:
    """How many threads to start: as `asked`, or one for each core that this process may use (0).

    SettingsError under `name` where that is more than eight for each core of the machine: each takes memory.
    """
    most = 8 * (os.cpu_count() or 1)
    if not 0 <= asked <= most:
        raise SettingsError(f"{name} {asked}: must be 0 to {most}, eight for each core of this machine")
    return asked or cores()
