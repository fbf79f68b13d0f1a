"""The report's figures: drawn by matplotlib as SVG, coloured by the page that holds them, their texts by the browser.

Every colour is drawn as a stand-in and written as a CSS variable, so that one drawing serves the light and the dark
scheme. What comes from a shop's data is only ever put in as the text of an XML element.
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
from numpy.typing import NDArray

from twotower.arrays import Float32, Float64

# a phone shows this width as it is: a point of the drawing is then a pixel
_WIDTH = 330 / 72


# a point of the map is one of a group or of the rest
MAP_GROUPS = 8


MAP_PRODUCTS = 1000


_LEAST_ON_MAP = 10


class System(NamedTuple):
    """How one of the tested systems is called and drawn."""

    name: str
    colour: str
    marker: str


SYSTEMS = {
    "model": System("This model", "model", "o"),
    "item_knn": System("Item-kNN", "item-knn", "^"),
    "ease": System("EASE", "ease", "D"),
    "popularity": System("Popularity", "popularity", "s"),
}


_NAMES = ["ink", "muted", "grid", *(one.colour for one in SYSTEMS.values())]


_NAMES += [f"group-{number}" for number in range(MAP_GROUPS)] + ["group-rest"]


_STAND_INS = {name: f"#0000{number:02x}" for number, name in enumerate(_NAMES, start=1)}


_COLOURS = {stand_in: f"var(--{name})" for name, stand_in in _STAND_INS.items()}


_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # texts stay texts: the browser shapes them
    "svg.hashsalt": "twotower",  # the same drawing has the same ids
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _STAND_INS["muted"],
    "axes.labelcolor": _STAND_INS["muted"],
    "axes.titlecolor": _STAND_INS["ink"],
    "text.color": _STAND_INS["ink"],
    "xtick.color": _STAND_INS["muted"],
    "ytick.color": _STAND_INS["muted"],
    "grid.color": _STAND_INS["grid"],
    "axes.grid": True,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.labelcolor": _STAND_INS["ink"],
}


def curves(records: Sequence[Mapping[str, float]], candidates: Mapping[str, float], metric: str, best: int) -> Markup:
    """Loss and validation by epoch; candidates without epochs are lines across. Empty where there is nothing to draw.

    `records` hold epoch, loss and, where there was a validation, `validation`; `best` is the epoch that was kept.
    """
    if not records:
        return Markup("")
    epochs = [record["epoch"] for record in records]
    validated = [(record["epoch"], record["validation"]) for record in records if "validation" in record]
    with _style():
        figure = Figure(figsize=(_WIDTH, 3.6 if validated else 1.9), layout="constrained")
        panels = figure.subplots(2 if validated else 1, 1, sharex=True, squeeze=False)[:, 0]
        panels[0].plot(epochs, [record["loss"] for record in records], marker="o", color=_STAND_INS["model"])
        panels[0].set_title("Training loss")
        if validated:
            panels[1].plot(*zip(*validated, strict=True), marker="o", color=_STAND_INS["model"], label="softmax")
            for name, line, colour in (("linear", "--", "item-knn"), ("blend", "-.", "ease")):
                if name in candidates:
                    panels[1].axhline(candidates[name], linestyle=line, color=_STAND_INS[colour], label=name)
            panels[1].axvline(best, linestyle=":", color=_STAND_INS["muted"], label="epoch kept")
            panels[1].set_title(f"Validation {shown_metric(metric)}")
            panels[1].legend(loc="lower right", bbox_to_anchor=(1.02, 0.98), ncols=2, fontsize=8, handlelength=1.5)
        panels[-1].set_xlabel("epoch")
        panels[-1].xaxis.get_major_locator().set_params(integer=True)
    told = f"{len(records)} epochs, the loss falls from {records[0]['loss']:.3f} to {records[-1]['loss']:.3f}."
    if validated:
        told += f" Validation {shown_metric(metric)} at the end {validated[-1][1]:.3f}; epoch {best} was kept."
    return _svg(figure, "curves", "Training curves", told)


def intervals(test: Mapping[str, Any], ranges: Mapping[str, Any], metrics: Sequence[str]) -> Markup:
    """One panel for each metric: every system's figure with its 95 % interval. Empty where there are none."""
    if not ranges:
        return Markup("")
    names = [name for name in SYSTEMS if name in test][::-1]
    with _style():
        figure = Figure(figsize=(_WIDTH, 0.35 + len(metrics) * (0.55 + 0.2 * len(names))), layout="constrained")
        for panel, metric in zip(figure.subplots(len(metrics), 1, squeeze=False)[:, 0], metrics, strict=True):
            for place, name in enumerate(names):
                value, (low, high) = test[name][metric], ranges[name][metric]
                panel.errorbar(
                    value, place, xerr=[[max(0.0, value - low)], [max(0.0, high - value)]], fmt=SYSTEMS[name].marker,
                    color=_STAND_INS[SYSTEMS[name].colour], capsize=3, clip_on=False,
                )  # fmt: skip
            panel.set_yticks(range(len(names)), [SYSTEMS[name].name for name in names])
            panel.set_ylim(-0.6, len(names) - 0.4)
            panel.set_xlim(left=0)
            panel.set_title(shown_metric(metric))
    told = "; ".join(
        f"{SYSTEMS[name].name}: " + ", ".join(f"{shown_metric(metric)} {test[name][metric]:.3f}" for metric in metrics)
        for name in names[::-1]
    )
    return _svg(figure, "intervals", "Every system with its 95 % interval", told)


def coverage(test: Mapping[str, Any]) -> Markup:
    """Share of the catalogue that is recommended against how popular what is recommended is, a mark for each system."""
    names = [name for name in SYSTEMS if name in test]
    with _style():
        figure = Figure(figsize=(_WIDTH, 2.7), layout="constrained")
        panel = figure.subplots()
        for name in names:
            panel.plot(
                test[name]["popularity@10"], 100 * test[name]["coverage@10"], SYSTEMS[name].marker, markersize=8,
                color=_STAND_INS[SYSTEMS[name].colour], label=SYSTEMS[name].name, clip_on=False, linestyle="",
            )  # fmt: skip
        panel.set_xlim(left=0)
        panel.set_ylim(0, 100)
        panel.set_xlabel("mean training events of what is recommended")
        panel.set_ylabel("catalogue recommended, %")
        figure.legend(loc="outside upper left", ncols=2)
    told = "; ".join(
        f"{SYSTEMS[name].name}: {test[name]['coverage@10']:.1%} of the catalogue, "
        f"{test[name]['popularity@10']:,.0f} events"
        for name in names
    )
    return _svg(figure, "coverage", "Coverage against popularity", told)


def project(vectors: Float32, seed: int) -> Float64:
    """A plane [N, 2] in which near vectors [N, D] stay near: t-SNE (van der Maaten and Hinton 2008) of the first 50
    principal components. Distances between far groups mean little."""
    # slow to import, and needed once in a run
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    parts = PCA(min(50, *vectors.shape), random_state=seed).fit_transform(vectors)
    perplexity = min(20.0, (len(vectors) - 1) / 3)
    points: Float64 = TSNE(
        perplexity=perplexity, init="pca" if parts.shape[1] > 1 else "random", max_iter=400, random_state=seed
    ).fit_transform(parts)
    return points.astype(np.float64)


def item_map(vectors: Float32, group: NDArray[np.int64], titles: Sequence[str], seed: int) -> Markup:
    """The vectors [N, D] on a plane, coloured by `group` [N] (0 to MAP_GROUPS - 1, -1 = the rest); each point says
    its title. Empty where there are too few to place, or nothing sets them apart."""
    if len(vectors) < _LEAST_ON_MAP or (vectors == vectors[0]).all():
        return Markup("")
    points = project(vectors, seed)
    tips: dict[str, list[str]] = {}
    with _style():
        figure = Figure(figsize=(_WIDTH, _WIDTH), layout="constrained")
        panel = figure.subplots()
        panel.set_axis_off()
        for number in sorted(set(group.tolist())):  # the rest lies below
            rows = np.flatnonzero(group == number)
            name = f"group-{number if number >= 0 else 'rest'}"
            panel.plot(
                *points[rows].T, linestyle="", marker="o", markersize=3.2, markeredgewidth=0,
                color=_STAND_INS[name], gid=name,
            )  # fmt: skip
            tips[name] = [titles[row] for row in rows.tolist()]
    told = f"{len(vectors):,} products; those of one colour are of one category."
    return _svg(figure, "map", "Map of the product vectors", told, tips)


@contextmanager
def _style() -> Iterator[None]:
    """Our style over matplotlib's own defaults, whatever a user's matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def shown_metric(metric: str) -> str:
    """A metric's name for people."""
    name, _, cut = metric.partition("@")
    return f"{ {'ndcg': 'NDCG', 'mrr': 'MRR'}.get(name, name.capitalize()) }@{cut}"


def _svg(figure: Figure, name: str, title: str, told: str, tips: Mapping[str, Sequence[str]] | None = None) -> Markup:
    """A figure as an <svg> for an HTML page, with a title and a description; ids begin with `name`.

    `tips` are texts for the marks of each drawn line, by its gid.
    """
    written = io.BytesIO()
    with _style():
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(written, format="svg", transparent=True, metadata=nothing)
    root = ElementTree.fromstring(written.getvalue())
    for element in root.iter():
        # HTML knows both namespaces by itself
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: _mended(value, name) for key, value in element.attrib.items()}
        if "id" in element.attrib:
            element.attrib["id"] = f"{name}-{element.attrib['id']}"
    for parent in list(root.iter()):
        for child in [child for child in parent if child.tag in {"metadata", "style"}]:
            parent.remove(child)
    for gid, texts in (tips or {}).items():
        marks = [use for line in root.iter("g") if line.get("id") == f"{name}-{gid}" for use in line.iter("use")]
        for use, text in zip(marks, texts, strict=True):
            ElementTree.SubElement(use, "title").text = text
    root.attrib = {
        "viewBox": root.attrib["viewBox"], "role": "img", "aria-labelledby": f"{name}-title {name}-told",
    }  # fmt: skip
    for tag, part, text in (("desc", "told", told), ("title", "title", title)):
        first = ElementTree.Element(tag, {"id": f"{name}-{part}"})
        first.text = text
        root.insert(0, first)
    return Markup(ElementTree.tostring(root, encoding="unicode", short_empty_elements=False))


def _mended(value: str, name: str) -> str:
    """An attribute's colours as variables, and its references as ids of this figure."""
    value = re.sub(r"#0000[0-9a-f]{2}\b", lambda found: _COLOURS.get(found[0], found[0]), value)
    value = re.sub(r"url\(#", f"url(#{name}-", value)
    return re.sub(r"^#(?=[A-Za-z])", f"#{name}-", value)
