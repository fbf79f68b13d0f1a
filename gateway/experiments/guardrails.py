"""Counts what an arm does, and judges whether it must be switched off."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import NamedTuple

from twotower.confidence import anytime_factor
from twotower.experiments import Guardrails

# how seldom an arm that is as good as the control may be switched off, by each guardrail, however long it runs
_ALPHA = 0.001
# requests after which a guardrail is sharpest
_PLANNED = 10_000
# clicks come in clusters, several on a list and several lists of a buyer: their variance beside that of single ones
_CLUSTERED = 2.0
# of the intervals that people look at
_WRONG = 0.05
# the intervals are of means that are about normal, which those of fewer lists are not
_FEWEST = 100


class Interval(NamedTuple):
    """A figure and its interval of 95 %, which holds however often somebody looks."""

    value: float
    low: float
    high: float


@dataclass
class ArmCounts:
    """What an arm did. `clicks` are interactions that name one of its `lists`."""

    requests: int = 0
    failures: int = 0
    slow: int = 0
    lists: int = 0
    clicks: int = 0

    def plus(self, other: ArmCounts) -> ArmCounts:
        pairs = zip(astuple(self), astuple(other), strict=True)
        return ArmCounts(*(one + more for one, more in pairs))

    def click_through(self) -> Interval | None:
        """Clicks a list; None below 100 lists."""
        if self.lists < _FEWEST:
            return None
        found = _rate(self.clicks, self.lists)
        return _around(found.mean, found.variance, found.count)

    def more_clicks_than(self, control: ArmCounts) -> Interval | None:
        """Clicks a list beyond those of the control; None unless both have 100 lists."""
        if min(self.lists, control.lists) < _FEWEST:
            return None
        one, other = _rate(self.clicks, self.lists), _rate(control.clicks, control.lists)
        return _around(one.mean - other.mean, one.variance + other.variance, one.count + other.count)


def find_breach(arm: ArmCounts, control: ArmCounts, rails: Guardrails) -> str:
    """Which guardrail an arm breaks beside the control, with the figures; empty for none."""
    if min(arm.requests, control.requests) >= rails.min_requests:
        failed, usual = _share(arm.failures, arm.requests), _share(control.failures, control.requests)
        if _is_above(failed, usual, rails.max_error_share):
            return f"errors: {_told(failed)} of the requests fail, {_told(usual)} of the control's"
    if min(arm.requests, control.requests) >= rails.min_lists:
        slow, usual = _share(arm.slow, arm.requests), _share(control.slow, control.requests)
        if _is_above(slow, usual, rails.max_slow_share):
            limit = f"{rails.slow_ms:g} ms"
            return f"latency: {_told(slow)} of the requests take over {limit}, {_told(usual)} of the control's"
    if min(arm.lists, control.lists) >= rails.min_lists:
        clicks, usual = _rate(arm.clicks, arm.lists), _rate(control.clicks, control.lists)
        wanted = _Mean(usual.mean * rails.min_click_ratio, usual.variance * rails.min_click_ratio**2, usual.count)
        if _is_above(wanted, clicks, 0.0):
            return f"click-through: {_told(clicks)} clicks a list, the control has {_told(usual)}"
    return ""


@dataclass(frozen=True)
class _Mean:
    """A mean, the variance of the mean, and how many values it is of."""

    mean: float
    variance: float
    count: int


def _share(hits: int, count: int) -> _Mean:
    # one more of either kind: none of fifty is no proof of never
    guess = (hits + 1) / (count + 2)
    return _Mean(hits / count, guess * (1 - guess) / count, count)


def _rate(hits: int, count: int) -> _Mean:
    return _Mean(hits / count, _CLUSTERED * (hits + 1) / (count + 2) / count, count)


def _around(value: float, variance: float, count: int) -> Interval:
    half = float(anytime_factor(count, _PLANNED, _WRONG)) * math.sqrt(variance)
    return Interval(value, value - half, value + half)


def _is_above(one: _Mean, other: _Mean, margin: float) -> bool:
    """Whether one mean is more than `margin` above another, at whatever time somebody looks."""
    error = math.sqrt(one.variance + other.variance)
    return bool(one.mean - other.mean - margin > anytime_factor(one.count + other.count, _PLANNED, _ALPHA) * error)


def _told(found: _Mean) -> str:
    return f"{found.mean:.4f} (of {found.count})"
