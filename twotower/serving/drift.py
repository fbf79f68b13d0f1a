"""Counts a figure of what is asked in the bins of the training, so that a monitor can compare the two."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from prometheus_client import Counter, Gauge

from twotower.artifact.manifest import Manifest

ROWS = Counter(
    "twotower_drift_rows",
    "Rows by the bin of the training that a figure of theirs lies in",
    ["version", "figure", "bin"],
)
TRAINING_SHARE = Gauge(
    "twotower_drift_training_share", "Share of the training's buyers in a bin", ["version", "figure", "bin"]
)


class DriftCounter:
    """Counts one figure of what a version is asked; nothing if the version does not say how the training had it."""

    def __init__(self, manifest: Manifest, figure: str) -> None:
        self._edges = np.empty(0)
        self._rows = []
        if bins := manifest.drift.get(figure):
            labels = [(manifest.version, figure, f"{place:02d}") for place in range(len(bins.shares))]
            self._edges, self._rows = np.array(bins.edges), [ROWS.labels(*one) for one in labels]
            for one, share in zip(labels, bins.shares, strict=True):
                TRAINING_SHARE.labels(*one).set(share)

    def count(self, values: Sequence[float]) -> None:
        """Counts one value per row."""
        if not self._rows or not values:
            return
        counts = np.bincount(np.searchsorted(self._edges, values), minlength=len(self._rows)).tolist()
        for row, count in zip(self._rows, counts, strict=True):
            if count:
                row.inc(count)
