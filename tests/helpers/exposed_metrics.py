"""Every metric that a process of the product exposes, by the names that a query uses, with its labels."""

from __future__ import annotations

import re
from collections.abc import Iterator

from prometheus_client import REGISTRY

import gateway.metrics
import recorder.metrics
import trainer.schedule.metrics
import twotower.live.follower
import twotower.serving.drift
import twotower.serving.telemetry

MODULES = (
    gateway.metrics,
    recorder.metrics,
    trainer.schedule.metrics,
    twotower.live.follower,
    twotower.serving.drift,
    twotower.serving.telemetry,
)
_SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
_WORDS = {"by", "on", "and", "or", "unless", "group_left", "ignoring", "without", "bool"}


def exposed() -> dict[str, set[str]]:
    """The labels of each name. Prometheus adds `job` and `instance` to all."""
    found = {"up": set[str](), "ALERTS": {"alertstate", "alertname", "severity"}}
    for metric in {one for one in REGISTRY._collector_to_names if hasattr(one, "_labelnames")}:
        if not metric._name.startswith("twotower_"):
            continue
        for suffix in _SUFFIXES[metric._type]:
            found[metric._name + suffix] = {*metric._labelnames, *(("le",) if suffix == "_bucket" else ())}
    return {name: labels | {"job", "instance"} for name, labels in found.items()}


def selectors(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Each metric that a PromQL expression reads, and the labels that it selects by."""
    bare = re.sub(r"\b(?:by|on|without|ignoring|group_left)\s*\([^)]*\)", " ", expression)
    for name, call, braces in re.findall(
        r"(?<![\w:\"./|])([A-Za-z_:][\w:]*)\s*(\()?(\{[^}]*\})?", _without_strings(bare)
    ):
        if not call and name not in _WORDS:
            yield name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", braces))


def grouped_labels(expression: str) -> set[str]:
    """The labels that an expression groups by or matches on."""
    lists = re.findall(r"\b(?:by|on|without|ignoring|group_left)\s*\(([^)]*)\)", expression)
    return {label.strip() for names in lists for label in names.split(",") if label.strip()}


def _without_strings(expression: str) -> str:
    """The expression without the values of its matchers and its ranges."""
    return re.sub(r"\[[^\]]*\]", " ", re.sub(r'"[^"]*"', '""', expression))
