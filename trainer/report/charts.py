"""The report's charts: SVG drawn by matplotlib. The page sets the colours, the browser shapes the texts.

Each colour is drawn as a placeholder and then replaced by a CSS variable, so one drawing serves the light and the dark
scheme. Data of a shop is only inserted as the text of an XML element.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from xml.etree import ElementTree

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from twotower.arrays import Float32, Float64, Int64

# inches, at 72 points each: a phone shows this width unscaled, so a point of the drawing is a pixel
_WIDTH = 330 / 72
# the map colours this many categories; all others share one colour
MAP_GROUPS = 8
MAP_PRODUCTS = 1000
_MAP_MINIMUM = 10


class System(NamedTuple):
    """The name of a tested system, its colour (a CSS variable) and its marker."""

    name: str
    colour: str
    marker: str


SYSTEMS = {
    "model": System("This model", "model", "o"),
    "transitions": System("Transitions", "transitions", "v"),
    "item_knn": System("Item-kNN", "item-knn", "^"),
    "ease": System("EASE", "ease", "D"),
    "bought_before": System("Bought before", "bought-before", "X"),
    "recent_popularity": System("Recent popularity", "recent-popularity", "P"),
    "popularity": System("Popularity", "popularity", "s"),
}

_VARIABLES = [
    *("ink", "muted", "grid"),
    *(system.colour for system in SYSTEMS.values()),
    *(f"group-{number}" for number in range(MAP_GROUPS)),
    "group-rest",
]
# CSS variable → the colour that matplotlib draws in its place
_PLACEHOLDERS = {name: f"#0000{number:02x}" for number, name in enumerate(_VARIABLES, start=1)}
_COLOURS = {placeholder: f"var(--{name})" for name, placeholder in _PLACEHOLDERS.items()}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # texts remain texts: the browser shapes them
    "svg.hashsalt": "twotower",  # equal drawings have equal ids
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _PLACEHOLDERS["muted"],
    "axes.labelcolor": _PLACEHOLDERS["muted"],
    "axes.titlecolor": _PLACEHOLDERS["ink"],
    "text.color": _PLACEHOLDERS["ink"],
    "xtick.color": _PLACEHOLDERS["muted"],
    "ytick.color": _PLACEHOLDERS["muted"],
    "grid.color": _PLACEHOLDERS["grid"],
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.labelcolor": _PLACEHOLDERS["ink"],
}


def curves(records: Sequence[Mapping[str, float]], candidates: Mapping[str, float], metric: str, best: int) -> Markup:
    """Draws loss and validation by epoch; a candidate without epochs is a horizontal line. Empty without `records`.

    Each of `records` has `epoch`, `loss` and, if it was validated, `validation`. `best` is the chosen epoch.
    """
    if not records:
        return Markup("")
    epochs = [record["epoch"] for record in records]
    validated = [(record["epoch"], record["validation"]) for record in records if "validation" in record]
    with _style():
        figure = Figure(figsize=(_WIDTH, 3.6 if validated else 1.9), layout="constrained")
        panels = figure.subplots(2 if validated else 1, 1, sharex=True, squeeze=False)[:, 0]
        panels[0].plot(epochs, [record["loss"] for record in records], marker="o", color=_PLACEHOLDERS["model"])
        panels[0].set_title("Training loss")
        if validated:
            panels[1].plot(*zip(*validated, strict=True), marker="o", color=_PLACEHOLDERS["model"], label="softmax")
            for name, line, colour in (("linear", "--", "item-knn"), ("blend", "-.", "ease")):
                if name in candidates:
                    panels[1].axhline(candidates[name], linestyle=line, color=_PLACEHOLDERS[colour], label=name)
            panels[1].axvline(best, linestyle=":", color=_PLACEHOLDERS["muted"], label="chosen epoch")
            panels[1].set_title(f"Validation {shown_metric(metric)}")
            panels[1].legend(loc="lower right", bbox_to_anchor=(1.02, 0.98), ncols=2, fontsize=8, handlelength=1.5)
        panels[-1].set_xlabel("epoch")
        panels[-1].xaxis.get_major_locator().set_params(integer=True)
    first, last = records[0]["loss"], records[-1]["loss"]
    description = f"{len(records)} epochs; the training loss is {first:.3f} after the first and {last:.3f} at the end."
    if validated:
        description += (
            f" Validation {shown_metric(metric)} is {validated[-1][1]:.3f} at the end; epoch {best} was chosen."
        )
    return _svg(figure, "curves", "Training curves", description)


def intervals(test: Mapping[str, Any], ranges: Mapping[str, Any], metrics: Sequence[str]) -> Markup:
    """Draws one panel for each metric: every system's mean with its 95 % interval. Empty without `ranges`."""
    if not ranges:
        return Markup("")
    names = [name for name in SYSTEMS if name in test][::-1]
    with _style():
        figure = Figure(figsize=(_WIDTH, 0.35 + len(metrics) * (0.55 + 0.2 * len(names))), layout="constrained")
        for panel, metric in zip(figure.subplots(len(metrics), 1, squeeze=False)[:, 0], metrics, strict=True):
            for place, name in enumerate(names):
                value, (low, high), system = test[name][metric], ranges[name][metric], SYSTEMS[name]
                sides = [[max(0.0, value - low)], [max(0.0, high - value)]]
                colour = _PLACEHOLDERS[system.colour]
                panel.errorbar(value, place, xerr=sides, fmt=system.marker, color=colour, capsize=3, clip_on=False)
            panel.set_yticks(range(len(names)), [SYSTEMS[name].name for name in names])
            panel.set_ylim(-0.6, len(names) - 0.4)
            panel.set_xlim(left=0)
            panel.set_title(shown_metric(metric))
    description = "; ".join(
        f"{SYSTEMS[name].name}: " + ", ".join(f"{shown_metric(metric)} {test[name][metric]:.3f}" for metric in metrics)
        for name in names[::-1]
    )
    return _svg(figure, "intervals", "Every system with its 95 % interval", description)


def coverage(test: Mapping[str, Any]) -> Markup:
    """Draws one mark for each system: catalogue coverage against the popularity of the recommended products."""
    names = [name for name in SYSTEMS if name in test]
    with _style():
        figure = Figure(figsize=(_WIDTH, 2.7), layout="constrained")
        panel = figure.subplots()
        for name in names:
            popularity, covered, system = test[name]["popularity@10"], 100 * test[name]["coverage@10"], SYSTEMS[name]
            style: dict[str, Any] = {"color": _PLACEHOLDERS[system.colour], "markersize": 8, "linestyle": ""}
            panel.plot(popularity, covered, system.marker, label=system.name, clip_on=False, **style)
        panel.set_xlim(left=0)
        panel.set_ylim(0, 100)
        panel.set_xlabel("mean training events of recommended products")
        panel.set_ylabel("catalogue recommended, %")
        figure.legend(loc="outside upper left", ncols=2)
    description = "; ".join(
        f"{SYSTEMS[name].name}: {test[name]['coverage@10']:.1%} of the catalogue, "
        f"{test[name]['popularity@10']:,.0f} events"
        for name in names
    )
    return _svg(figure, "coverage", "Coverage against popularity", description)


def project(vectors: Float32, seed: int) -> Float64:
    """Projects vectors [N, D] onto a plane [N, 2] that keeps near vectors near.

    t-SNE (van der Maaten and Hinton 2008) of the first 50 principal components. Distances between far groups mean
    little.
    """
    # slow to import, and needed once in a run
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    parts = PCA(min(50, *vectors.shape), random_state=seed).fit_transform(vectors)
    perplexity = min(20.0, (len(vectors) - 1) / 3)
    points: Float64 = TSNE(
        perplexity=perplexity, init="pca" if parts.shape[1] > 1 else "random", max_iter=400, random_state=seed
    ).fit_transform(parts)
    return points.astype(np.float64)


def item_map(vectors: Float32, group: Int64, titles: Sequence[str], seed: int) -> Markup:
    """Draws the vectors [N, D] on a plane, coloured by `group` [N] (0 to MAP_GROUPS - 1, -1 = the rest).

    Each point has its title as a tooltip. Empty if there are fewer than 10 products, or all vectors are equal.
    """
    if len(vectors) < _MAP_MINIMUM or (vectors == vectors[0]).all():
        return Markup("")
    points = project(vectors, seed)
    tooltips: dict[str, list[str]] = {}
    with _style():
        figure = Figure(figsize=(_WIDTH, _WIDTH), layout="constrained")
        panel = figure.subplots()
        panel.set_axis_off()
        for number in sorted(set(group.tolist())):  # the rest first, below the others
            rows = np.flatnonzero(group == number)
            name = f"group-{number if number >= 0 else 'rest'}"
            style: dict[str, Any] = {"linestyle": "", "marker": "o", "markersize": 3.2, "markeredgewidth": 0}
            panel.plot(*points[rows].T, color=_PLACEHOLDERS[name], gid=name, **style)
            tooltips[name] = [titles[row] for row in rows.tolist()]
    description = f"{len(vectors):,} products; products of one colour are of one category."
    return _svg(figure, "map", "Map of the product vectors", description, tooltips)


@contextmanager
def _style() -> Iterator[None]:
    """Applies our style to matplotlib's defaults, and ignores a user's matplotlibrc."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def shown_metric(metric: str) -> str:
    """Returns a metric's name for the reader: `NDCG@10` for `ndcg@10`."""
    name, _, cut = metric.partition("@")
    return f"{ {'ndcg': 'NDCG', 'mrr': 'MRR'}.get(name, name.capitalize()) }@{cut}"


def _svg(
    figure: Figure, name: str, title: str, description: str, tooltips: Mapping[str, Sequence[str]] | None = None
) -> Markup:
    """Writes a figure as an <svg> for an HTML page, with a title and a description. All its ids begin with `name`.

    `tooltips` are the texts of the marks of each drawn line, by its gid.
    """
    root = _drawn(figure, name)
    for gid, texts in (tooltips or {}).items():
        marks = [use for line in root.iter("g") if line.get("id") == f"{name}-{gid}" for use in line.iter("use")]
        for use, text in zip(marks, texts, strict=True):
            ElementTree.SubElement(use, "title").text = text
    labels = f"{name}-title {name}-description"
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-labelledby": labels}
    for tag, part, text in (("desc", "description", description), ("title", "title", title)):
        element = ElementTree.Element(tag, {"id": f"{name}-{part}"})
        element.text = text
        root.insert(0, element)
    return Markup(ElementTree.tostring(root, encoding="unicode", short_empty_elements=False))


def _drawn(figure: Figure, name: str) -> ElementTree.Element:
    """Returns matplotlib's SVG as elements that an HTML page can hold: no namespaces, no styles, ids of its own."""
    buffer = io.BytesIO()
    with _style():
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    root = ElementTree.fromstring(buffer.getvalue())
    for element in root.iter():
        # HTML knows both namespaces without a prefix
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: _page_value(value, name) for key, value in element.attrib.items()}
        if "id" in element.attrib:
            element.attrib["id"] = f"{name}-{element.attrib['id']}"
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in {"metadata", "style"}]:
            parent.remove(child)
    return root


def _page_value(value: str, name: str) -> str:
    """Replaces placeholder colours in an attribute by CSS variables, and points references to this figure's ids."""
    value = re.sub(r"#0000[0-9a-f]{2}\b", lambda match: _COLOURS.get(match[0], match[0]), value)
    value = re.sub(r"url\(#", f"url(#{name}-", value)
    return re.sub(r"^#(?=[A-Za-z])", f"#{name}-", value)
