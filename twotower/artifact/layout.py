"""Every path of an artifact folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from twotower.sharding import Shard


@dataclass(frozen=True)
class Layout:
    """Every path below one artifact folder."""

    root: Path

    @property
    def current(self) -> Path:
        return self.root / "CURRENT"

    @property
    def previous(self) -> Path:
        return self.root / "PREVIOUS"

    @property
    def experiments(self) -> Path:
        """The versions that experiments need, held beside CURRENT and PREVIOUS: one pointer a line."""
        return self.root / "EXPERIMENTS"

    @property
    def pointers(self) -> Path:
        """The lock for changing CURRENT and PREVIOUS and for removing versions; readers need no lock."""
        return self.root / ".pointers"

    @property
    def spare_pointer(self) -> Path:
        """A file of a pointer's size that names nothing: the next CURRENT is written into it."""
        return self.root / ".pointer-spare"

    @property
    def last_pointer(self) -> Path:
        """The last CURRENT, while a change is under way."""
        return self.root / ".pointer-last"

    @property
    def versions(self) -> Path:
        return self.root / "versions"

    @property
    def encoders(self) -> Path:
        return self.root / "encoders"

    @property
    def work(self) -> Path:
        """Checkpoints, caches and half-written versions, for the trainer only."""
        return self.root / "work"

    @property
    def private(self) -> Path:
        """What names buyers: for the trainer, gateway and recorder alone. Other services do not mount it."""
        return self.root / "private"

    @property
    def forgotten(self) -> Path:
        """The list of forgotten buyers, see `twotower.forgotten`."""
        return self.private / "forgotten.txt"

    @property
    def log(self) -> Path:
        """The recorder's folder, see `twotower.event_log`."""
        return self.private / "log"

    def version(self, name: str) -> VersionLayout:
        return VersionLayout(self.versions / name)

    def encoder(self, digest: str) -> EncoderLayout:
        return EncoderLayout(self.encoders / digest)


@dataclass(frozen=True)
class VersionLayout:
    """Every file of one version folder."""

    root: Path

    @property
    def artifacts(self) -> Layout:
        """The artifact folder that this version lies in, or is being written in."""
        return Layout(self.root.parent.parent)

    @property
    def private(self) -> Path:
        """The folder for those files of this version that name buyers."""
        return self.artifacts.private / self.root.name

    def index_of(self, shard: Shard) -> Path:
        """The index of a shard's rows; only with several shards and another index than a flat one."""
        return self.root / f"product_index-{shard.number}-of-{shard.count}.faiss"

    def text_index_of(self, shard: Shard) -> Path:
        """The same of the texts."""
        return self.root / f"text_index-{shard.number}-of-{shard.count}.faiss"

    recent = property(lambda self: self.private / "recent_interactions.jsonl.gz")
    rejects = property(lambda self: self.private / "rejects.csv")
    manifest = property(lambda self: self.root / "manifest.json")
    embeddings = property(lambda self: self.root / "product_embeddings.npy")
    ids = property(lambda self: self.root / "product_ids.npy")
    index = property(lambda self: self.root / "product_index.faiss")
    # the text encoder's vectors of the same products, for search by text
    text_embeddings = property(lambda self: self.root / "text_embeddings.npy")
    text_index = property(lambda self: self.root / "text_index.faiss")
    # the words of the same products: their stems, and which products hold them, as a sparse matrix
    words = property(lambda self: self.root / "words.npy")
    word_starts = property(lambda self: self.root / "word_starts.npy")
    word_weights = property(lambda self: self.root / "word_weights.npy")
    word_offsets = property(lambda self: self.root / "word_offsets.npy")
    # what was learned from searches for the n-grams of queries; only if it was kept
    query_ngram_ids = property(lambda self: self.root / "query_ngram_ids.npy")
    query_ngrams = property(lambda self: self.root / "query_ngrams.npy")
    word_rows = property(lambda self: self.root / "word_rows.npy")
    word_scores = property(lambda self: self.root / "word_scores.npy")
    # only with a flat index of a small catalogue; it reads its vectors from `embeddings`
    nearest = property(lambda self: self.root / "nearest_products.onnx")
    # the same for texts; it reads its vectors from `text_embeddings`
    nearest_texts = property(lambda self: self.root / "nearest_texts.onnx")
    # the neighbours of each product as a sparse matrix, and what a product has for all buyers; only with a weight
    neighbour_offsets = property(lambda self: self.root / "neighbour_offsets.npy")
    neighbour_rows = property(lambda self: self.root / "neighbour_rows.npy")
    neighbour_scores = property(lambda self: self.root / "neighbour_scores.npy")
    prior = property(lambda self: self.root / "prior.npy")
    # how products and categories are bought again, and which products are rising; only if the events show it
    repeat_products = property(lambda self: self.root / "repeat_products.npy")
    repeat_categories = property(lambda self: self.root / "repeat_categories.npy")
    trending_rows = property(lambda self: self.root / "trending_rows.npy")
    trending_figures = property(lambda self: self.root / "trending_figures.npy")
    # what is bought together with each product; only if any pair is known
    complement_offsets = property(lambda self: self.root / "complement_offsets.npy")
    complement_known = property(lambda self: self.root / "complement_known.npy")
    complement_rows = property(lambda self: self.root / "complement_rows.npy")
    complement_scores = property(lambda self: self.root / "complement_scores.npy")
    complement_weights = property(lambda self: self.root / "complement_weights.npy")
    item_tower = property(lambda self: self.root / "item_tower.onnx")
    # the products' rows of the item tower, which its graph reads
    item_tower_rows = property(lambda self: self.root / "item_tower_rows.npy")
    buyer_tower = property(lambda self: self.root / "buyer_tower.onnx")
    # the same vectors as sums over the interactions, for reasons
    buyer_parts = property(lambda self: self.root / "buyer_parts.onnx")
    vocab = property(lambda self: self.root / "vocab.json")
    products = property(lambda self: self.root / "products.sqlite")
    # what understanding and completing queries needs of the catalogue
    search_words = property(lambda self: self.root / "search_words.json")
    weights = property(lambda self: self.root / "model.safetensors")
    config = property(lambda self: self.root / "config.yaml")
    metrics = property(lambda self: self.root / "metrics.json")
    report = property(lambda self: self.root / "report.html")


@dataclass(frozen=True)
class EncoderLayout:
    """Every file of one shared text encoder folder."""

    root: Path

    spec = property(lambda self: self.root / "encoder.json")
    graph = property(lambda self: self.root / "encoder.onnx")
    weights = property(lambda self: self.root / "encoder.onnx.data")
    tokenizer = property(lambda self: self.root / "tokenizer.json")
