"""What the report's tables and its map show, read from a version's metrics, catalogue and vectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from trainer.evaluate import similarity
from trainer.report import charts
from twotower.arrays import Float32, Int64
from twotower.artifact.catalogue import Catalogue, Product
from twotower.artifact.layout import VersionLayout

_EXAMPLE_PAIRS = 6
# products with their nearest neighbours, and neighbours of each
_NEAREST_OF, _NEAREST = 6, 4


class BaselineComparison(NamedTuple):
    """The model's and one baseline's mean of a metric, their paired difference and its 95 % interval."""

    name: str
    model: float
    baseline: float
    difference: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """`better` or `worse` if the interval is on one side of zero, else `unclear`."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "unclear"


class MapGroup(NamedTuple):
    """One colour of the map: its CSS variable, its category ("" = all others) and its number of points."""

    colour: str
    category: str
    points: int


class PublishedProducts(NamedTuple):
    """The products of a version: vectors [N, D], ids [N] in the same order, and the catalogue.

    `seed` is the seed of all random samples.
    """

    vectors: Float32
    ids: NDArray[np.str_]
    catalogue: Catalogue
    seed: int

    @classmethod
    def read(cls, version: VersionLayout, seed: int) -> PublishedProducts:
        vectors = np.load(version.embeddings, mmap_mode="r", allow_pickle=False)
        return cls(vectors, np.load(version.ids, allow_pickle=False), Catalogue(version.products), seed)

    def categories(self) -> tuple[Int64, list[str]]:
        """Returns the category code [N] of each row, 0 = none, and the names of the codes."""
        columns = self.catalogue.columns()
        names = ["", *(name for name in columns.categories if name)]
        code = {name: place for place, name in enumerate(names)}
        return np.array([code[name] for name in columns.categories], np.int64)[columns.category], names

    def sample(self, limit: int) -> Int64:
        """Draws at most `limit` rows at random."""
        count = len(self.ids)
        return np.sort(np.random.default_rng((self.seed, count)).choice(count, min(count, limit), replace=False))

    def at(self, rows: Sequence[int] | Int64) -> list[Product]:
        """Returns the products of rows."""
        return look_up(self.ids[rows], self.catalogue)


def look_up(ids: Iterable[str], catalogue: Catalogue) -> list[Product]:
    """Returns the products of ids. Raises KeyError if the catalogue lacks one."""
    wanted = [str(one) for one in ids]
    records = catalogue.lookup(wanted)
    products = [one for one in records if one is not None]
    if len(products) < len(wanted):
        raise KeyError(f"product {wanted[records.index(None)]} is not in the catalogue")
    return products


def compare_with_baselines(
    test: Mapping[str, Any], differences: Mapping[str, Any], metric: str
) -> list[BaselineComparison]:
    """Compares the model with every baseline of metrics.json, the strongest first. Empty without test buyers."""
    model, keys = test["model"][metric], ("difference", "low", "high")
    comparisons = [
        BaselineComparison(name, model, test[name][metric], *(of_metric[metric][key] for key in keys))
        for name, of_metric in differences.items()
    ]
    return sorted(comparisons, key=lambda one: -one.baseline)


def draw_map(products: PublishedProducts) -> tuple[Markup, list[MapGroup]]:
    """Draws the map of a random sample of the products, and returns its legend with it."""
    category, names = products.categories()
    rows = products.sample(charts.MAP_PRODUCTS)
    codes, counts = np.unique(category[rows][category[rows] > 0], return_counts=True)
    common = codes[np.argsort(-counts, kind="stable")][: charts.MAP_GROUPS]
    number_of = {int(code): number for number, code in enumerate(common)}
    group = np.array([number_of.get(int(code), -1) for code in category[rows]], np.int64)
    titles = [one.title or one.id for one in products.at(rows)]
    drawing = charts.item_map(np.asarray(products.vectors[rows]), group, titles, products.seed)
    groups = [MapGroup(f"group-{n}", names[code], int((group == n).sum())) for n, code in enumerate(common)]
    if rest := int((group < 0).sum()):
        groups.append(MapGroup("group-rest", "", rest))
    return drawing, groups


def with_products(samples: Sequence[Mapping[str, Any]], catalogue: Catalogue) -> list[dict[str, Any]]:
    """Replaces the product ids of the sample buyers by the catalogue's products."""

    def replaced(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        products = look_up((entry["product"] for entry in entries), catalogue)
        return [{**entry, "product": product} for entry, product in zip(entries, products, strict=True)]

    lists = ("history", "recommended", "targets")
    return [{**sample, **{name: replaced(sample[name]) for name in lists}} for sample in samples]


def example_pairs(products: PublishedProducts) -> list[tuple[str, list[tuple[Product, Product, float]]]]:
    """Draws random pairs of one category and of two, the highest cosine first."""
    category, _ = products.categories()
    same, cross = similarity.example_pairs(products.vectors, category, _EXAMPLE_PAIRS, products.seed)

    def shown(pairs: list[similarity.Pair]) -> list[tuple[Product, Product, float]]:
        pairs = sorted(pairs, key=lambda pair: -pair.cosine)
        first, second = products.at([pair.one for pair in pairs]), products.at([pair.two for pair in pairs])
        return [(one, two, pair.cosine) for one, two, pair in zip(first, second, pairs, strict=True)]

    return [(name, shown(pairs)) for name, pairs in (("Same category", same), ("Different categories", cross)) if pairs]


def nearest_products(products: PublishedProducts) -> list[tuple[Product, list[tuple[Product, float]]]]:
    """Draws a few random products, and returns each with its nearest neighbours."""
    shown = []
    for pairs in similarity.nearest(products.vectors, products.sample(_NEAREST_OF), _NEAREST):
        if pairs:
            own, *others = products.at([pairs[0].one, *(pair.two for pair in pairs)])
            shown.append((own, [(other, pair.cosine) for other, pair in zip(others, pairs, strict=True)]))
    return shown
