"""The publish gate of a run: compares the tested model with the baselines and with the served version."""

from __future__ import annotations

import json
import logging
from collections.abc import Container
from typing import Any

import numpy as np

from trainer.data.split import Cases
from trainer.evaluate import baselines, comparison, gate, ranking
from trainer.evaluate.served import EvaluationData, ModelResults, Served, compare_with_served, find_served, known_stop
from trainer.stages.workspace import Run, rank, sampled_test_cases
from twotower.arrays import Float64, Int64

log = logging.getLogger(__name__)


def judge_evaluated(run: Run) -> gate.Verdict:
    """Judges the tested model by what the stage `evaluate` has written."""
    measured = json.loads(run.workspace.version.metrics.read_text(encoding="utf-8"))
    return judge_run(run, measured["test"]["model"])


def judge_run(run: Run, figures: dict[str, float]) -> gate.Verdict:
    """Judges the tested model; `figures` are its test figures in metrics.json."""
    config, settings = run.config, run.config.evaluation
    if not config.publish.gate:
        return gate.Verdict("off", settings.metric, [], None)
    places, values = comparison.load_per_case(run.workspace.per_case)
    served = find_served(run.layout)
    compared = None
    if served is not None:
        cases = Cases(*(column[places] for column in sampled_test_cases(run)))
        compared = _compare(run, served, ModelResults(cases, values["model"], figures), values)
    limit, draws = config.publish.max_drop, settings.resamples
    return gate.judge(values, settings.metric, compared, limit, draws, config.seed)


def _compare(run: Run, served: Served, model: ModelResults, values: Container[str]) -> dict[str, Any]:
    """Compares the tested model with the served version on the test cases.

    The head start is what the gate's baseline gains that gains most. `values` has the baselines that were tested.
    """
    metric = run.config.evaluation.metric

    def measure(scorer: baselines.Scorer, chosen: Cases) -> tuple[Int64, Float64]:
        ranks = rank(run, scorer, chosen, "testing the served version", lists=False)
        return np.unique(ranks.case), ranking.case_metrics(ranks)[metric]

    def value(name: str, stop: Int64, chosen: Cases) -> Float64:
        fits = comparison.baseline_fits(run.events, stop, len(run.data.products), run.config.evaluation)
        return measure(fits[name](), chosen)[1]

    def head_start(newest: int, chosen: Cases) -> Float64:
        known = known_stop(run.events, run.tested_stop, newest)
        tested = [name for name in gate.GATE_BASELINES if name in values]
        gains = (value(name, known, chosen) - value(name, run.tested_stop, chosen) for name in tested)
        return max(gains, key=lambda gained: float(gained.mean()))

    data = EvaluationData(run.events, run.data.products.ids, run.data.event_names)
    facts = compare_with_served(served, model, data, measure, head_start, run.config)
    log.info(f"served version {served.name}: {facts['summary']}")
    return facts
