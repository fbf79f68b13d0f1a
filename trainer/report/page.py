"""report.html: what a version is worth, told to the people of a shop. One file, nothing loaded when it is looked at.

It is made from the files of the version folder alone: metrics.json, the catalogue, the vectors and the configuration.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, TemplateError
from markupsafe import Markup
from numpy.typing import NDArray

from trainer.errors import ReportError
from trainer.evaluate import similarity
from trainer.evaluate.slices import script
from trainer.report import charts
from twotower.arrays import Float32, Int64
from twotower.artifact.catalogue import Catalogue, Product
from twotower.artifact.layout import VersionLayout
from twotower.artifact.manifest import Manifest

_FIGURE_METRICS = ("ndcg@10", "recall@10", "recall@100")


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


_EXAMPLE_PAIRS = 6


_NEAREST_OF, _NEAREST = 6, 4


_SPACE = "\u00a0"  # a line is not broken at it


class Rival(NamedTuple):
    """The model beside one baseline: both figures, the paired difference and its 95 % interval."""

    name: str
    own: float
    other: float
    difference: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """`better` or `worse` where the interval lies on one side of zero, else `unclear`."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "unclear"


class Group(NamedTuple):
    """One colour of the map: its CSS variable, the category ("" = the rest) and its points."""

    colour: str
    category: str
    points: int


def write_report(version: VersionLayout, manifest: Manifest) -> None:
    """Writes report.html from the other files of a version folder.

    ReportError where what they hold cannot be shown, OSError where the file cannot be written.
    """
    try:
        text = render(version, manifest)
    except (KeyError, TypeError, ValueError, TemplateError) as error:
        raise ReportError(f"{version.report.name} cannot be made: {type(error).__name__}: {error}") from error
    version.report.write_text(text, encoding="utf-8")


def render(version: VersionLayout, manifest: Manifest) -> str:
    """The page. Titles, categories and ids are untrusted: the template escapes everything but our own drawings."""
    metrics = json.loads(version.metrics.read_text(encoding="utf-8"))
    catalogue = Catalogue(version.products)
    vectors = np.load(version.embeddings, mmap_mode="r", allow_pickle=False)
    ids = np.load(version.ids, allow_pickle=False)
    seed, metric = metrics["protocol"]["seed"], metrics["gate"]["metric"]
    category, names = _categories(catalogue)
    drawing, groups = _map(vectors, ids, category, names, catalogue, seed)
    rivals = compare(metrics["test"], metrics["compared"], metric)
    return _environment().get_template("report.html").render(
        manifest=manifest,
        metrics=metrics,
        metric=metric,
        systems={name: one for name, one in charts.SYSTEMS.items() if name in metrics["test"]},
        headline=headline(rivals),
        rivals=rivals,
        curves=_curves(metrics["training"], metric),
        intervals=charts.intervals(metrics["test"], metrics["intervals"], _FIGURE_METRICS),
        coverage=charts.coverage(metrics["test"]) if metrics["intervals"] else "",
        map=drawing,
        groups=groups,
        samples=_with_products(metrics["samples"], catalogue),
        pairs=_example_pairs(vectors, ids, category, catalogue, seed),
        nearest=_nearest(vectors, ids, catalogue, seed),
        missed=similarity.missed(metrics["similarity"]["texts"]),
        configuration=version.config.read_text(encoding="utf-8"),
    )  # fmt: skip


def compare(test: Mapping[str, Any], compared: Mapping[str, Any], metric: str) -> list[Rival]:
    """The model beside every baseline of metrics.json, the strongest first; empty where nobody could be asked."""
    own, shown = test["model"][metric], ("difference", "low", "high")
    found = [
        Rival(name, own, test[name][metric], *(one[metric][key] for key in shown)) for name, one in compared.items()
    ]
    return sorted(found, key=lambda one: -one.other)


def headline(rivals: Sequence[Rival]) -> str:
    """The answer in one line: is this model better than what there would be without it?"""
    if not rivals:
        return "Not tested: no buyer has enough events"
    said = []
    for verdict, words in (("better", "better than"), ("unclear", "no clear difference from"), ("worse", "worse than")):
        if names := [prose_name(one.name) for one in rivals if one.verdict == verdict]:
            said.append(f"{words} {_listed(names)}")
    whole = "; ".join(said)
    return whole[0].upper() + whole[1:]


def prose_name(system: str) -> str:
    """A system's name inside a sentence."""
    name = charts.SYSTEMS[system].name
    return name if name.isupper() else name[0].lower() + name[1:]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def library_versions() -> dict[str, str]:
    """Python and the libraries that decide a model's figures, with their versions."""
    return {"Python": platform.python_version()} | {name: metadata.version(name) for name in _LIBRARIES}


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("trainer.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "score": lambda value: f"{value:.3f}",
        "cosine": lambda value: f"{value:.2f}".replace("-", "−"),
        "signed": lambda value: f"{value:+.3f}".replace("-", "−"),
        "share": share,
        "signed_share": lambda value: f"{100 * value:+.0f}{_SPACE}%".replace("-", "−"),
        "count": lambda value: f"{value:,.0f}",
        "day": lambda ms: f"{datetime.fromtimestamp(ms / 1000, UTC):%Y-%m-%d}",
        "metric": shown_metric,
        "prose": prose_name,
        "direction": direction,
        "value": shown_value,
    }
    return environment


def share(value: float, digits: int = 1) -> str:
    """A share in per cent, which stays on one line."""
    return f"{100 * value:.{digits}f}{_SPACE}%"


def direction(text: str) -> str:
    """`rtl` for a text with Arabic in it: `auto` would set a title that begins with a Latin brand from the left."""
    return "rtl" if script(text) in {"Arabic", "mixed"} else "auto"


def shown_metric(metric: str) -> str:
    """A metric's name for people."""
    names = {
        "coverage@10": "Catalogue covered",
        "popularity@10": "Popularity of what is shown",
        "new@10": "New products shown",
    }
    return names.get(metric) or charts.shown_metric(metric)


def shown_value(value: float, metric: str) -> str:
    """A figure in the unit of its metric: a share, a number of events, or a score."""
    if metric in {"coverage@10", "new@10"}:
        return share(value)
    return f"{value:,.0f}" if metric == "popularity@10" else f"{value:.3f}"


def _curves(training: Mapping[str, Any], metric: str) -> Markup:
    return charts.curves(training["curve"], training["candidates"], metric, training["best_epoch"])


def _categories(catalogue: Catalogue) -> tuple[Int64, list[str]]:
    """A code [N] for each row's category, 0 = none, and the names of the codes."""
    columns = catalogue.columns()
    names = ["", *(name for name in columns.categories if name)]
    code = {name: place for place, name in enumerate(names)}
    return np.array([code[name] for name in columns.categories], np.int64)[columns.category], names


def _map(
    vectors: Float32, ids: NDArray[np.str_], category: Int64, names: Sequence[str], catalogue: Catalogue, seed: int
) -> tuple[Markup, list[Group]]:
    """The map of a random sample of the products, and what its colours mean."""
    rows = _sample(len(ids), charts.MAP_PRODUCTS, seed)
    products = _products(ids[rows], catalogue)
    codes, counts = np.unique(category[rows][category[rows] > 0], return_counts=True)
    common = codes[np.argsort(-counts, kind="stable")][: charts.MAP_GROUPS]
    place = {int(code): number for number, code in enumerate(common)}
    group = np.array([place.get(int(code), -1) for code in category[rows]], np.int64)
    drawing = charts.item_map(np.asarray(vectors[rows]), group, [_title(one) for one in products], seed)
    groups = [Group(f"group-{n}", names[code], int((group == n).sum())) for n, code in enumerate(common)]
    if rest := int((group < 0).sum()):
        groups.append(Group("group-rest", "", rest))
    return drawing, groups


def _sample(count: int, limit: int, seed: int) -> Int64:
    return np.sort(np.random.default_rng((seed, count)).choice(count, min(count, limit), replace=False))


def _title(product: Product) -> str:
    return product.title or product.id


def _products(ids: Iterable[str], catalogue: Catalogue) -> list[Product]:
    """KeyError where the catalogue lacks one of them."""
    wanted = [str(one) for one in ids]
    found = catalogue.lookup(wanted)
    known = [one for one in found if one is not None]
    if len(known) < len(wanted):
        raise KeyError(f"product {wanted[found.index(None)]} is not in the catalogue")
    return known


def _with_products(samples: Sequence[Mapping[str, Any]], catalogue: Catalogue) -> list[dict[str, Any]]:
    """The sample buyers with what the catalogue says of each product."""

    def filled(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        products = _products((entry["product"] for entry in entries), catalogue)
        return [{**entry, "product": product} for entry, product in zip(entries, products, strict=True)]

    lists = ("history", "recommended", "targets")
    return [{**one, **{name: filled(one[name]) for name in lists}} for one in samples]


def _example_pairs(
    vectors: Float32, ids: NDArray[np.str_], category: Int64, catalogue: Catalogue, seed: int
) -> list[tuple[str, list[tuple[Product, Product, float]]]]:
    """Random pairs of one category and of two, most alike first."""
    same, cross = similarity.example_pairs(vectors, category, _EXAMPLE_PAIRS, seed)

    def shown(pairs: list[similarity.Pair]) -> list[tuple[Product, Product, float]]:
        pairs = sorted(pairs, key=lambda pair: -pair.cosine)
        one = _products(ids[[pair.one for pair in pairs]], catalogue)
        two = _products(ids[[pair.two for pair in pairs]], catalogue)
        return [(a, b, pair.cosine) for a, b, pair in zip(one, two, pairs, strict=True)]

    return [(name, shown(pairs)) for name, pairs in (("One category", same), ("Two categories", cross)) if pairs]


def _nearest(
    vectors: Float32, ids: NDArray[np.str_], catalogue: Catalogue, seed: int
) -> list[tuple[Product, list[tuple[Product, float]]]]:
    """A few random products and those nearest to them."""
    found = similarity.nearest(vectors, _sample(len(ids), _NEAREST_OF, seed), _NEAREST)
    shown = []
    for pairs in found:
        if pairs:
            own, *others = _products(ids[[pairs[0].one, *(pair.two for pair in pairs)]], catalogue)
            shown.append((own, [(other, pair.cosine) for other, pair in zip(others, pairs, strict=True)]))
    return shown
