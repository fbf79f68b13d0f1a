"""The routes about what goes on, for keys of scope admin: experiments with their counts, and what is searched."""

from __future__ import annotations

from collections.abc import Callable

import orjson
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from gateway.experiments.serving import LiveExperiments
from gateway.experiments.switches import ExperimentState
from gateway.searches import SearchCounts
from twotower.serving import telemetry

_SEARCHES = 20
Pairs = list[tuple[str, int]]


class IntervalOut(BaseModel):
    """A figure and its interval of 95 %, which holds however often it is looked at."""

    value: float
    low: float
    high: float


class ArmOut(BaseModel):
    """An arm and what it did since the experiment began. `version` empty: the published one.

    `click_through`: clicks a list, null without lists; `difference`: against the first arm; `off`: the guardrail that
    has switched it off.
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


class ViewRoutes:
    """The handlers; `parts_of` finds the parts of the application that they read."""

    def __init__(self, parts_of: Callable[[Request], tuple[LiveExperiments, SearchCounts]]) -> None:
        self._parts_of = parts_of

    async def experiments(self, request: Request) -> Response:
        experiments, _ = self._parts_of(request)
        states = [_experiment(one) for one in await experiments.states()]
        return _json(ExperimentsAnswer(experiments=states, request_id=telemetry.request_id.get()))

    async def searches(self, request: Request) -> Response:
        _, counts = self._parts_of(request)
        found = await counts.read(_SEARCHES)
        lists = {name: _counted(pairs) for name, pairs in found._asdict().items()}
        return _json(SearchesAnswer(**lists, request_id=telemetry.request_id.get()))


def _counted(pairs: Pairs) -> list[SearchCountOut]:
    return [SearchCountOut(query=text, count=count) for text, count in pairs]


def _experiment(state: ExperimentState) -> ExperimentOut:
    one = state.experiment
    control = state.totals(one.control.name)
    arms = []
    for arm in one.arms:
        counts, is_control = state.totals(arm.name), arm is one.control
        through, difference = counts.click_through(), None if is_control else counts.more_clicks_than(control)
        arms.append(
            ArmOut(
                name=arm.name,
                version=arm.version,
                share=arm.share,
                **arm.settings.model_dump(),
                lists=counts.lists,
                clicks=counts.clicks,
                requests=counts.requests,
                failures=counts.failures,
                slow=counts.slow,
                click_through=through and IntervalOut(**through._asdict()),
                difference=difference and IntervalOut(**difference._asdict()),
                off=state.off.get(arm.name),
            )
        )
    return ExperimentOut(name=one.name, kind=one.kind, slots=list(one.slots), share=one.share, arms=arms)


def _json(answer: BaseModel) -> Response:
    return Response(orjson.dumps(answer.model_dump()), media_type="application/json")
