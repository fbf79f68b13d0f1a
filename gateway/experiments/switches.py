"""What all gateways together know of the arms: their counts, and which of them are switched off.

Each experiment has one hash in Redis. Each worker writes its own counts there, so that writing them twice changes
nothing, and reads those of all. A click's event id is a key in Redis for an hour: a repeated event is no further click,
whichever worker gets it. While Redis is down, a worker judges by its own counts.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field

import orjson

from gateway import metrics
from gateway.experiments.guardrails import ArmCounts, find_breach
from gateway.history.redis_client import RedisClient
from twotower.errors import Unavailable
from twotower.experiments import Experiment

log = logging.getLogger(__name__)

_PREFIX = "twotower:experiment:1:"
_COUNTS, _OFF = b"counts:", b"off:"
# after its last change, what is known of an experiment is kept so long
_SECONDS = 90 * 86_400
_CLICK_PREFIX = "twotower:click:1:"
# how long a repeated event is recognised, clicks that wait for the next exchange, and those of one command
_CLICK_SECONDS, _MAX_CLICKS, _CLICKS_TOGETHER = 3600, 10_000, 500


@dataclass
class _State:
    """An experiment, this worker's counts, why an arm is off, and clicks that wait to be counted (event id → arm)."""

    experiment: Experiment
    key: str
    own: dict[str, ArmCounts] = field(default_factory=dict)
    off: dict[str, str] = field(default_factory=dict)
    clicks: dict[str, str] = field(default_factory=dict)

    def counts(self, arm: str) -> ArmCounts:
        return self.own.setdefault(arm, ArmCounts())


@dataclass(frozen=True)
class ExperimentState:
    """An experiment as people see it: what all workers have counted by arm, and why an arm is off."""

    experiment: Experiment
    counts: Mapping[str, ArmCounts]
    off: Mapping[str, str]

    def totals(self, arm: str) -> ArmCounts:
        return self.counts.get(arm, ArmCounts())


class Switches:
    """The counts and the switches of the experiments in force."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis
        self._worker = os.urandom(8).hex()
        self._states: dict[str, _State] = {}

    def use(self, experiments: Iterable[Experiment]) -> None:
        """Takes over what is known of these experiments; one whose arms or buyers have changed begins anew."""
        states = {}
        for one in experiments:
            key = f"{_PREFIX}{one.name}:{one.digest()}"
            known = self._states.get(one.name)
            known = known if known is not None and known.key == key else _State(one, key)
            known.experiment = one
            states[one.name] = known
        for name, gone in self._states.items():
            if states.get(name) is not gone:
                for arm in gone.experiment.arms:
                    metrics.ARM_OFF.labels(name, arm.name).set(0)
        self._states = states

    def is_off(self, experiment: str, arm: str) -> bool:
        state = self._states.get(experiment)
        return state is not None and arm in state.off

    def counts(self, experiment: str, arm: str) -> ArmCounts:
        """What this worker counts of an arm, to add to; what an experiment adds that has just ended is lost."""
        state = self._states.get(experiment)
        return ArmCounts() if state is None else state.counts(arm)

    def add_click(self, experiment: str, arm: str, event_id: str) -> None:
        """Counts a click with the next exchange, if there is such an arm and the event is not a repeated one."""
        state = self._states.get(experiment)
        if state is None or arm not in {one.name for one in state.experiment.arms}:
            return
        if len(state.clicks) < _MAX_CLICKS:
            state.clicks[event_id] = arm

    async def states(self) -> list[ExperimentState]:
        """Every experiment in force, in the order of the file; while Redis is down, as this worker counts."""
        states = list(self._states.values())
        return [ExperimentState(one.experiment, await self._exchange(one), one.off) for one in states]

    async def sync(self) -> None:
        """Exchanges counts and switches with the other workers, and switches off what breaks a guardrail."""
        for state in list(self._states.values()):
            await self._count_clicks(state)
            totals = await self._exchange(state)
            control = state.experiment.control.name
            for arm in state.experiment.arms[1:]:
                if arm.name in state.off:
                    continue
                found = (totals.get(arm.name, ArmCounts()), totals.get(control, ArmCounts()))
                if why := find_breach(*found, state.experiment.guardrails):
                    await self._switch_off(state, arm.name, why)

    async def _count_clicks(self, state: _State) -> None:
        """Counts the clicks that no worker has counted; all of them while Redis is down."""
        clicks, state.clicks = list(state.clicks.items()), {}
        for start in range(0, len(clicks), _CLICKS_TOGETHER):
            part = clicks[start : start + _CLICKS_TOGETHER]
            # the slot of the hash
            keys = [f"{_CLICK_PREFIX}{{{state.key}}}:{event_id}" for event_id, _ in part]
            try:
                set_once = [("SET", key, "1", "NX", "EX", _CLICK_SECONDS) for key in keys]
                are_new = await self._redis.ask(state.key, set_once)
            except Unavailable as error:
                log.debug("repeated clicks are not recognised: %s", error)
                are_new = [b"OK"] * len(part)
            for (_, arm), is_new in zip(part, are_new, strict=True):
                if is_new is not None:
                    state.counts(arm).clicks += 1
                    metrics.experiment_clicks(state.experiment.name, arm).inc()

    async def _exchange(self, state: _State) -> Mapping[str, ArmCounts]:
        """The counts of all workers, this one's alone while Redis is down. Takes in what the others switched off."""
        own = orjson.dumps({arm: astuple(counts) for arm, counts in state.own.items()})
        try:
            _, _, found = await self._redis.ask(
                state.key,
                [
                    ("HSET", state.key, _COUNTS + self._worker.encode(), own),
                    ("EXPIRE", state.key, _SECONDS),
                    ("HGETALL", state.key),
                ],
            )
        except Unavailable as error:
            log.debug("the counts of other workers are not known: %s", error)
            return state.own
        totals: dict[str, ArmCounts] = {}
        for name, value in zip(found[::2], found[1::2], strict=True):
            if name.startswith(_OFF):
                self._take_off(state, name.removeprefix(_OFF).decode(), value.decode(), "another worker found it")
                continue
            for arm, counts in orjson.loads(value).items():
                totals[arm] = totals.get(arm, ArmCounts()).plus(ArmCounts(*counts))
        return totals

    async def _switch_off(self, state: _State, arm: str, why: str) -> None:
        self._take_off(state, arm, why, "this worker found it")
        try:
            await self._redis.ask(state.key, [("HSETNX", state.key, _OFF + arm.encode(), why)])
        except Unavailable as error:
            log.warning("only this worker has switched off %s of %s: %s", arm, state.experiment.name, error)

    @staticmethod
    def _take_off(state: _State, arm: str, why: str, who: str) -> None:
        if arm in state.off:
            return
        name = state.experiment.name
        state.off[arm] = why
        metrics.ARM_OFF.labels(name, arm).set(1)
        log.error("the arm %s of %s is switched off: %s", arm, name, why, extra={"found_by": who})
