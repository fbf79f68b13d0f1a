"""Builds a complete, tiny model version without torch in milliseconds: every file that a service opens."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
from onnx import TensorProto, helper, numpy_helper

from tests.helpers.fused import tiny_parts
from trainer.data.catalogue import Products
from trainer.external_table import replace_table
from trainer.index.nearest_graph import write_nearest
from trainer.release.search_words import WordCounter
from trainer.search.words import build_words
from twotower.arrays import Float32
from twotower.artifact.catalogue import Product, write_catalogue
from twotower.artifact.fsync import sync_folder
from twotower.artifact.layout import EncoderLayout as EncoderFiles
from twotower.artifact.layout import Layout, VersionLayout
from twotower.artifact.manifest import SCHEMA, Bins, FileEntry, Fusion, IndexSpec, Manifest, TextSearch
from twotower.artifact.store import publish, write_version
from twotower.artifact.version import Version, describe
from twotower.artifact.vocab import Vocab
from twotower.events import DEFAULT_WEIGHTS, Interaction
from twotower.graphs.query_ngrams import QueryNgrams
from twotower.graphs.text_encoder import EncoderSpec, TextEncoder
from twotower.graphs.towers import ItemTower
from twotower.history import write_recent
from twotower.search.complements import ComplementTable
from twotower.text.ngrams import NgramSpec
from twotower.text.normalise import Normaliser, item_text

TEXT_DIMENSION = 12
VECTORS_ALONE = Fusion()
NGRAMS = NgramSpec(minimum=2, maximum=4, buckets=512, length=256)
HALF_LIFE_DAYS = 30.0
# in twelve random dimensions a cosine by chance is not small
NOISE = 0.3
DAY_MS = 86_400_000
NOON = 1_760_000_000_000  # 2025-10-09, the newest recent interaction of every buyer
CATEGORIES: dict[str, list[str]] = {
    "مجوهرات": ["خاتم ذهب", "سلسال ذهب", "أسورة فضة", "حلق ألماس", "خاتم فضة رجالي"],
    "عطور": ["دهن عود كمبودي", "عطر مسك أبيض", "بخور معطر", "عطر ورد طائفي", "عطر عنبر"],
    "سيارات": ["زيت محرك", "بطارية سيارة", "إطار سيارة", "فلتر زيت", "مساحات زجاج"],
    "تمور": ["تمر سكري", "تمر عجوة", "تمر خلاص", "معمول بالتمر", "دبس تمر"],
}


BRANDS = ["لازوردي", "العربية للعود", "بترومين", "مزارع القصيم"]


def catalogue(products: int, markup: float = 0.0) -> list[Product]:
    """Products "p0".."pN-1", the four categories in turn; every seventh is out of stock, popularity falls with rank."""
    weights = 1.0 / (1.0 + np.arange(products))
    # the most popular product is not row 0, so that a popular list in row order would be caught
    shares = np.roll(weights, 3) / weights.sum()
    names = list(CATEGORIES)
    made = []
    for row in range(products):
        place = row % len(names)
        titles = CATEGORIES[names[place]]
        title = titles[(row // len(names)) % len(titles)]
        made.append(
            Product(
                id=f"p{row}",
                row=row,
                title=f"{title} موديل {row}",
                description=f"{title} أصلي، ضمان سنة" if row % 3 else "",
                brand=BRANDS[place] if row % 5 else "",
                category=names[place],
                price=None if row % 11 == 10 else 10.0 + row + markup,
                currency="SAR",
                in_stock=row % 7 != 6,
                popularity=float(shares[row]),
                skus=f"SKU-{row:04d}\n628{row:010d}",
                image=f"https://pictures.shop.example/{row}.png" if row % 4 == 1 else "",
                # the first product is the newest; every ninth was never sold
                first_seen=None if row % 9 == 8 else NOON / 1000 - row * 86_400,
            )
        )
    return made


def build_version(
    artifacts: Path,
    name: str,
    *,
    products: int = 40,
    dimension: int = 8,
    seed: int = 0,
    encoder_seed: int = 0,
    buyers: int = 6,
    max_history: int = 20,
    created_at: str = "2026-01-01T00:00:00+00:00",
    publish: bool = True,
    noise: float = NOISE,
    noise_with_words: float = NOISE,
    blank: bool = False,
    fusion: Fusion = VECTORS_ALONE,
    markup: float = 0.0,
    ids: Mapping[str, str] | None = None,
    learned: QueryNgrams | None = None,
    measured: Mapping[str, Any] | None = None,
    lists: Callable[[VersionLayout], dict[str, Any]] | None = None,
    complements: ComplementTable | None = None,
    drift: Mapping[str, Bins] | None = None,
    newest_event_ms: int | None = None,
    metrics: Mapping[str, Any] | None = None,
    shards: int = 1,
) -> Version:
    """Writes version `name` below `artifacts`; with `publish`, also names it in CURRENT.

    The same arguments give the same bytes. Versions of another `seed` have other towers, so other vectors; those of
    the same `encoder_seed` share one text encoder. With `blank` nothing is known of "p0". The parts of a `fusion` are
    those of `tests.helpers.fused`. `markup` is added to every price, and `ids` are other ids. `measured`: the content
    of metrics.json; `metrics`: of the manifest. `lists` writes further files and returns what the manifest says of it.
    """
    layout = Layout(artifacts)
    items = [one._replace(id=(ids or {}).get(one.id, one.id)) for one in catalogue(products, markup)]
    encoder = write_encoder(layout, encoder_seed)

    def fill(files: VersionLayout) -> Manifest:
        fill_version(files, encoder, items, dimension, seed, buyers)
        if blank:
            vectors = np.load(files.embeddings)
            vectors[0] = 0
            np.save(files.embeddings, vectors)
        if measured:
            files.metrics.write_text(json.dumps(measured))
        tiny_parts(fusion, items, seed).save(files)
        if learned:
            learned.save(files.query_ngram_ids, files.query_ngrams)
        more = lists(files) if lists else {}
        if complements:
            complements.save(files)
        return Manifest(
            **more,
            schema_version=SCHEMA,
            version=name,
            created_at=created_at,
            encoder="tiny n-grams",
            encoder_digest=encoder.root.name,
            text_dimension=TEXT_DIMENSION,
            dimension=dimension,
            products=products,
            buyers=buyers,
            events=buyers * 4,
            event_weights=dict(DEFAULT_WEIGHTS),
            max_history=max_history,
            exclude_seen=True,
            configuration={"seed": seed, "training": {"refit": True}},
            metrics=dict(metrics or {"recall@10": 0.5}),
            notes=[],
            gate="off",
            newest_event_ms=newest_event_ms,
            drift=dict(drift or {}),
            index=IndexSpec(),
            shards=shards,
            fusion=fusion,
            text_search=TextSearch(
                index=IndexSpec(),
                titles=products,
                found_first=1.0,
                found_in_ten=1.0,
                noise=noise,
                noise_with_words=noise_with_words,
            ),
            files={},
            encoder_files=entries(encoder.root),
        )

    version = write_version(layout, name, fill)
    if publish:
        publish_version(artifacts, name)
    return version


def publish_version(artifacts: Path, name: str) -> None:
    """Names an existing version in CURRENT, as the trainer does."""
    publish(Layout(artifacts), name)


def entries(folder: Path) -> dict[str, FileEntry]:
    return {path.name: describe(path) for path in sorted(folder.iterdir())}


def write_encoder(layout: Layout, seed: int) -> EncoderFiles:
    """The text encoder's folder, named by the sha256 over its files."""
    layout.work.mkdir(parents=True, exist_ok=True)
    temporary = EncoderFiles(layout.work / "encoder")
    temporary.root.mkdir(exist_ok=True)
    spec = EncoderSpec(
        kind="ngrams",
        name="tiny n-grams",
        dimension=TEXT_DIMENSION,
        normaliser=Normaliser.profile("full").settings(),
        max_length=NGRAMS.length,
        ngrams=NGRAMS.settings(),
    )
    temporary.spec.write_text(spec.model_dump_json(), encoding="utf-8")
    onnx_ir.save(onnx_ir.from_proto(encoder_graph(seed)), temporary.graph, external_data=temporary.weights.name)
    listing = "".join(f"{name} {entry.sha256}\n" for name, entry in entries(temporary.root).items())
    final = layout.encoder(hashlib.sha256(listing.encode()).hexdigest())
    if not final.root.exists():
        sync_folder(temporary.root)
        layout.encoders.mkdir(parents=True, exist_ok=True)
        temporary.root.rename(final.root)
    shutil.rmtree(temporary.root, ignore_errors=True)
    return final


def fill_version(
    files: VersionLayout, encoder: EncoderFiles, items: list[Product], dimension: int, seed: int, buyers: int
) -> None:
    """Every file of a version folder but its manifest; the vectors come out of the very graphs that are written."""
    import faiss

    vocab = Vocab.build((one.brand for one in items), (one.category for one in items))
    vocab.save(files.vocab)
    graph = item_graph(dimension, len(vocab.brand) + 1, len(vocab.category) + 1, len(items) + 1, seed)
    write_item_tower(files, graph)
    files.buyer_tower.write_bytes(buyer_graph(dimension).SerializeToString())
    files.buyer_parts.write_bytes(buyer_parts_graph(dimension).SerializeToString())
    text = TextEncoder.load(encoder, 1).encode([item_text(one.title, one.description) for one in items])
    brand = np.array([vocab.brand_index(one.brand) for one in items], np.int64)
    category = np.array([vocab.category_index(one.category) for one in items], np.int64)
    product = np.arange(1, len(items) + 1, dtype=np.int64)
    vectors = ItemTower(files, 1).encode(text, brand, category, product)  # [N, D]
    np.save(files.embeddings, vectors)
    np.save(files.ids, np.array([one.id for one in items]))
    np.save(files.text_embeddings, text)
    for rows, path in ((vectors, files.index), (text, files.text_index)):
        index = faiss.IndexFlatIP(rows.shape[1])
        index.add(rows)
        faiss.write_index(index, str(path))
    build_words(products_of(items), reads_descriptions=True).save(files)
    write_nearest(files.embeddings, files.nearest)
    write_nearest(files.text_embeddings, files.nearest_texts)
    counter = WordCounter()
    write_catalogue(files.products, counter.count(items))
    counter.search_words({}, {}).save(files.search_words)
    write_recent(files.recent, recent_interactions(items, buyers))
    files.metrics.write_text(json.dumps({"recall@10": 0.5}))
    files.config.write_text("seed: 0\n")
    files.weights.write_bytes((2).to_bytes(8, "little") + b"{}")  # an empty safetensors file


def products_of(items: list[Product]) -> Products:
    """The same products as the trainer reads them."""
    return Products(
        ids=[one.id for one in items],
        titles=[one.title for one in items],
        descriptions=[one.description for one in items],
        brands=[one.brand for one in items],
        categories=[one.category for one in items],
        prices=[one.price for one in items],
        currencies=[one.currency for one in items],
        in_stock=[one.in_stock for one in items],
        attributes=[()] * len(items),
        searched=[""] * len(items),
    )


def recent_interactions(items: list[Product], buyers: int) -> list[tuple[str, list[Interaction]]]:
    """Buyers "b0".."bN-1", each with four events within one category (buyer i in category i mod 4)."""
    kinds = ["View", "View", "AddToCart", "Purchase"]
    histories = []
    for buyer in range(buyers):
        own = [one for one in items if one.row % len(CATEGORIES) == buyer % len(CATEGORIES)]
        events = [
            Interaction(own[(buyer + step) % len(own)].id, kind, NOON - (3 - step) * DAY_MS)
            for step, kind in enumerate(kinds)
        ]
        histories.append((f"b{buyer}", events))
    return histories


def encoder_graph(seed: int) -> onnx.ModelProto:
    """ids, mask [B, L] → the L2-normalised sum of the ids' rows [B, E]; row 0 is zero."""
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),  # [B, L, E]
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),  # [B, L, 1]
        helper.make_node("Mul", ["rows", "wide"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "one"], ["text_sum"], keepdims=0),  # [B, E]
        *_normalise("text_sum", "text_vector"),
    ]
    constants = {"table": _table(seed, NGRAMS.buckets, TEXT_DIMENSION), "last": [-1], "one": [1]}
    inputs = {"input_ids": (TensorProto.INT64, ["B", "L"]), "attention_mask": (TensorProto.INT64, ["B", "L"])}
    outputs = {"text_vector": ["B", TEXT_DIMENSION], "text_sum": ["B", TEXT_DIMENSION]}
    return _model(nodes, inputs, outputs, constants)


def item_graph(dimension: int, brands: int, categories: int, products: int, seed: int) -> onnx.ModelProto:
    """text [B, E], brand, category, product [B] → L2(text W + brand + category + product) [B, D]."""
    generator = np.random.default_rng([seed, 1])
    nodes = [
        helper.make_node("MatMul", ["text", "projection"], ["projected"]),
        helper.make_node("Gather", ["brand_table", "brand"], ["brand_row"]),
        helper.make_node("Gather", ["category_table", "category"], ["category_row"]),
        helper.make_node("Gather", ["product_table", "product"], ["product_row"]),
        helper.make_node("Sum", ["projected", "brand_row", "category_row", "product_row"], ["sum"]),
        *_normalise("sum", "vector"),
    ]
    constants = {
        "projection": generator.normal(size=(TEXT_DIMENSION, dimension)).astype(np.float32),
        "brand_table": _table(seed + 2, brands, dimension, 0.3),
        "category_table": _table(seed + 3, categories, dimension, 1.0),
        "product_table": _table(seed + 4, products, dimension, 0.2),
    }
    inputs = {
        "text": (TensorProto.FLOAT, ["B", TEXT_DIMENSION]),
        "brand": (TensorProto.INT64, ["B"]),
        "category": (TensorProto.INT64, ["B"]),
        "product": (TensorProto.INT64, ["B"]),
    }
    return _model(nodes, inputs, {"vector": ["B", dimension]}, constants)


def write_item_tower(files: VersionLayout, graph: onnx.ModelProto) -> None:
    """Writes an `item_graph` as the trainer does: the products' rows in a file of their own."""
    (rows,) = (one for one in graph.graph.initializer if one.name == "product_table")
    np.save(files.item_tower_rows, numpy_helper.to_array(rows))
    replace_table(graph, rows.name, files.item_tower_rows)
    files.item_tower.write_bytes(graph.SerializeToString())


def buyer_graph(dimension: int) -> onnx.ModelProto:
    """items [B, T, D], weights, types, ages, mask [B, T] → L2 of the mean weighted by weight x 2^(-age/30) [B, D]."""
    nodes = [*_scaled(), *_normalise("sum", "vector")]
    return _model(nodes, _history_inputs(dimension), {"vector": ["B", dimension]}, _BUYER_CONSTANTS)


def buyer_parts_graph(dimension: int) -> onnx.ModelProto:
    """The same inputs → the parts [B, T + 1, D] of these vectors; the last row is zero."""
    nodes = [
        *_scaled(),
        *_normalise("sum", "vector"),
        helper.make_node("Unsqueeze", ["safe_norm", "one"], ["wide_norm"]),  # [B, 1, 1]
        helper.make_node("Div", ["scaled", "wide_norm"], ["rows"]),
        helper.make_node("Pad", ["rows", "one_more"], ["parts"]),
    ]
    constants = _BUYER_CONSTANTS | {"one_more": [0, 0, 0, 0, 1, 0]}
    return _model(nodes, _history_inputs(dimension), {"parts": ["B", "T + 1", dimension]}, constants)


_BUYER_CONSTANTS: dict[str, Any] = {
    "half_life": np.array(HALF_LIFE_DAYS, np.float32),
    "half": np.array(0.5, np.float32),
    "last": [-1],
    "one": [1],
}


def _scaled() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Div", ["ages", "half_life"], ["halvings"]),
        helper.make_node("Pow", ["half", "halvings"], ["recency"]),
        helper.make_node("Cast", ["mask"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["weights", "recency"], ["recent_weights"]),
        helper.make_node("Mul", ["recent_weights", "real"], ["share"]),
        helper.make_node("Unsqueeze", ["share", "last"], ["wide"]),  # [B, T, 1]
        helper.make_node("Mul", ["items", "wide"], ["scaled"]),
        helper.make_node("ReduceSum", ["scaled", "one"], ["sum"], keepdims=0),  # [B, D]
    ]


def _history_inputs(dimension: int) -> dict[str, tuple[int, list[Any]]]:
    return {
        "items": (TensorProto.FLOAT, ["B", "T", dimension]),
        "weights": (TensorProto.FLOAT, ["B", "T"]),
        "types": (TensorProto.INT64, ["B", "T"]),
        "ages": (TensorProto.FLOAT, ["B", "T"]),
        "mask": (TensorProto.BOOL, ["B", "T"]),
    }


def _normalise(name: str, output: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("ReduceL2", [name], ["norm"], axes=[1], keepdims=1),
        helper.make_node("Max", ["norm", "tiny"], ["safe_norm"]),
        helper.make_node("Div", [name, "safe_norm"], [output]),
    ]


def _table(seed: int, rows: int, columns: int, scale: float = 1.0) -> Float32:
    table = np.random.default_rng(seed).normal(scale=scale, size=(rows, columns)).astype(np.float32)
    table[0] = 0.0  # unknown, or padding
    return table


def _model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, list[Any]]],
    outputs: dict[str, list[Any]],
    constants: dict[str, Any],
) -> onnx.ModelProto:
    constants = {**constants, "tiny": np.array(1e-12, np.float32)}
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def write_object_array(path: Path) -> None:
    """A .npy file whose header promises Python objects: reading it would run whatever its bytes say."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": (1,)})
        file.write(b"not an object")
