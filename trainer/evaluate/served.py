"""Ranks the test cases with the served version, through its exported files, and compares it with the tested model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from trainer.config.schema import Config
from trainer.data.events import Events
from trainer.data.split import Cases, first_at
from trainer.evaluate.baselines import Scorer
from trainer.evaluate.bootstrap import paired_difference
from twotower.arrays import Float32, Float64, Int64, Mask
from twotower.artifact.layout import Layout
from twotower.artifact.pointer import read_pointer
from twotower.artifact.version import Version, open_version
from twotower.errors import CorruptArtifact, NotFound
from twotower.events import EventSchema
from twotower.graphs.towers import BuyerTower
from twotower.history import BuyerSequence, to_inputs
from twotower.search.fused_score import FusedScore, fused_files

# ranks cases with a scorer; returns the places [C] of the cases that have a target, and the metric [C] of each
Measure = Callable[[Scorer, Cases], tuple[Int64, Float64]]
# what a baseline gains [C] on cases by the events that the served version knew and the tested model does not; takes the
# time of the served version's newest event
HeadStart = Callable[[int, Cases], Float64]


class Served(NamedTuple):
    """The version that CURRENT names; `version` is None if it cannot be scored, and `problem` says why."""

    name: str
    version: Version | None
    problem: str


def find_served(layout: Layout) -> Served | None:
    """Opens the version that CURRENT names.

    Returns None if CURRENT names nothing, or is damaged: publishing then repairs it.
    """
    try:
        pointer = read_pointer(layout.current)
    except CorruptArtifact:
        return None
    if pointer is None:
        return None
    try:
        version = open_version(layout, pointer.version, pointer.manifest_sha256)
        files = version.layout
        version.check(files.embeddings, files.ids, files.buyer_tower, *fused_files(files, version.manifest.fusion))
    except (CorruptArtifact, NotFound) as error:
        return Served(pointer.version, None, str(error))
    return Served(pointer.version, version, "")


def newer_cases(events: Events, cases: Cases, moment: int) -> Mask:
    """Returns True [B] for each case with all targets newer than `moment`, the served version's newest event (ms)."""
    # a buyer's events are sorted by time: the first target is the oldest
    newer: Mask = events.time[cases.cut] > moment
    return newer


def known_stop(events: Events, tested_stop: Int64, newest: int) -> Int64:
    """Where the events end [buyers] that the tested model, or a version with this newest event (ms), was trained on."""
    return np.maximum(tested_stop, first_at(events, newest + 1))


class ServedCodes(NamedTuple):
    """The served version's codes of today's products [N] and event kinds [K + 1]; -1 and 0 if it lacks them."""

    rows: Int64
    kinds: Int64

    def readable(self, events: Events) -> Mask:
        """Returns True [M] for each event that the served version can read."""
        readable: Mask = (self.rows[events.product] >= 0) & (self.kinds[events.kind] > 0)
        return readable


def served_codes(version: Version, product_ids: list[str], event_names: list[str]) -> ServedCodes:
    """Looks up today's products and event names in the served version."""
    row_of = {name: row for row, name in enumerate(np.load(version.layout.ids, allow_pickle=False).tolist())}
    codes = {name: code for code, name in enumerate(version.manifest.event_weights, start=1)}
    return ServedCodes(
        np.array([row_of.get(name, -1) for name in product_ids], np.int64),
        np.array([0, *(codes.get(name, 0) for name in event_names)], np.int64),
    )


def readable_histories(events: Events, cases: Cases, codes: ServedCodes) -> Mask:
    """Returns True [B] for each case with an event in its history that the served version can read."""
    before = np.concatenate(([0], np.cumsum(codes.readable(events))))
    readable: Mask = before[cases.cut] > before[cases.start]
    return readable


def served_scorer(version: Version, codes: ServedCodes, events: Events, threads: int) -> Scorer:
    """Scores [B, N] of the served version, computed from its exported files as its services compute them.

    Skips the events of a history that it cannot read. Gives minus infinity to products that it lacks.
    """
    vectors = np.load(version.layout.embeddings, allow_pickle=False)
    fused = FusedScore.load(version)
    tower = BuyerTower(version.layout.buyer_tower, threads)
    schema = EventSchema(version.manifest.event_weights)
    readable = codes.readable(events)
    known = np.flatnonzero(codes.rows >= 0)
    items = vectors[codes.rows[known]].T

    def sequence(start: int, cut: int) -> BuyerSequence:
        places = start + np.flatnonzero(readable[start:cut])
        rows, kinds = codes.rows[events.product[places]], codes.kinds[events.kind[places]]
        return BuyerSequence(rows, kinds, events.time[places])

    def score(cases: Cases) -> Float32:
        whole = [sequence(*bounds) for bounds in zip(cases.start, cases.cut, strict=True)]
        newest = slice(-version.manifest.max_history, None)
        batch = to_inputs([BuyerSequence(*(column[newest] for column in one)) for one in whole], schema)
        scores = np.full((len(cases), len(codes.rows)), -np.inf, np.float32)
        by_vector = (tower.encode(vectors[batch.rows], batch) * fused.vector_weight) @ items
        scores[:, known] = by_vector + fused.added([one.rows[::-1] for one in whole])[:, codes.rows[known]]
        return scores

    return score


class ModelResults(NamedTuple):
    """The tested model's results: one value [C] of the metric for each of `cases` [C], and its mean test metrics."""

    cases: Cases
    values: Float64
    means: Mapping[str, float]


class EvaluationData(NamedTuple):
    """What the test cases refer to: the events, and the names of products [N] and event kinds [K]."""

    events: Events
    product_ids: list[str]
    event_names: list[str]


def compare_with_served(
    served: Served,
    model: ModelResults,
    data: EvaluationData,
    measure: Measure,
    head_start: HeadStart,
    config: Config,
) -> dict[str, Any]:
    """Compares the tested model with the served version on the cases that are newer than that version.

    A served version that was refitted knew all events of its time, and the tested model lacks those of validation and
    test. The difference is reduced by that head start.

    With fewer than `evaluation.min_test_buyers` such cases it reports only the metrics that each recorded at its own
    test; `compared_cases` is then 0 and the gate ignores the served version.
    """
    metric = config.evaluation.metric
    facts: dict[str, Any] = {"version": served.name, "metric": metric, "compared_cases": 0}
    if served.version is None:
        return facts | {"summary": f"not compared: {served.problem}"}
    recorded = served.version.manifest.metrics.get("model")
    facts["recorded_model"] = model.means.get(metric)
    facts["recorded_served"] = recorded.get(metric) if isinstance(recorded, dict) else None
    newest = served.version.manifest.newest_event_ms
    if newest is None:
        return facts | {"summary": "not compared: its manifest does not record the time of its newest event"}
    codes = served_codes(served.version, data.product_ids, data.event_names)
    usable = newer_cases(data.events, model.cases, newest) & readable_histories(data.events, model.cases, codes)
    count, minimum = int(usable.sum()), config.evaluation.min_test_buyers
    if count < minimum:
        return facts | {
            "summary": f"not compared: only {count} test cases are newer than its training events, "
            f"evaluation.min_test_buyers is {minimum}; the recorded figures are of different tests"
        }
    scorer = served_scorer(served.version, codes, data.events, config.thread_count)
    chosen = Cases(*(column[usable] for column in model.cases))
    place, others = measure(scorer, chosen)
    was_refitted = served.version.manifest.configuration["training"]["refit"]
    ahead = head_start(newest, chosen) if was_refitted else np.zeros(len(others))
    return facts | _paired(model.values[usable][place], others, ahead, config)


def _paired(own: Float64, others: Float64, ahead: Float64, config: Config) -> dict[str, Any]:
    """Both means on the same cases [C], and their difference less the head start, with its 95 % interval."""
    paired = paired_difference(own + ahead, others, config.evaluation.resamples, config.seed)
    return {
        "summary": f"both ranked the same {len(others)} test cases, all newer than its training events",
        "compared_cases": len(others),
        "model": float(own.mean()),
        "served": float(others.mean()),
        "head_start": float(ahead.mean()),
        "difference": paired.difference,
        "low": paired.low,
        "high": paired.high,
    }
