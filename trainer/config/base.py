"""Types that the sections of the configuration share."""

from __future__ import annotations

import os
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from twotower.errors import SettingsError

Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Several = Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1)]


def _read_auto(value: Any) -> Any:
    """A value of --set is text where the default is the text `auto`."""
    known = {"true": True, "false": False, "auto": "auto"}
    if isinstance(value, str) and value in known:
        return known[value]
    if not isinstance(value, bool):
        raise ValueError("must be auto, true or false")
    return value


# `auto`: the run finds the value in the data, and a method of `Config` replaces it
Auto = Annotated[bool | Literal["auto"], BeforeValidator(_read_auto)]


class Section(BaseModel):
    """A section of the configuration. Its fields have no defaults: these are all in config.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def settled(value: bool | Literal["auto"], name: str) -> bool:
    """The value that the run found; ValueError if it is still to be found."""
    if value == "auto":
        raise ValueError(f"{name}=auto is read before the run has settled it")
    return value


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
