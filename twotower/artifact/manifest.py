"""The manifest: what a version is, with size and hash of each file."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from twotower.artifact.lists import Counted, RepeatModel

SCHEMA = 1


class FileEntry(BaseModel):
    """Size and hash of one file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    size: int


class IndexStep(BaseModel):
    """A measured setting for searches of up to `depth` rows.

    `parameter`: nprobe or efSearch, 0 if the index has neither. `factor`: candidates fetched per row returned.
    `recall`: share of the true `depth` nearest rows that are found. `microseconds`: time of a query on one thread.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    depth: int
    parameter: int
    factor: float
    recall: float
    microseconds: float


class IndexSpec(BaseModel):
    """The kind of a FAISS index and how to search it. The defaults describe a flat index."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = "flat"
    # the string for FAISS's index factory
    factory: str = "Flat"
    # the FAISS name of a step's `parameter`: nprobe, efSearch, or empty
    knob: str = ""
    # for each depth the fastest setting that reaches the target, by rising depth; none for an exact index
    steps: list[IndexStep] = []
    # a filter that allows at most this many products is answered by an exact scan of these
    exact_rows: int = 0
    target_recall: float = 1.0
    # the queries for measuring recall, and all settings that were measured
    queries: str = ""
    curve: list[IndexStep] = []
    bytes_per_vector: float | None = None
    build_seconds: float | None = None


class WordWeights(BaseModel):
    """How the words of a search add to the cosine of its vector; `twotower.search.word_search` computes the score.

    `weight` x known x the share of the words that a product holds, `known` being the share that any product holds;
    `number_weight` x its share of the numbers, less the more words are unknown (see `WordMatch`). Products that match
    equally are ordered by `popularity_weight` x the share of the products that are less popular, less `stock_weight`
    for one that is not in stock.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    weight: Annotated[float, Field(ge=0)] = 0.3
    number_weight: Annotated[float, Field(ge=0)] = 0.1
    popularity_weight: Annotated[float, Field(ge=0)] = 0.0
    stock_weight: Annotated[float, Field(ge=0)] = 0.0


class TextSearch(BaseModel):
    """Search by text: the index of text_embeddings.npy, the weights of words, and their measured quality.

    `found_first`, `found_in_ten`: shares of `titles` queries that find a product of that title first, and among ten.
    `noise`: the 95th percentile of the best cosine of words of random letters. `noise_with_words`: the
    evidence (`twotower.search.word_search`) below which the best product is no answer. `validation`: mean quality of
    the generated queries of each kind, with the words and by the vector alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: IndexSpec
    titles: int
    found_first: float
    found_in_ten: float
    noise: float
    words: WordWeights = WordWeights()
    noise_with_words: float = 0.0
    validation: dict[str, dict[str, float]] = {}


class Fusion(BaseModel):
    """How the parts of a score are weighted: inner product of the vectors, neighbours of the history, prior, and the
    history's own products.

    `steps`: newest interactions whose neighbours count. `decay`: weight of one relative to the next newer one. The same
    for the own products: `own_steps` and `own_decay`. A part whose weight is 0 has no files.
    `twotower.search.fused_score` computes the score.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    vector_weight: Annotated[float, Field(ge=0)] = 1.0
    neighbour_weight: Annotated[float, Field(ge=0)] = 0.0
    steps: Annotated[int, Field(ge=1)] = 10
    decay: Annotated[float, Field(ge=0, le=1)] = 0.5
    prior_weight: Annotated[float, Field(ge=0)] = 0.0
    own_weight: Annotated[float, Field(ge=0)] = 0.0
    own_steps: Annotated[int, Field(ge=1)] = 50
    own_decay: Annotated[float, Field(ge=0, le=1)] = 1.0

    @property
    def history_steps(self) -> int:
        """How many of the newest interactions the score reads."""
        return max(self.steps, self.own_steps if self.own_weight else 0)


class Bins(BaseModel):
    """How a figure is distributed: `edges` [B - 1], rising, part its values into bins of these `shares` [B].

    A value that equals an edge lies in the bin below it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    edges: list[float]
    shares: list[float]


class Manifest(BaseModel):
    """What a version is. Services read it before any other file of the version."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    schema_version: int
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
    # whether lists leave out the products of a buyer's history, unless a caller says otherwise
    exclude_seen: bool
    # the settings of the training, with the fingerprint of data and code
    configuration: dict[str, Any]
    metrics: dict[str, Any]
    # why a version was kept back from CURRENT or published with a warning
    notes: list[str]
    # the publish gate's verdict: passed, warned, refused or off
    gate: str
    # the newest event that the published model was trained on; None if it was trained on none
    newest_event_ms: int | None
    index: IndexSpec
    # how many shards may serve the version, besides services that hold all of it
    shards: Annotated[int, Field(ge=1)] = 1
    fusion: Fusion
    text_search: TextSearch
    # how purchases are repeated, and when the rising products were counted; None if the events do not show it
    repeats: RepeatModel | None = None
    trending: Counted | None = None
    # what services compare with what they see: figures of the training's buyers, by name
    drift: dict[str, Bins] = {}
    # up to which change of the live catalogue its products have all: epoch and number; None if they have none
    catalogue: tuple[str, int] | None = None
    files: dict[str, FileEntry]
    private_files: dict[str, FileEntry] = {}
    encoder_files: dict[str, FileEntry]
