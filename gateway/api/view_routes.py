"""The routes about what goes on, for keys of scope admin: experiments, searches, buyers, audiences."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from gateway.admission import Admission
from gateway.api.request_reader import RequestReader
from gateway.api.responses import json_response
from gateway.api.state import live_of
from gateway.audience import LENGTH, SAMPLE, audience, recent_buyers
from gateway.experiments.switches import ExperimentState
from gateway.schemas.views import (
    ArmOut,
    AudienceAnswer,
    BuyersAnswer,
    ExperimentOut,
    ExperimentsAnswer,
    IntervalOut,
    ListedOut,
    SearchCountOut,
    SearchesAnswer,
)
from twotower.events import check_id
from twotower.serving import telemetry

_SEARCHES, _BUYERS = 20, 24


class ViewRoutes:
    """The handlers of what happens now, and of who is recommended what."""

    def __init__(self, reader: RequestReader, admission: Admission) -> None:
        self._reader, self._admission = reader, admission

    async def buyers(self, request: Request) -> Response:
        found = await recent_buyers(live_of(request).pipeline.history.stored.redis, _BUYERS)
        return json_response(BuyersAnswer(buyer_ids=found, request_id=telemetry.request_id.get()).model_dump())

    async def audience(self, request: Request) -> Response:
        """Costs as many lists as buyers are asked."""
        product_id = check_id(request.query_params.get("product_id", ""), "product_id")
        pipeline, deadline = live_of(request).pipeline, self._reader.deadline()
        buyers = await recent_buyers(pipeline.history.stored.redis, SAMPLE)
        listed = await self._admission.run(
            max(len(buyers), 1), deadline, lambda: audience(pipeline, product_id, buyers, deadline)
        )
        rows = [ListedOut(**one._asdict()) for one in listed]
        answer = AudienceAnswer(asked=len(buyers), length=LENGTH, buyers=rows, request_id=telemetry.request_id.get())
        return json_response(answer.model_dump())

    async def experiments(self, request: Request) -> Response:
        states = [_experiment(one) for one in await live_of(request).experiments.states()]
        answer = ExperimentsAnswer(experiments=states, request_id=telemetry.request_id.get())
        return json_response(answer.model_dump())

    async def searches(self, request: Request) -> Response:
        found = await live_of(request).searches.read(_SEARCHES)
        lists = {name: _counted(pairs) for name, pairs in found._asdict().items()}
        return json_response(SearchesAnswer(**lists, request_id=telemetry.request_id.get()).model_dump())


def _counted(pairs: list[tuple[str, int]]) -> list[SearchCountOut]:
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
