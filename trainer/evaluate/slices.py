"""Splits the test into slices, by history length, popularity, category and script, and measures each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from trainer.data.catalogue import Products
from trainer.data.split import Cases
from trainer.evaluate.bootstrap import interval, resampled_means
from trainer.evaluate.ranking import Ranks, case_metrics
from twotower.arrays import Int64, Mask

HISTORY_LENGTHS = ((1, 2), (3, 5), (6, 10), (11, 20), (21, 50), (51, None))
# a buyer with at most this many events is cold
COLD_EVENTS = 2
# the most frequent categories have a slice each
_CATEGORIES = 12
# letters only: digits and marks do not show the script of a title
_ARABIC = re.compile("[\u0620-\u064a\u066e-\u06d3\u06fa-\u06fc\u0750-\u077f\u08a0-\u08c9\ufb50-\ufdfb\ufe70-\ufefc]")
_LATIN = re.compile("[A-Za-zªºÀ-ÖØ-öø-ɏ]")
_SHOWN = ("recall@10", "ndcg@10", "recall@100")
_WITH_INTERVAL = ("recall@10", "ndcg@10")


class Facts(NamedTuple):
    """What defines the slices: the products, their numbers of training events [N], and which are hidden [N]."""

    products: Products
    counts: Int64
    hidden: Mask


def script(title: str) -> str:
    """Returns `Arabic`, `Latin`, `mixed` or `none`, by the letters of a title."""
    arabic, latin = bool(_ARABIC.search(title)), bool(_LATIN.search(title))
    return "mixed" if arabic and latin else "Arabic" if arabic else "Latin" if latin else "none"


def popularity_thirds(counts: Int64) -> list[str]:
    """Returns `head`, `torso` or `tail` [N], most popular first: each has about a third of the training events.

    A product without training events is `cold`. Products with equal counts share a label.
    """
    levels, place = np.unique(-counts, return_inverse=True)  # most popular first
    mass = np.bincount(place, counts, minlength=len(levels))
    before = (np.cumsum(mass) - mass) / max(float(mass.sum()), 1.0)
    names = np.array(["head", "torso", "tail"], object)[np.minimum((before * 3).astype(np.int64), 2)]
    names[levels == 0] = "cold"
    return [str(name) for name in names[place]]


def slice_masks(ranks: Ranks, cases: Cases, facts: Facts) -> dict[str, dict[str, Mask]]:
    """Returns kind → label → mask of the targets [P] of `ranks` with it. Labels without a target are left out."""
    length = (cases.cut - cases.start)[ranks.case]
    cold = facts.counts[ranks.product] == 0
    hidden = facts.hidden[ranks.product]
    thirds = np.array(popularity_thirds(facts.counts), object)[ranks.product]
    distinct, place = np.unique(ranks.product, return_inverse=True)
    scripts = np.array([script(facts.products.titles[row]) for row in distinct], object)[place]
    kinds = {
        "history length": {
            f"{low}–{high}" if high else f"{low} and more": (length >= low) & (length <= (high or length))
            for low, high in HISTORY_LENGTHS
        },
        "target popularity": {name: thirds == name for name in ("head", "torso", "tail", "cold")},
        "category": _categories([facts.products.categories[row] for row in distinct], place),
        "script": {name: scripts == name for name in ("Arabic", "Latin", "mixed", "none")},
        "products": {"cold: never in training": cold, "warm": ~cold},
        "buyers": {f"cold: 1–{COLD_EVENTS} events": length <= COLD_EVENTS, "warm": length > COLD_EVENTS},
    }
    if facts.hidden.any():
        kinds["hidden products"] = {"hidden": hidden, "warm": ~hidden & ~cold}
    return {kind: {label: mask for label, mask in masks.items() if mask.any()} for kind, masks in kinds.items()}


def _categories(names: list[str], place: Int64) -> dict[str, Mask]:
    """Returns the masks of the most frequent categories, most targets first; `other` and `none` for the rest."""
    category = np.array(names, object)[place]
    known, counts = np.unique([name for name in category.tolist() if name], return_counts=True)
    common = known[np.argsort(-counts, kind="stable")[:_CATEGORIES]].tolist()
    masks = {str(name): category == name for name in common}
    none = category == ""
    return masks | {"other": ~none & ~np.isin(category.astype(str), common), "none": none}


def slice_report(
    ranks: Mapping[str, Ranks], cases: Cases, facts: Facts, draws: int, seed: int
) -> dict[str, dict[str, dict[str, Any]]]:
    """Returns kind → label → numbers of cases and targets, metrics of every system, and the model's 95 % intervals.

    A slice counts only its own targets. Their ranks are among the whole catalogue.
    """
    model = ranks["model"]
    report: dict[str, dict[str, dict[str, Any]]] = {}
    for kind, labels in slice_masks(model, cases, facts).items():
        for label, mask in labels.items():
            figures: dict[str, Any] = {"cases": len(np.unique(model.case[mask])), "targets": int(mask.sum())}
            for name, every in ranks.items():
                values = case_metrics(every._replace(case=every.case[mask], rank=every.rank[mask]))
                figures[name] = {metric: float(values[metric].mean()) for metric in _SHOWN}
                if name == "model":
                    stacked = np.stack([values[metric] for metric in _WITH_INTERVAL], axis=1)
                    means = resampled_means(stacked, draws, seed)
                    figures["interval"] = {metric: interval(means[:, i]) for i, metric in enumerate(_WITH_INTERVAL)}
            report.setdefault(kind, {})[label] = figures
    return report
