"""The stage `evaluate`: ranks the test targets with the tested model and the baselines."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from trainer.data.dataset import data_facts
from trainer.data.split import Cases, training_counts
from trainer.evaluate import baselines, comparison, ranking, similarity, slices
from trainer.evaluate.examples import sample_buyers
from trainer.model.inputs import text_alone
from trainer.model.towers import TwoTower
from trainer.native_memory import release
from trainer.report.page import library_versions
from trainer.stages.workspace import (
    Run,
    load_model,
    load_terms,
    rank,
    require,
    sampled_test_cases,
)
from twotower.arrays import Float32
from twotower.artifact.fsync import write_json
from twotower.forgotten import ForgottenBuyers
from twotower.graphs.text_encoder import TextEncoder
from twotower.text.normalise import item_text

log = logging.getLogger(__name__)


def evaluate_run(run: Run) -> None:
    """Ranks the test targets with the model and the baselines; writes metrics.json and per_case.npz."""
    workspace, settings, data = run.workspace, run.config.evaluation, run.data
    seed, products = run.config.seed, len(run.data.products)
    require(workspace.training, "train")
    stop = run.tested_stop
    cases = sampled_test_cases(run)
    model = load_model(run, workspace.tested.weights)
    fits: dict[str, Callable[[], baselines.Scorer]] = {"model": lambda: tested_scorer(run, model)}
    fits |= comparison.baseline_fits(run.events, stop, products, settings)
    ranks = {}
    for name, fit in fits.items():
        ranks[name] = rank(run, fit(), cases, f"testing {name}")
        release()
    counts = training_counts(run.events, stop, products)
    values = comparison.per_case(ranks, counts)
    means = comparison.means(ranks, values, products)
    for name, figures in means.items():
        log.info(f"{name}: {ranking.describe(figures)}")
    intervals, differences = comparison.intervals(values, settings.resamples, seed)
    comparison.save_per_case(workspace.per_case, np.unique(ranks["model"].case), values, settings.metric)
    facts = slices.Facts(data.products, counts, run.hidden)
    metrics = {
        "protocol": _protocol(run, cases),
        "test": means,
        "intervals": intervals,
        "differences": differences,
        "slices": slices.slice_report(ranks, cases, facts, settings.resamples, seed),
        "similarity": _similarity(run, model) | {"texts": _text_pairs(run, model)},
        "training": json.loads(workspace.training.read_text(encoding="utf-8")),
        "data": data_facts(data),
        "content": run.trust._asdict() | {"reads_descriptions": run.config.encoder.reads_descriptions},
        "samples": sample_buyers(
            ranks["model"], cases, run.events, data, seed, ForgottenBuyers.read(run.layout.forgotten)
        ),
        "libraries": library_versions(),
    }
    write_json(workspace.version.metrics, metrics)


def _protocol(run: Run, cases: Cases) -> dict[str, Any]:
    """How the figures were measured, for the reader of the report."""
    config = run.config
    is_refitted = config.evaluation.protocol == "refit"
    return {
        "protocol": config.evaluation.protocol,
        "split": run.split.method,
        "reason": run.split.note,
        "test_days": config.evaluation.test_days if run.split.method == "global_time" else None,
        "exclude_seen": config.evaluation.excludes_seen,
        "repeats": run.repeats._asdict(),
        "catalogue": "full",
        "ties": "seeded hash of the product id",
        "test_buyers": len(cases),
        "tested_model": "refitted on every event that the test does not ask for"
        if is_refitted
        else "trained once, without the events of validation and test",
        "baselines": "fitted on the same events as the tested model",
        "published_model": "refitted on all events" if config.training.refit else "the tested one",
        "hidden_products": int(run.hidden.sum()),
        "intervals": f"95 %, bootstrap over buyers, {config.evaluation.resamples} resamples",
        "seed": config.seed,
    }


def _similarity(run: Run, model: TwoTower) -> dict[str, Any]:
    """How well the vectors separate categories: whole vectors, and vectors of the text alone."""
    category = run.features.category.cpu().numpy()
    whole = similarity.separation(ranking.item_vectors(model, run.features), category, run.config.seed)
    texts = ranking.item_vectors(model, text_alone(run.features.text))
    return whole | {"text_only": similarity.separation(texts, category, run.config.seed)}


def _text_pairs(run: Run, model: TwoTower) -> list[dict[str, Any]]:
    """The cosines of the configured pairs of titles, encoded as an item service encodes an unknown product."""
    if not run.config.evaluation.text_pairs:
        return []
    graph = TextEncoder.load(run.layout.encoder(run.encoder_digest), run.config.thread_count)

    def encode(titles: list[str]) -> Float32:
        texts = graph.encode([item_text(title, "") for title in titles])
        return ranking.item_vectors(model, text_alone(torch.from_numpy(texts).to(run.features.text.device)))

    pairs = similarity.text_pairs(run.config.evaluation.text_pairs, encode)
    for line in similarity.describe_unmet(pairs):
        log.warning(line)
    return pairs


def tested_scorer(run: Run, model: TwoTower) -> baselines.Scorer:
    """Scores of the tested model with its terms, as they are served."""
    vectors = ranking.model_scorer(model, run.features, run.events, run.schema, run.config.model.max_history)
    terms = load_terms(run.workspace.tested, run.workspace.tested_fusion)
    return ranking.fused_scorer(vectors, terms, run.events, len(run.data.products))
