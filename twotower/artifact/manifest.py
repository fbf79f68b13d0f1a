"""The manifest: what a version says of itself, and of each of its files."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

SCHEMA = 1


class FileEntry(BaseModel):
    """What the manifest says of one file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    size: int


class IndexStep(BaseModel):
    """One measured way to search an index: how many rows it is asked for at the most, and what that takes and finds.

    `parameter` is nprobe or efSearch (0 where the index has neither), `factor` how many rows are fetched for each one
    wanted, `recall` the share of the true `depth` best that are found, `microseconds` a query's time on one thread.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    depth: int
    parameter: int
    factor: float
    recall: float
    microseconds: float


class IndexSpec(BaseModel):
    """What product_index.faiss is and how it is searched. The defaults describe a flat index."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = "flat"
    # as FAISS's factory takes it
    factory: str = "Flat"
    # what `parameter` of a step is called: nprobe, efSearch, or nothing
    knob: str = ""
    # for each depth the cheapest way that reaches the target, by rising depth; none for an exact index
    steps: list[IndexStep] = []
    # filters that allow so many products or fewer are answered by an exact scan of these alone
    exact_rows: int = 0
    target_recall: float = 1.0
    # what recall was measured with, and every way that was tried
    queries: str = ""
    curve: list[IndexStep] = []
    bytes_per_vector: float | None = None
    build_seconds: float | None = None


class TextSearch(BaseModel):
    """How products are found by words: the index of text_embeddings.npy, and what it was measured to find.

    Of `titles` searched for, `found_first` and `found_in_ten` are the shares that found a product of that title so high
    in the list; the best cosine of 19 in 20 words of random letters is below `noise`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: IndexSpec
    titles: int
    found_first: float
    found_in_ten: float
    noise: float


class Manifest(BaseModel):
    """What one version is: read by services before they open anything else of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    schema_version: int = SCHEMA
    version: str
    created_at: str
    # name and digest of the text encoder, and the size of its vectors
    encoder: str
    encoder_digest: str
    text_dimension: int
    dimension: int
    metric: str = "inner_product"
    products: int
    buyers: int
    events: int
    # event name -> weight, in the order of their integer codes (1, 2, ...)
    event_weights: dict[str, float]
    max_history: int
    # what the data and the training were
    configuration: dict[str, Any]
    metrics: dict[str, Any]
    # why a version was kept back from CURRENT or published with a warning
    notes: list[str]
    # what the publish gate said: passed, warned, refused or off
    gate: str
    # the newest event that the published model was trained on; None if it was trained on none
    newest_event_ms: int | None
    index: IndexSpec
    text_search: TextSearch
    files: dict[str, FileEntry]
    encoder_files: dict[str, FileEntry]
