"""Writes report.html: one page that shows the people of a shop how good a version is. It loads nothing else.

It reads only files of the version folder: metrics.json, the catalogue, the vectors and the configuration.
"""

from __future__ import annotations

import json
import platform
from importlib import metadata
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, TemplateError
from markupsafe import Markup

from trainer.errors import ReportError
from trainer.evaluate import similarity
from trainer.report import charts, tables, wording
from twotower.artifact.layout import VersionLayout
from twotower.artifact.manifest import Manifest

_NOTHING = Markup()
_CHART_METRICS = ("ndcg@10", "recall@10", "recall@100")
_LIBRARIES = (
    "faiss-cpu",
    "numpy",
    "onnx",
    "onnxruntime",
    "polars",
    "scikit-learn",
    "scipy",
    "sentence-transformers",
    "torch",
    "transformers",
)


def write_report(version: VersionLayout, manifest: Manifest) -> None:
    """Writes report.html from the other files of a version folder.

    Raises ReportError if their content cannot be shown, OSError if the file cannot be written.
    """
    try:
        text = render(version, manifest)
    except (KeyError, TypeError, ValueError, TemplateError) as error:
        raise ReportError(f"{version.report.name} cannot be made: {type(error).__name__}: {error}") from error
    version.report.write_text(text, encoding="utf-8")


def render(version: VersionLayout, manifest: Manifest, online: Markup = _NOTHING) -> str:
    """Returns the page, with a section of what happened `online` if it is given.

    Titles, categories and ids are untrusted: the template escapes everything but our charts.
    """
    metrics = json.loads(version.metrics.read_text(encoding="utf-8"))
    content = {
        "manifest": manifest,
        "metrics": metrics,
        "missed": similarity.describe_unmet(metrics["similarity"]["texts"]),
        "configuration": version.config.read_text(encoding="utf-8"),
        "online": online,
    }
    content |= _results(metrics) | _products(version, metrics)
    return _environment().get_template("report.html").render(content)


def library_versions() -> dict[str, str]:
    """Returns the versions of Python and of the libraries that influence a model's metrics."""
    return {"Python": platform.python_version()} | {name: metadata.version(name) for name in _LIBRARIES}


def _results(metrics: dict[str, Any]) -> dict[str, Any]:
    """What the page shows of the test and of the training."""
    test, training, metric = metrics["test"], metrics["training"], metrics["gate"]["metric"]
    comparisons = tables.compare_with_baselines(test, metrics["differences"], metric)
    return {
        "metric": metric,
        "systems": {name: system for name, system in charts.SYSTEMS.items() if name in test},
        "headline": wording.headline(comparisons),
        "gate_baselines": wording.gate_baselines(test),
        "comparisons": comparisons,
        "curves": charts.curves(training["curve"], training["candidates"], metric, training["best_epoch"]),
        "intervals": charts.intervals(test, metrics["intervals"], _CHART_METRICS),
        "coverage": charts.coverage(test) if metrics["intervals"] else "",
    }


def _products(version: VersionLayout, metrics: dict[str, Any]) -> dict[str, Any]:
    """What the page shows of single products."""
    products = tables.PublishedProducts.read(version, metrics["protocol"]["seed"])
    drawing, groups = tables.draw_map(products)
    return {
        "map": drawing,
        "groups": groups,
        "samples": tables.with_products(metrics["samples"], products.catalogue),
        "pairs": tables.example_pairs(products),
        "nearest": tables.nearest_products(products),
    }


def _environment() -> Environment:
    loader = PackageLoader("trainer.report")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= wording.template_filters()
    return environment
