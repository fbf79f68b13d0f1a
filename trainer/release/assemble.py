"""Writes a new version: the files of its model, the files that describe it, and the check that services can load it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from trainer.config.schema import Config
from trainer.data.catalogue import Products
from trainer.data.searches import SearchedWords
from trainer.release.drift import training_bins
from trainer.release.search_words import WordCounter
from trainer.release.verify import load_as_services_do
from trainer.report.page import write_report
from twotower.artifact.catalogue import Product, write_catalogue
from twotower.artifact.fsync import write_json
from twotower.artifact.layout import Layout, VersionLayout
from twotower.artifact.manifest import Manifest
from twotower.artifact.store import write_version
from twotower.artifact.version import Version


@dataclass(frozen=True)
class Description:
    """What a version holds next to its model: settings, products for display, figures, the manifest, and what was
    searched.
    """

    config: Config
    products: Iterable[Product]
    metrics: dict[str, Any]
    manifest: Manifest
    searched: SearchedWords


def write_release(layout: Layout, name: str, fill: Callable[[VersionLayout], Description], threads: int) -> Version:
    """Writes version `name` if services can load it, else nothing.

    `fill` writes the model's files and the recent interactions into the folder that it gets. Raises CorruptArtifact or
    DataError if the version cannot be loaded.
    """

    def fill_all(target: VersionLayout) -> Manifest:
        description = fill(target)
        _describe(target, description)
        described = Version(description.manifest, target, layout.encoder(description.manifest.encoder_digest))
        return description.manifest.model_copy(update={"drift": training_bins(described, threads)})

    return write_version(layout, name, fill_all, check=lambda version: load_as_services_do(version, threads))


def _describe(target: VersionLayout, description: Description) -> None:
    target.config.write_text(description.config.to_yaml(), encoding="utf-8")
    counter = WordCounter()
    write_catalogue(target.products, counter.count(description.products))
    counter.search_words(description.searched.queries, description.searched.learned).save(target.search_words)
    write_json(target.metrics, description.metrics)
    write_report(target, description.manifest)


def product_records(
    products: Products, popularity: Sequence[float], first_seen: Sequence[float | None]
) -> Iterator[Product]:
    """The products [N] as products.sqlite holds them; `popularity` [N]: shares of the weight of all events."""
    for row, (ident, share, first) in enumerate(zip(products.ids, popularity, first_seen, strict=True)):
        yield Product(
            id=ident,
            row=row,
            title=products.titles[row],
            description=products.descriptions[row],
            brand=products.brands[row],
            category=products.categories[row],
            price=products.prices[row],
            currency=products.currencies[row],
            in_stock=products.in_stock[row],
            popularity=share,
            skus="\n".join(products.skus[row]) if products.skus else "",
            image=products.images[row] if products.images else "",
            first_seen=first,
        )
