"""The publish gate: a model is published only if it does not lose to the simple baselines or to the served version."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trainer.evaluate.bootstrap import Difference, paired_difference
from twotower.arrays import Float64

# EASE is reported only: it has no vectors that could be served instead
GATE_BASELINES = ("popularity", "recent_popularity", "bought_before", "item_knn", "transitions")


@dataclass(frozen=True)
class Verdict:
    """The gate's decision: `reasons` if the model failed, and the comparison with the `served` version."""

    verdict: Literal["passed", "warned", "refused", "off"]
    metric: str
    reasons: list[str]
    served: dict[str, Any] | None

    @property
    def refused(self) -> bool:
        return self.verdict == "refused"


def force_command(version: str, artifacts: object) -> str:
    """Returns the command that publishes a version which the gate refused."""
    return f"python -m trainer publish {version} --force --artifacts {shlex.quote(str(artifacts))}"


def judge(
    values: Mapping[str, Float64], metric: str, served: dict[str, Any] | None, max_drop: float, draws: int, seed: int
) -> Verdict:
    """Decides from `values`, the metric [C] of the model and of each baseline for each case.

    A loss counts only if the whole paired 95 % interval is below zero. A loss to the served version must also exceed
    the share `max_drop` of its mean. If nothing is served, a model that fails is published with a warning.
    """
    reasons = []
    for name in GATE_BASELINES:
        if name in values and len(values["model"]):
            paired = paired_difference(values["model"], values[name], draws, seed)
            if paired.high < 0:
                figures = f"{values['model'].mean():.4f} against {values[name].mean():.4f}"
                reasons.append(f"{metric} {figures} of {name}, {_describe(paired)}")
    if served and served.get("compared_cases", 0):
        paired = Difference(served["difference"], served["low"], served["high"])
        if paired.high < 0 and -paired.difference > max_drop * served["served"]:
            figures = f"{served['model']:.4f} against {served['served']:.4f}"
            if ahead := served["head_start"]:
                figures += f" (less its head start of {ahead:.4f} by newer events)"
            share = f"a drop of {-paired.difference / served['served']:.1%}, publish.max_drop is {max_drop:.1%}"
            reasons.append(
                f"{metric} {figures} of the served version {served['version']}: {share}, {_describe(paired)}"
            )
    if not reasons:
        return Verdict("passed", metric, [], served)
    return Verdict("refused" if served else "warned", metric, reasons, served)


def _describe(paired: Difference) -> str:
    return f"difference {paired.difference:.4f} (95 % interval {paired.low:.4f} to {paired.high:.4f})"
