"""Answers /retrieve by the experiments in force."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gateway import metrics
from gateway.clients.answers import Hits
from gateway.clients.deadline import Deadline
from gateway.experiments.draft import draft
from gateway.experiments.file import ExperimentsFile
from gateway.experiments.switches import ExperimentState, Switches
from gateway.pipeline import buyer_lists
from gateway.pipeline.answers import ProductList
from gateway.pipeline.parts import Pipeline
from gateway.schemas.requests import RetrieveQuery
from twotower.errors import InvalidInput, NotFound, TwoTowerError, VersionNotHeld
from twotower.event_log import InteractionRecord
from twotower.experiments import FIRST, INTERLEAVED, SECOND, Arm, Assignment, Experiment, arm_named_by
from twotower.serving import telemetry, wire

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5
# shadow lists under way in one worker; further ones are not made
_MAX_SHADOWS = 4

ShadowLog = Callable[[RetrieveQuery, ProductList], None]


@dataclass(frozen=True)
class Plan:
    """How one request is answered: outside experiments, by an arm, or by the pair of arms of its experiment.

    `query` is what the arm makes of the caller's, `given`, so it says what the answer costs.
    """

    given: RetrieveQuery
    query: RetrieveQuery
    experiment: Experiment | None = None
    arm: Arm | None = None
    is_interleaved: bool = False

    @property
    def lists(self) -> int:
        """How many lists the answer needs."""
        return 2 if self.is_interleaved else 1


class LiveExperiments:
    """Assigns, answers, counts and switches off, until it is closed."""

    def __init__(self, file: ExperimentsFile, switches: Switches, click: str, shadow_seconds: float) -> None:
        self._file = file
        self._switches = switches
        self._click = click
        self._shadow_seconds = shadow_seconds
        self._shadows: set[asyncio.Task[None]] = set()
        self._file.load()
        self._switches.use(self._file.current.experiments)
        self._task = asyncio.create_task(self._run())

    def plan(self, query: RetrieveQuery) -> Plan:
        """The arm of the buyer or guest; that of one who has none, or whose arm is off, is the control or nothing."""
        for experiment in self._file.current.experiments:
            arm = experiment.arm_of(query.owner) if experiment.covers(query.slot) else None
            if arm is None:
                continue
            if self._switches.is_off(experiment.name, arm.name):
                arm = experiment.control
            # a list in order of price is no ranking that could be drafted from
            is_pair = experiment.kind == "interleave" and query.sort == "relevance"
            is_pair = is_pair and not self._switches.is_off(experiment.name, experiment.arms[1].name)
            return Plan(query, _asked(query, arm), experiment, arm, is_pair)
        return Plan(query, query)

    async def retrieve(self, plan: Plan, pipeline: Pipeline, deadline: Deadline, log_shadow: ShadowLog) -> ProductList:
        """The list of this plan. Raises what the pipeline raises."""
        experiment, arm = plan.experiment, plan.arm
        if experiment is None or arm is None:
            return await buyer_lists.retrieve(pipeline, plan.query, deadline)
        if plan.is_interleaved:
            answer = await self._interleave(plan.given, experiment, pipeline, deadline)
        else:
            answer = await self._answer(plan.query, experiment, arm, pipeline, deadline)
        assignment = answer.assignment or Assignment(experiment.name, arm.name)
        if not assignment.teams:
            self._switches.counts(experiment.name, arm.name).lists += 1
        metrics.experiment_lists(*assignment[:2]).inc()
        metrics.experiment_impressions(*assignment[:2]).inc(len(answer.hits.scores))
        if experiment.kind == "shadow" and not self._switches.is_off(experiment.name, experiment.arms[1].name):
            self._start_shadow(plan.given, experiment, pipeline, log_shadow)
        return answer._replace(assignment=assignment)

    def count_clicks(self, records: Sequence[InteractionRecord]) -> None:
        """Counts the clicks among these interactions, by the arm that each one's `recommendation_id` names."""
        for one in records:
            named = arm_named_by(one.recommendation_id or "") if one.event_type == self._click else None
            if named is not None:
                self._switches.add_click(*named, one.event_id)

    async def states(self) -> list[ExperimentState]:
        """Every experiment in force with its counts."""
        return await self._switches.states()

    async def close(self) -> None:
        for task in (self._task, *self._shadows):
            task.cancel()
        await asyncio.gather(self._task, *self._shadows, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                if self._file.poll():
                    self._switches.use(self._file.current.experiments)
                await self._switches.sync()
            except Exception:
                # without this task no file would be read and no arm switched off, and nobody would know
                log.exception("following the experiments failed")
            await asyncio.sleep(_LOOK_SECONDS)

    async def _answer(
        self, query: RetrieveQuery, experiment: Experiment, arm: Arm, pipeline: Pipeline, deadline: Deadline
    ) -> ProductList:
        """The list of an arm, or of the published version if the services do not hold the arm's.

        The buyer stays in the arm: an arm is judged by all who were to get it, not by those who could.
        """
        try:
            return await self._measured(experiment, arm, buyer_lists.retrieve(pipeline, query, deadline, arm.version))
        except VersionNotHeld as error:
            answer = await buyer_lists.retrieve(pipeline, query, deadline)
            warning = f"the arm {arm.name} of {experiment.name} cannot answer: {error}"
            return answer._replace(warnings=[*answer.warnings, warning])

    async def _interleave(
        self, query: RetrieveQuery, experiment: Experiment, pipeline: Pipeline, deadline: Deadline
    ) -> ProductList:
        """One list drafted from those of both arms; the first arm's alone if the second cannot answer."""
        control, other = experiment.arms
        answers = await asyncio.gather(
            self._answer(_asked(query, control), experiment, control, pipeline, deadline),
            self._measured(
                experiment, other, buyer_lists.retrieve(pipeline, _asked(query, other), deadline, other.version)
            ),
            return_exceptions=True,
        )
        first, second = answers
        if isinstance(first, BaseException):
            raise first
        if isinstance(second, TwoTowerError):
            warning = f"the arm {other.name} of {experiment.name} cannot answer: {second}"
            return first._replace(warnings=[*first.warnings, warning])
        if isinstance(second, BaseException):
            raise second
        drafted, teams = drafted_list(first, second, query.k, f"{experiment.name} {telemetry.request_id.get()}")
        return drafted._replace(assignment=Assignment(experiment.name, INTERLEAVED, teams))

    def _start_shadow(
        self, query: RetrieveQuery, experiment: Experiment, pipeline: Pipeline, log_shadow: ShadowLog
    ) -> None:
        if len(self._shadows) >= _MAX_SHADOWS:
            metrics.SHADOWS_SKIPPED.inc()
            return
        task = asyncio.create_task(self._shadow(query, experiment, pipeline, log_shadow))
        self._shadows.add(task)
        task.add_done_callback(self._shadows.discard)

    async def _shadow(
        self, query: RetrieveQuery, experiment: Experiment, pipeline: Pipeline, log_shadow: ShadowLog
    ) -> None:
        """Makes the list that the second arm would have answered, and logs it."""
        arm, deadline = experiment.arms[1], Deadline.after(self._shadow_seconds)
        try:
            asked = _asked(query, arm)
            answer = await self._measured(experiment, arm, buyer_lists.retrieve(pipeline, asked, deadline, arm.version))
        except TwoTowerError as error:
            log.debug("no shadow list: %s", error)
            return
        metrics.experiment_lists(experiment.name, arm.name).inc()
        log_shadow(asked, answer._replace(assignment=Assignment(experiment.name, arm.name)))

    async def _measured(
        self, experiment: Experiment, arm: Arm, asking: Coroutine[Any, Any, ProductList]
    ) -> ProductList:
        counts, started = self._switches.counts(experiment.name, arm.name), time.perf_counter()
        try:
            return await asking
        except TwoTowerError as error:
            # what the caller asked for in vain is no fault of an arm
            if not isinstance(error, (InvalidInput, NotFound)):
                counts.failures += 1
                metrics.experiment_failures(experiment.name, arm.name).inc()
            raise
        finally:
            counts.requests += 1
            counts.slow += (time.perf_counter() - started) * 1000 > experiment.guardrails.slow_ms


def drafted_list(first: ProductList, second: ProductList, k: int, seed: str) -> tuple[ProductList, str]:
    """One list of two, and the team of each product.

    `model_version` names both versions. Each score is that of the version whose team chose the product.
    """
    pair = {FIRST: first, SECOND: second}
    ids = {team: wire.unpack_ids(one.hits.packed_ids) for team, one in pair.items()}
    picks = draft(ids[FIRST], ids[SECOND], k, seed)
    products = None
    if first.products is not None and second.products is not None:
        details = {FIRST: first.products, SECOND: second.products}
        products = [details[team][place] for team, place in picks]
    reasons = None
    if first.reasons is not None and second.reasons is not None:
        given = {FIRST: first.reasons, SECOND: second.reasons}
        reasons = [given[team][place] for team, place in picks]
    hits = Hits(
        wire.pack_ids([ids[team][place] for team, place in picks]),
        np.array([pair[team].hits.scores[place] for team, place in picks], np.float32),
        "+".join(dict.fromkeys((first.hits.version, second.hits.version))),
        [],
    )
    warnings = list(dict.fromkeys([*first.warnings, *second.warnings]))
    placed_by = {**second.placed_by, **first.placed_by}
    drafted = ProductList(hits, first.source, warnings, products, reasons=reasons, placed_by=placed_by)
    return drafted, "".join(team for team, _ in picks)


def _asked(query: RetrieveQuery, arm: Arm) -> RetrieveQuery:
    given = arm.settings.given()
    return query.model_copy(update=given) if given else query
