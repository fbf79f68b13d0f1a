"""The served version as a competitor: ranked through its own exported files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trainer.data.events import Events
from trainer.data.split import Cases
from trainer.evaluate.baselines import Scorer
from trainer.evaluate.bootstrap import paired_difference
from twotower.arrays import Float32, Float64, Int64
from twotower.artifact.layout import Layout
from twotower.artifact.pointer import read_pointer
from twotower.artifact.version import Version, open_version
from twotower.errors import CorruptArtifact, NotFound
from twotower.events import EventSchema
from twotower.graphs.towers import BuyerTower
from twotower.history import BuyerSequence, to_inputs


class Served(NamedTuple):
    """The version that CURRENT names, or why it cannot be scored."""

    name: str
    version: Version | None
    problem: str


def find_served(layout: Layout) -> Served | None:
    """What CURRENT names; None where it names nothing, or is damaged and so about to be repaired by publishing."""
    try:
        pointer = read_pointer(layout.current)
    except CorruptArtifact:
        return None
    if pointer is None:
        return None
    try:
        version = open_version(layout, pointer.version, pointer.manifest_sha256)
        version.check(version.layout.embeddings, version.layout.ids, version.layout.buyer_tower)
    except (CorruptArtifact, NotFound) as error:
        return Served(pointer.version, None, str(error))
    return Served(pointer.version, version, "")


def newer_cases(events: Events, cases: Cases, moment: int) -> NDArray[np.bool_]:
    """True [B] for cases whose every target is newer than `moment`, a served version's newest training event."""
    # a buyer's events are sorted by time: the first target is the oldest
    newer: NDArray[np.bool_] = events.time[cases.cut] > moment
    return newer


class Known(NamedTuple):
    """Today's products [N] and event kinds [K + 1] as the served version numbers them: -1 and 0 where it lacks them."""

    rows: Int64
    kinds: Int64

    def events(self, events: Events) -> NDArray[np.bool_]:
        """True [M] for the events that the served version can read."""
        readable: NDArray[np.bool_] = (self.rows[events.product] >= 0) & (self.kinds[events.kind] > 0)
        return readable


def known_to(version: Version, product_ids: list[str], event_names: list[str]) -> Known:
    """How the served version numbers today's products and event names."""
    row_of = {name: row for row, name in enumerate(np.load(version.layout.ids, allow_pickle=False).tolist())}
    codes = {name: code for code, name in enumerate(version.manifest.event_weights, start=1)}
    return Known(
        np.array([row_of.get(name, -1) for name in product_ids], np.int64),
        np.array([0, *(codes.get(name, 0) for name in event_names)], np.int64),
    )


def known_history(events: Events, cases: Cases, known: Known) -> NDArray[np.bool_]:
    """True [B] for cases of whose history the served version can read something."""
    before = np.concatenate(([0], np.cumsum(known.events(events))))
    found: NDArray[np.bool_] = before[cases.cut] > before[cases.start]
    return found


def served_scorer(version: Version, known: Known, events: Events, threads: int) -> Scorer:
    """Scores [B, N] of the served version through its own files, as its services would answer.

    What it does not know is skipped in histories; products that it lacks are never recommended.
    """
    vectors = np.load(version.layout.embeddings, allow_pickle=False)
    tower = BuyerTower(version.layout.buyer_tower, threads)
    schema = EventSchema(version.manifest.event_weights)
    readable = known.events(events)
    here = np.flatnonzero(known.rows >= 0)
    items = vectors[known.rows[here]].T

    def sequence(start: int, cut: int) -> BuyerSequence:
        places = (start + np.flatnonzero(readable[start:cut]))[-version.manifest.max_history :]
        rows, kinds = known.rows[events.product[places]], known.kinds[events.kind[places]]
        return BuyerSequence(rows, kinds, events.time[places])

    def score(cases: Cases) -> Float32:
        batch = to_inputs([sequence(*bounds) for bounds in zip(cases.start, cases.cut, strict=True)], schema)
        scores = np.full((len(cases), len(known.rows)), -np.inf, np.float32)
        scores[:, here] = tower.encode(vectors[batch.rows], batch) @ items
        return scores

    return score


def compare_with_served(
    served: Served, events: Events, cases: Cases, product_ids: list[str], event_names: list[str],
    model: Float64, measure: Callable[[Scorer, Cases], tuple[Int64, Float64]], *,
    least: int, draws: int, seed: int, threads: int, ours: Mapping[str, float], metric: str,
) -> dict[str, Any]:  # fmt: skip
    """How the model [C] does beside the served version, on the cases that version cannot have seen, if there are
    `least` of them; else only what each recorded of itself, which is no comparison and decides nothing.

    `cases` [C] are those of `model`; `measure` gives of a scorer the places of the cases that have a target, and their
    metric. `ours` are the model's own test figures.
    """
    facts: dict[str, Any] = {"version": served.name, "metric": metric, "compared_on": 0}
    if served.version is None:
        return facts | {"how": f"not compared: {served.problem}"}
    manifest = served.version.manifest
    recorded = (
        manifest.metrics.get("model", {}).get(metric) if isinstance(manifest.metrics.get("model"), dict) else None
    )
    own = facts | {"recorded_model": ours.get(metric), "recorded_served": recorded}
    if manifest.newest_event_ms is None:
        return own | {"how": "not compared: its manifest does not say how new its newest event was"}
    known = known_to(served.version, product_ids, event_names)
    usable = newer_cases(events, cases, manifest.newest_event_ms) & known_history(events, cases, known)
    count = int(usable.sum())
    if count < least:
        how = f"only {count} test cases are newer than what it was trained on, evaluation.min_test_buyers is {least}"
        return own | {"how": f"not compared: {how}; the recorded figures are of different tests"}
    chosen = Cases(*(column[usable] for column in cases))
    place, other = measure(served_scorer(served.version, known, events, threads), chosen)
    mine = model[usable][place]
    found = paired_difference(mine, other, draws, seed)
    return own | {
        "how": f"both ranked the same {len(other)} test cases, all newer than what it was trained on",
        "compared_on": len(other),
        "model": float(mine.mean()),
        "served": float(other.mean()),
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
    }
