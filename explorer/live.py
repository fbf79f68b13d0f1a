"""Reads the figures of the live page from the gateway's Prometheus metrics."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families


@dataclass
class RouteFigures:
    """One route since the gateway's start: requests, those answered with 400 or above, and their seconds together."""

    count: int = 0
    errors: int = 0
    seconds: float = 0.0

    @property
    def mean_ms(self) -> float:
        """Mean time of a request in milliseconds."""
        return 1000 * self.seconds / self.count if self.count else 0.0


def read_routes(exposition: str) -> dict[str, RouteFigures]:
    """The figures of each route, the busiest first."""
    routes: dict[str, RouteFigures] = {}
    for family in text_string_to_metric_families(exposition):
        if family.name != "twotower_http_seconds":
            continue
        for sample in family.samples:
            figures = routes.setdefault(sample.labels["route"], RouteFigures())
            if sample.name.endswith("_count"):
                figures.count += int(sample.value)
                figures.errors += int(sample.value) if sample.labels["status"] >= "4" else 0
            elif sample.name.endswith("_sum"):
                figures.seconds += sample.value
    return dict(sorted(routes.items(), key=lambda pair: -pair[1].count))
