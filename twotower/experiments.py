"""experiments.yaml: which experiments run, and which arm a buyer or a guest is in."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from twotower.errors import SettingsError

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
Share = Annotated[float, Field(gt=0, le=1)]
Kind = Literal["split", "interleave", "shadow"]
# the arm of a list that is drafted from both
INTERLEAVED = "interleaved"
# letters of the two arms in `Assignment.teams`
FIRST, SECOND = "A", "B"
_BETWEEN = "~"
_MAX_ID_BYTES = 128
_ROUNDING = 1e-9


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ArmSettings(_Part):
    """Settings of /retrieve that an arm puts in place of the caller's; None leaves the caller's."""

    diversity: float | None = Field(default=None, ge=0, le=1)
    exclude_seen: bool | None = None

    def given(self) -> dict[str, Any]:
        return self.model_dump(exclude_none=True)


class Arm(_Part):
    """One of the ways to answer. `version` empty: the published version."""

    name: Name
    version: str = Field("", pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,63})?$")
    share: Share | None = Field(default=None, description="of the buyers; of a split alone")
    settings: ArmSettings = ArmSettings()


class Guardrails(_Part):
    """What switches an arm off. Each is tried against the first arm, as a difference that chance does not explain."""

    min_lists: int = Field(
        default=500, ge=1, description="lists of each arm before click-through and latency are judged"
    )
    min_requests: int = Field(default=50, ge=1, description="requests of each arm before its failures are judged")
    min_click_ratio: float = Field(default=0.5, ge=0, le=1, description="click-through, as a share of the first arm's")
    max_error_share: float = Field(
        default=0.02, ge=0, le=1, description="share of requests that fail, above the first arm's"
    )
    slow_ms: float = Field(default=500.0, gt=0, description="a request that takes longer is slow")
    max_slow_share: float = Field(default=0.05, ge=0, le=1, description="share of slow requests, above the first arm's")


class Experiment(_Part):
    """One experiment. The first arm is the control.

    split: each buyer gets one arm. interleave: each list is drafted from both arms. shadow: the first arm answers, and
    what the second one would have answered is logged.
    """

    name: Name
    kind: Kind = "split"
    slots: tuple[Annotated[str, Field(min_length=1)], ...] = Field((), description="empty: lists of every slot")
    salt: str | None = Field(None, min_length=1, description="the same salt gives the same buyers; default: the name")
    share: Share | None = Field(None, description="of the buyers; of interleave and shadow alone; default 1")
    arms: tuple[Arm, ...] = Field(min_length=2)
    guardrails: Guardrails = Guardrails()

    @model_validator(mode="after")
    def _check(self) -> Self:
        twice = [name for name, count in Counter(arm.name for arm in self.arms).items() if count > 1]
        if twice:
            raise ValueError(f"the arm {twice[0]} stands there twice")
        if self.kind != "split":
            _check_pair(self)
        elif self.share is not None:
            raise ValueError("share: a split has a share in each arm")
        elif missing := [arm.name for arm in self.arms if arm.share is None]:
            raise ValueError(f"the arm {missing[0]} has no share")
        elif (total := sum(arm.share or 0 for arm in self.arms)) > 1 + _ROUNDING:
            raise ValueError(f"the shares of the arms are {total:g} together, more than 1")
        return self

    @property
    def control(self) -> Arm:
        return self.arms[0]

    def covers(self, slot: str | None) -> bool:
        """Whether lists of this slot are part of it."""
        return not self.slots or slot in self.slots

    def arm_of(self, unit: str) -> Arm | None:
        """The arm of a buyer or a guest, None outside the experiment. Of a pair of arms: the first one."""
        place = place_of(self.salt or self.name, unit)
        if self.kind != "split":
            return self.control if place < (1.0 if self.share is None else self.share) else None
        end = 0.0
        for arm in self.arms:
            end += arm.share or 0
            if place < end:
                return arm
        # the shares of all buyers may add up to a little less than 1
        return self.arms[-1] if end > 1 - _ROUNDING else None

    def digest(self) -> str:
        """Changes with the arms and with who is in them: what was counted under another digest is void."""
        told = self.model_dump_json(include={"name", "kind", "slots", "salt", "arms"})
        return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


class Experiments(_Part):
    """The whole file. Of several experiments that cover a slot, a buyer is in the first that has an arm for them."""

    experiments: tuple[Experiment, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        twice = [name for name, count in Counter(one.name for one in self.experiments).items() if count > 1]
        if twice:
            raise ValueError(f"the experiment {twice[0]} stands there twice")
        return self

    def versions(self) -> list[str]:
        """The versions that an arm names, each once."""
        return list(dict.fromkeys(arm.version for one in self.experiments for arm in one.arms if arm.version))

    def by_name(self) -> Mapping[str, Experiment]:
        return {one.name: one for one in self.experiments}


class Assignment(NamedTuple):
    """What an answer was part of. `teams`: of an interleaved list, a letter per product says which arm chose it."""

    experiment: str
    arm: str
    teams: str | None = None


def _check_pair(experiment: Experiment) -> None:
    kind = experiment.kind
    if len(experiment.arms) != 2:
        raise ValueError(f"{kind} takes two arms, these are {len(experiment.arms)}")
    if shared := [arm.name for arm in experiment.arms if arm.share is not None]:
        raise ValueError(f"the arm {shared[0]} has a share; {kind} has one for both, beside `kind`")
    if INTERLEAVED in {arm.name for arm in experiment.arms}:
        raise ValueError(f"an arm cannot be called {INTERLEAVED}")


def place_of(salt: str, unit: str) -> float:
    """Where a buyer or a guest lies between 0 and 1: always the same place, independent for each salt."""
    hashed = hashlib.blake2b(f"{salt}\0{unit}".encode(), digest_size=8).digest()
    # 53 bits, which a float holds exactly: 1 is never reached
    return (int.from_bytes(hashed) >> 11) / 2**53


def recommendation_id(request_id: str, assignment: Assignment | None) -> str:
    """The id of a list: the request's, and the experiment and arm behind it, so that any process can count a click."""
    if assignment is None:
        return request_id
    named = _BETWEEN.join((request_id, assignment.experiment, assignment.arm))
    return named if len(named.encode()) <= _MAX_ID_BYTES else request_id


def arm_named_by(recommendation: str) -> tuple[str, str] | None:
    """The experiment and the arm that a list's id names."""
    parts = recommendation.rsplit(_BETWEEN, 2)
    return (parts[1], parts[2]) if len(parts) == 3 else None


def read_experiments(path: Path) -> Experiments:
    """The experiments of a file. Raises SettingsError, with the field and its value, if it cannot be used."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Experiments.model_validate({} if content is None else content)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the experiments file {path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"the experiments file {path} is not YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        given = f", not {first['input']!r}" if isinstance(first["input"], (str, int, float)) else ""
        message = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"the experiments file {path}: {place}: {message}{given}") from None
