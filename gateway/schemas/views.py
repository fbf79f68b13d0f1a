"""Answers of the routes about what goes on: experiments with their counts, searches, buyers, audiences."""

from __future__ import annotations

from pydantic import BaseModel


class IntervalOut(BaseModel):
    """A figure and its interval of 95 %, which holds however often it is looked at."""

    value: float
    low: float
    high: float


class ArmOut(BaseModel):
    """An arm and what it did since the experiment began. `version` empty: the published one.

    `click_through`: clicks a list, `difference`: beyond the first arm's, both null below 100 lists; `off`: the
    guardrail that has switched it off.
    """

    name: str
    version: str
    share: float | None
    diversity: float | None
    exclude_seen: bool | None
    lists: int
    clicks: int
    requests: int
    failures: int
    slow: int
    click_through: IntervalOut | None
    difference: IntervalOut | None
    off: str | None


class ExperimentOut(BaseModel):
    """An experiment in force; its first arm is the control. `slots` empty: all."""

    name: str
    kind: str
    slots: list[str]
    share: float | None
    arms: list[ArmOut]


class ExperimentsAnswer(BaseModel):
    """The experiments in force, in the order of the file."""

    experiments: list[ExperimentOut]
    request_id: str


class SearchCountOut(BaseModel):
    """A search, in lower case, and how often it came."""

    query: str
    count: int


class SearchesAnswer(BaseModel):
    """The most frequent searches of the last seven days, and of those the ones that found nothing that matches."""

    top: list[SearchCountOut]
    without_result: list[SearchCountOut]
    request_id: str


class BuyersAnswer(BaseModel):
    """Buyers who were active last."""

    buyer_ids: list[str]
    request_id: str


class ListedOut(BaseModel):
    """A buyer, and the product's place in the buyer's list, from 1."""

    buyer_id: str
    place: int


class AudienceAnswer(BaseModel):
    """Of the `asked` buyers who were active last, those whose first `length` products have the product."""

    asked: int
    length: int
    buyers: list[ListedOut]
    request_id: str
