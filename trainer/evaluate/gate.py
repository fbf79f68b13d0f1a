"""Which model may replace the one that is served: it must not lose to the simple baselines, nor to what is served."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from trainer.evaluate.bootstrap import Difference, paired_difference
from twotower.arrays import Float64, Int64
from twotower.artifact.version import Version

# a model must not lose to these; EASE is reported and keeps nothing back, for it cannot be served as a vector
RIVALS = ("popularity", "item_knn")


@dataclass(frozen=True)
class Verdict:
    """What the gate says. `reasons` are of a failure; `served` tells what was served and how it was compared."""

    verdict: Literal["passed", "warned", "refused", "off"]
    metric: str
    reasons: list[str]
    served: dict[str, Any] | None

    @property
    def refused(self) -> bool:
        return self.verdict == "refused"


def force_line(version: str, artifacts: object) -> str:
    """The command that publishes a version which the gate kept back."""
    return f"python -m trainer publish {version} --force --artifacts {shlex.quote(str(artifacts))}"


def judge(
    values: Mapping[str, Float64], metric: str, served: dict[str, Any] | None, max_drop: float, draws: int, seed: int
) -> Verdict:
    """Decides on `values`: the metric of the model and of each baseline, case by case [C].

    A loss counts only where the paired 95 % interval lies wholly below zero; to the served version, only above a drop
    of `max_drop` of its figure. Where nothing is served, a model that fails is published with a warning.
    """
    reasons = []
    for name in RIVALS:
        if name in values and len(values["model"]):
            found = paired_difference(values["model"], values[name], draws, seed)
            if found.high < 0:
                figures = f"{values['model'].mean():.4f} against {values[name].mean():.4f}"
                reasons.append(f"{metric} {figures} of {name}, {_shown(found)}")
    if served and served.get("compared_on", 0):
        found = Difference(served["difference"], served["low"], served["high"])
        if found.high < 0 and -found.difference > max_drop * served["served"]:
            figures = f"{served['model']:.4f} against {served['served']:.4f}"
            share = f"a drop of {-found.difference / served['served']:.1%}, publish.max_drop is {max_drop:.1%}"
            reasons.append(f"{metric} {figures} of the served version {served['version']}: {share}, {_shown(found)}")
    if not reasons:
        return Verdict("passed", metric, [], served)
    return Verdict("refused" if served else "warned", metric, reasons, served)


def _shown(found: Difference) -> str:
    return f"difference {found.difference:.4f} (95 % interval {found.low:.4f} to {found.high:.4f})"


def served_rows(version: Version, product_ids: list[str]) -> Int64:
    """For each of today's products [N] its row in the served version, -1 where that does not have it."""
    row_of = {name: row for row, name in enumerate(np.load(version.layout.ids, allow_pickle=False).tolist())}
    return np.array([row_of.get(name, -1) for name in product_ids], np.int64)
