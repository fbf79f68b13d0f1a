"""Types that the sections of the configuration share."""

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
    """A section of the configuration. Its fields have no defaults: these are all in config.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def cores() -> int:
    """Cores that this process may use; a cpuset or taskset may allow fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_threads(asked: int, name: str) -> int:
    """The number of threads to start: `asked`, or one per usable core if it is 0.

    Raises SettingsError, with the setting's `name`, above eight threads per core of the machine: each takes memory.
    """
    limit = 8 * (os.cpu_count() or 1)
    if not 0 <= asked <= limit:
        raise SettingsError(f"{name} {asked}: must be 0 to {limit}, eight for each core of this machine")
    return asked or cores()
