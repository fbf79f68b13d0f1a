"""A synthetic version of any size, without training, for the serving benchmarks.

The vectors are random unit vectors around random centres, so that an approximate index finds neighbourhoods as it does
in a catalogue. The buyer tower has the real graph with random weights. Speed depends on sizes, and those are real; the
recommendations mean nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file

from trainer.config.loading import load_config
from trainer.data.catalogue import Products
from trainer.export.towers import export_buyer_parts, export_buyer_tower, export_item_tower
from trainer.index.build import BuiltIndex, is_small
from trainer.index.nearest_graph import write_nearest
from trainer.model.inputs import Sizes
from trainer.model.towers import TwoTower
from trainer.search.words import build_words
from twotower.arrays import Float32, Int64
from twotower.artifact.catalogue import Product, write_catalogue
from twotower.artifact.layout import Layout, VersionLayout
from twotower.artifact.manifest import SCHEMA, Fusion, IndexSpec, IndexStep, Manifest, TextSearch
from twotower.artifact.store import publish, write_version
from twotower.artifact.version import Version, open_version
from twotower.events import DAY_MS, DEFAULT_WEIGHTS, Interaction
from twotower.history import write_recent
from twotower.search.neighbours import NeighbourTable
from twotower.search.word_index import WordIndex

_NEWEST_MS = 1_780_000_000_000
_PER_CENTRE = 200
_TEXT = 384
# a strong neighbour counts about as much as a common centre
_NEIGHBOUR_WEIGHT = 0.3


class Size(NamedTuple):
    """Sizes of a market; `factory` is an index description for `faiss.index_factory`.

    `neighbours`: entries of a product in the table of neighbours; with 0 there is none, and vectors alone rank.
    """

    products: int
    dimension: int
    buyers: int
    history: int
    factory: str
    neighbours: int
    seed: int = 7

    @property
    def name(self) -> str:
        index = self.factory.replace(",", "-")
        sizes = (self.products, self.dimension, self.buyers, self.history, index, self.neighbours, self.seed)
        return f"synthetic-{'-'.join(map(str, sizes))}"


def product_id(row: int) -> str:
    return f"P{row:07d}"


def buyer_id(row: int) -> str:
    return f"B{row:06d}"


def make(artifacts: Path, size: Size) -> Version:
    """Publishes the version of this size and returns it. Writes it first if it does not exist."""
    layout = Layout(artifacts)
    if not layout.version(size.name).manifest.is_file():
        write_version(layout, size.name, lambda files: _fill(files, size))
    publish(layout, size.name)
    return open_version(layout, size.name)


def _fill(files: VersionLayout, size: Size) -> Manifest:
    import faiss

    generator = np.random.default_rng(size.seed)
    centre_of = generator.integers(0, max(1, size.products // _PER_CENTRE), size.products)
    vectors = _vectors(centre_of, size.dimension, generator)
    np.save(files.embeddings, vectors)
    np.save(files.ids, np.array([product_id(row) for row in range(size.products)]))
    spec = _index(vectors, size.factory, files.index)
    if is_small(BuiltIndex(faiss.read_index(str(files.index)), spec)):
        write_nearest(files.embeddings, files.nearest)
    texts = _vectors(centre_of, _TEXT, np.random.default_rng([size.seed, 1]))
    np.save(files.text_embeddings, texts)
    text_spec = _index(texts, size.factory, files.text_index)
    fusion = Fusion()
    if size.neighbours:
        fusion = Fusion(neighbour_weight=_NEIGHBOUR_WEIGHT)
        _neighbours(centre_of, size).save(files)
    products = _products(size.products)
    write_catalogue(files.products, products)
    _words(products).save(files)
    write_recent(files.recent, _histories(centre_of, size, generator))
    _towers(files, size)
    return Manifest(
        schema_version=SCHEMA,
        version=size.name,
        created_at="2026-01-01T00:00:00+00:00",
        encoder="none",
        encoder_digest="none",
        text_dimension=_TEXT,
        dimension=size.dimension,
        products=size.products,
        buyers=size.buyers,
        events=size.buyers * size.history,
        event_weights=dict(DEFAULT_WEIGHTS),
        max_history=size.history,
        exclude_seen=True,
        configuration={"synthetic": True, **size._asdict()},
        metrics={},
        notes=[],
        gate="off",
        newest_event_ms=None,
        index=spec,
        fusion=fusion,
        text_search=TextSearch(index=text_spec, titles=0, found_first=0.0, found_in_ten=0.0, noise=0.0),
        files={},
        encoder_files={},
    )


def _index(vectors: Float32, factory: str, path: Path) -> IndexSpec:
    import faiss

    index: Any = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    spec = IndexSpec()
    if "HNSW" in factory:
        # recall@100 is about .99 at 100,000 products; in the file too, so that every reader searches the same way
        faiss.downcast_index(index).hnsw.efSearch = 150  # type: ignore[attr-defined]
        steps = [
            IndexStep(depth=depth, parameter=150, factor=1.0, recall=0.99, microseconds=0) for depth in (100, 160, 1000)
        ]
        spec = IndexSpec(kind="hnsw", factory=factory, knob="efSearch", steps=steps)
    elif factory != "Flat":
        raise ValueError(f"index {factory!r} is not supported: use Flat or a kind of HNSW")
    faiss.write_index(index, str(path))
    return spec


def _neighbours(centre_of: Int64, size: Size) -> NeighbourTable:
    """Random neighbours of each product, half of them around its own centre; a few less where one is drawn twice."""
    draw = np.random.default_rng([size.seed, 2])
    own = [np.flatnonzero(centre_of == centre) for centre in range(centre_of.max() + 1)]
    near = size.neighbours // 2
    chosen = [
        np.unique(
            np.concatenate((draw.choice(own[centre], near), draw.integers(0, size.products, size.neighbours - near)))
        )
        for centre in centre_of
    ]
    offsets = np.cumsum([0, *map(len, chosen)])
    rows = np.concatenate(chosen).astype(np.int32)
    return NeighbourTable(offsets, rows, draw.uniform(0.01, 1, len(rows)).astype(np.float32))


def _vectors(centre_of: Int64, dimension: int, generator: np.random.Generator) -> Float32:
    """Unit vectors [N, D]; two vectors around one centre have a cosine of about .5."""
    centres = generator.normal(size=(centre_of.max() + 1, dimension)).astype(np.float32)
    vectors = generator.normal(size=(len(centre_of), dimension)).astype(np.float32)
    vectors += centres[centre_of]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _words(products: list[Product]) -> WordIndex:
    empty = [""] * len(products)
    return build_words(
        Products(
            ids=[one.id for one in products],
            titles=[one.title for one in products],
            descriptions=empty,
            brands=[one.brand for one in products],
            categories=[one.category for one in products],
            prices=[one.price for one in products],
            currencies=empty,
            in_stock=[one.in_stock for one in products],
            attributes=[()] * len(products),
            searched=empty,
        ),
        reads_descriptions=False,
    )


def _products(count: int) -> list[Product]:
    return [
        Product(
            id=product_id(row),
            row=row,
            title=f"منتج تجريبي {row}",
            description="",
            brand=f"علامة {row % 50}",
            category=f"فئة {row % 20}",
            price=10.0 + row % 500,
            currency="SAR",
            in_stock=row % 10 != 0,
            popularity=1.0 / count,
        )
        for row in range(count)
    ]


def _histories(centre_of: Int64, size: Size, generator: np.random.Generator) -> list[tuple[str, list[Interaction]]]:
    """Histories of buyers, each around three centres, as shoppers' histories are."""
    rows_of = [np.flatnonzero(centre_of == centre) for centre in range(centre_of.max() + 1)]
    names = list(DEFAULT_WEIGHTS)
    histories = []
    for buyer in range(size.buyers):
        pool = np.concatenate([rows_of[one] for one in generator.integers(0, len(rows_of), 3)] + [np.arange(3)])
        rows = generator.choice(pool, size.history)
        kinds = generator.choice(len(names), size.history, p=[0.8, 0.15, 0.05])
        ages = np.sort(generator.integers(0, 90 * DAY_MS, size.history))[::-1]
        histories.append(
            (
                buyer_id(buyer),
                [
                    Interaction(product_id(row), names[kind], _NEWEST_MS - int(age))
                    for row, kind, age in zip(rows.tolist(), kinds.tolist(), ages.tolist(), strict=True)
                ],
            )
        )
    return histories


def _towers(files: VersionLayout, size: Size) -> None:
    """Writes the attention tower of the default configuration with random weights, as ONNX and for torch."""
    torch.manual_seed(size.seed)
    changes = {
        "dimension": size.dimension,
        "max_history": size.history,
        "buyer_tower": "attention",
        "product_embedding": False,
    }
    config = load_config().model.model_copy(update=changes)
    model = TwoTower(Sizes(_TEXT, 1, 1, 1, 0, len(DEFAULT_WEIGHTS)), config, 0.05).eval()
    with torch.no_grad():
        for name, values in model.buyer.named_parameters():
            values.normal_(std=0.5 / size.dimension**0.5 if values.dim() == 2 else 0.3)
            # row 0 of the event table is padding
            if name == "type_bias":
                values[0] = 0
    export_item_tower(model, files, _TEXT)
    export_buyer_tower(model, files.buyer_tower)
    export_buyer_parts(model, files.buyer_parts)
    save_file({name: values.contiguous() for name, values in model.buyer.state_dict().items()}, files.weights)
