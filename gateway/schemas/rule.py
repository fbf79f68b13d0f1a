"""One rule, and the rules in force, as rules.yaml and the admin API have them."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from gateway.schemas.fields import refuse
from twotower.conditions.language import Condition, negated
from twotower.conditions.parsing import ConditionError, parse, write
from twotower.events import MAX_ID_BYTES

MAX_RULES = 500
_MAX_CONDITION = 2000

Slot = Annotated[str, Field(pattern=r"^[a-z0-9_-]{1,64}$")]


def _check_condition(text: str) -> str:
    try:
        # conditions are put together and written again, which nests them deeper
        parse(write(negated(parse(text))))
    except ConditionError as error:
        raise refuse(str(error)) from None
    return text


class _Rule(BaseModel):
    """What all rules have. `when` limits the rule to buyers and requests, and to the products that it is about."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True)

    name: str = Field(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$")
    slot: Literal["*"] | Annotated[tuple[Slot, ...], Field(min_length=1)] = "*"
    from_: AwareDatetime | None = Field(None, alias="from", description="ISO time with its zone; null: always was")
    until: AwareDatetime | None = Field(None, description="ISO time with its zone; null: for ever")
    when: Annotated[str, Field(max_length=_MAX_CONDITION), AfterValidator(_check_condition)] = ""
    enabled: bool = True

    @property
    def condition(self) -> Condition:
        return parse(self.when)

    def covers(self, slot: str) -> bool:
        """Whether lists of this slot are meant."""
        return self.slot == "*" or slot in self.slot

    def meets(self, other: _Rule) -> bool:
        """Whether both may act on one list."""
        slots = self.slot == "*" or any(map(other.covers, self.slot))
        starts = [one.timestamp() for one in (self.from_, other.from_) if one is not None]
        ends = [one.timestamp() for one in (self.until, other.until) if one is not None]
        return slots and (not starts or not ends or max(starts) < min(ends))


class Include(_Rule):
    """At least n products that match are in the list, the best of them."""

    do: Literal["include"]
    n: int = Field(1, ge=1, le=100)


class Exclude(_Rule):
    """No product that matches is in the list."""

    do: Literal["exclude"]


class Boost(_Rule):
    """Products that match move up: their score counts `factor` times."""

    do: Literal["boost"]
    factor: float = Field(1.5, gt=1, le=100)


class Bury(_Rule):
    """Products that match come after all others."""

    do: Literal["bury"]


class Pin(_Rule):
    """A product stands at a place, counted from 1."""

    do: Literal["pin"]
    product_id: str = Field(min_length=1, max_length=MAX_ID_BYTES)
    place: int = Field(1, ge=1, le=1000)


class AtMost(_Rule):
    """No more than n products of one brand or category, as long as there are others."""

    do: Literal["at_most"]
    n: int = Field(ge=1, le=1000)
    field: Literal["brand", "category"]


class PriceRange(_Rule):
    """Of the products that match, only those of a price within the limits, both included."""

    do: Literal["price_range"]
    min: float | None = Field(None, ge=0)
    max: float | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.min is None and self.max is None:
            raise refuse("needs min, max or both")
        if self.min is not None and self.max is not None and self.max < self.min:
            raise refuse(f"max {self.max:g} is below min {self.min:g}")
        return self


class FreshShare(_Rule):
    """At least this share of the places holds products of at most so many days, as long as there are such."""

    do: Literal["fresh_share"]
    share: float = Field(gt=0, le=1)
    days: float = Field(gt=0, le=3650)


class NoRepeats(_Rule):
    """A product that the session or buyer was shown within so many hours is not shown again while others are left."""

    do: Literal["no_repeats"]
    hours: float = Field(gt=0, le=24 * 30)


Rule = Annotated[
    Include | Exclude | Boost | Bury | Pin | AtMost | PriceRange | FreshShare | NoRepeats, Field(discriminator="do")
]


class Rules(BaseModel):
    """All rules; of two that contradict each other, the first counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: tuple[Rule, ...] = Field(default=(), max_length=MAX_RULES)

    @model_validator(mode="after")
    def _check(self) -> Self:
        twice = [name for name, count in Counter(one.name for one in self.rules).items() if count > 1]
        if twice:
            raise refuse(f"the rule {twice[0]} stands there twice")
        return self

    def as_json(self) -> list[dict[str, Any]]:
        """The rules as JSON has them, without fields that are null."""
        return [one.model_dump(mode="json", by_alias=True, exclude_none=True) for one in self.rules]
