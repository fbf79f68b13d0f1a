"""What the manifest says of the lists that need no vector: repeat purchases and rising products."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]


class RepeatModel(BaseModel):
    """The parameters of the model, as the manifest has them.

    `event`: the kind of event that counts as a purchase. `regularity`: k of the Erlang distribution. `shape` and
    `scale_days`: of the gamma distribution of rates, for a product of pace 1. `leave` and `stay`: of the beta
    distribution of the chance to give a product up. `horizon_days`: the time in which a purchase is expected.
    `min_returns`: share of the buyers who must come back to a product before it is offered to one who bought it once.
    `pairs`: pairs of buyer and product with a purchase; `repeated`: those with more than one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    event: str
    regularity: Annotated[int, Field(ge=1, le=3)]
    shape: Positive
    scale_days: Positive
    leave: Positive
    stay: Positive
    horizon_days: Positive
    min_returns: Annotated[float, Field(ge=0, le=1)]
    pairs: int
    repeated: int


class Counted(BaseModel):
    """When the buyers were counted: the end of the window, its length, and how many windows before it count."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    until_ms: int
    window_days: float
    past_windows: int
