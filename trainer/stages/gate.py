"""The publish gate of a run: judges the model and compares it with the served version."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.split import Cases
from trainer.evaluate import baselines, comparison, gate
from trainer.evaluate import ranking as evaluate
from trainer.evaluate.served import EvaluationData, ModelResults, compare_with_served, find_served
from trainer.stages.workspace import (
    Prepared,
    rank,
    sampled_test_cases,
    write_json,
)
from twotower.arrays import Int64

log = logging.getLogger(__name__)


def judge(run: Prepared, served: dict[str, Any] | None) -> gate.Verdict:
    """The gate's verdict on the tested model; `served` says how it does beside the served version."""
    config = run.config
    if not config.publish.gate:
        return gate.Verdict("off", config.evaluation.metric, [], None)
    _, values = comparison.load_per_case(run.folder.per_case)
    draws, limit = config.evaluation.resamples, config.publish.max_drop
    return gate.judge(values, config.evaluation.metric, served, limit, draws, config.seed)


def beside_served(run: Prepared, ours: dict[str, float]) -> dict[str, Any] | None:
    """The tested model beside the version that is served now; None where there is none, or no gate."""
    config, settings = run.config, run.config.evaluation
    served = find_served(run.layout) if config.publish.gate else None
    if served is None:
        return None
    places, values = comparison.load_per_case(run.folder.per_case)
    cases = Cases(*(column[places] for column in sampled_test_cases(run)))

    def measure(scorer: baselines.Scorer, chosen: Cases) -> tuple[Int64, NDArray[np.float64]]:
        ranks = rank(run, scorer, chosen, "testing the served version", lists=False)
        return np.unique(ranks.case), evaluate.case_metrics(ranks)[settings.metric]

    model = ModelResults(cases, values["model"], ours)
    data = EvaluationData(run.events, run.data.products.ids, run.data.event_names)
    facts = compare_with_served(served, model, data, measure, config)
    log.info(f"served version {served.name}: {facts['summary']}")
    return facts


def current_verdict(run: Prepared) -> gate.Verdict:
    """The verdict in metrics.json, beside what is served and with what is set by now."""
    report = json.loads(run.folder.metrics.read_text(encoding="utf-8"))
    facts = report["gate"]["served"]
    served = find_served(run.layout)
    if (served.name if served else "") != (facts["version"] if facts else ""):
        facts = beside_served(run, report["test"]["model"])
    verdict = judge(run, facts)
    write_json(run.folder.metrics, report | {"gate": asdict(verdict)})
    return verdict
