"""The trainer's configuration: config.yaml, what the user lays over it, and the checks of every value."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from twotower.errors import SettingsError

DEFAULTS = Path(__file__).with_name("config.yaml")

Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Several = Annotated[list[Annotated[float, Field(ge=0)]], Field(min_length=1)]


class Section(BaseModel):
    """A part of the configuration. No field has a default here: config.yaml is the only place for them."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class EventColumns(Section):
    buyer: str
    product: str
    event: str
    time: str


class ProductColumns(Section):
    id: str
    title: str
    description: str
    metadata: str


class MetadataPaths(Section):
    brand: str
    category: str
    price: str
    currency: str
    in_stock: str


class Data(Section):
    delimiter: Annotated[str, Field(min_length=1, max_length=1)]
    event_columns: EventColumns
    product_columns: ProductColumns
    metadata_paths: MetadataPaths
    attribute_paths: list[Annotated[str, Field(min_length=1)]]
    event_names: dict[str, str]
    event_weights: Annotated[dict[str, Positive], Field(min_length=1)]
    max_reject_share: Annotated[float, Field(ge=0, le=1)]

    @field_validator("delimiter", mode="before")
    @classmethod
    def _tab(cls, value: object) -> object:
        # how a tab is typed on a command line
        return "\t" if value == "\\t" else value

    @model_validator(mode="after")
    def _names_lead_somewhere(self) -> Data:
        for theirs, ours in self.event_names.items():
            if ours not in self.event_weights:
                raise ValueError(f"event_names maps {theirs!r} to {ours!r}, which is not in event_weights")
        return self


class CatalogueEncoderConfig(Section):
    dimension: Annotated[int, Field(ge=8, le=4096)]
    ngram_min: Annotated[int, Field(ge=1, le=8)]
    ngram_max: Annotated[int, Field(ge=1, le=8)]
    loose_spelling: bool
    ngram_skeleton: Annotated[int, Field(ge=0, le=8)]
    ngram_gaps: Annotated[int, Field(ge=0, le=8)]
    ngram_joined: Annotated[int, Field(ge=0, le=8)]
    head_words: Annotated[int, Field(ge=0)]
    frequency_power: Annotated[float, Field(ge=0)]
    unseen: Annotated[float, Field(ge=0, le=1)]
    buckets: Annotated[int, Field(ge=256, le=4_194_304)]
    length: Count
    max_texts: Count
    steps: Annotated[int, Field(ge=0)]
    batch_size: Annotated[int, Field(ge=2)]
    batch_group: Count
    learning_rate: Positive
    temperature: Positive

    @model_validator(mode="after")
    def _ordered(self) -> CatalogueEncoderConfig:
        if self.ngram_min > self.ngram_max:
            raise ValueError(f"ngram_min {self.ngram_min} is above ngram_max {self.ngram_max}")
        for name in ("ngram_skeleton", "ngram_joined"):
            if getattr(self, name) == 1:
                raise ValueError(f"{name} 1 is no n-gram: 0 (none) or 2 to 8")
        if self.ngram_gaps in (1, 2):
            raise ValueError(f"ngram_gaps {self.ngram_gaps} leaves no room for a gap: 0 (none) or 3 to 8")
        return self


class Encoder(Section):
    name: Annotated[str, Field(min_length=1)]
    normaliser: Literal["auto", "light", "full"]
    prompt: str
    max_length: Annotated[int, Field(ge=8, le=8192)]
    batch_size: Count
    quantisation: Literal["none", "int8", "auto"]
    quantisation_texts: Count
    parity_rows: Count
    parity_tolerance: Positive
    catalogue: CatalogueEncoderConfig

    @property
    def embedded(self) -> bool:
        """True for the encoder that is trained from the catalogue."""
        return self.name == "catalogue"

    @property
    def profile(self) -> str:
        return ("full" if self.embedded else "light") if self.normaliser == "auto" else self.normaliser


class Model(Section):
    dimension: Annotated[int, Field(ge=8, le=4096)]
    heads: Annotated[int, Field(ge=0, le=64)]
    brand_embedding: bool
    category_embedding: bool
    attribute_embedding: bool
    product_embedding: bool
    attribute_dropout: Share
    product_dropout: Share
    buyer_tower: Literal["attention", "weighted_average", "transformer"]
    transformer_width: Annotated[int, Field(ge=8, le=1024)]
    transformer_heads: Annotated[int, Field(ge=1, le=16)]
    transformer_layers: Annotated[int, Field(ge=1, le=4)]
    half_life_days: Annotated[float, Field(ge=0)]
    max_history: Annotated[int, Field(ge=1, le=1000)]
    dropout: Share
    vector_dropout: Share

    @property
    def head_count(self) -> int:
        return self.heads or max(1, self.dimension // 128)

    @model_validator(mode="after")
    def _heads_are_alike(self) -> Model:
        if self.dimension % self.head_count:
            raise ValueError(f"dimension {self.dimension} cannot be cut into heads={self.head_count} equal parts")
        if self.transformer_width % self.transformer_heads:
            raise ValueError(
                f"transformer_width {self.transformer_width} cannot be cut into "
                f"transformer_heads={self.transformer_heads} equal parts"
            )
        return self


class Training(Section):
    start: Literal["auto", "softmax", "linear", "blend"]
    max_epochs: Count
    min_steps: Annotated[int, Field(ge=0)]
    patience: Count
    batch_pairs: Annotated[int, Field(ge=2)]
    learning_rate: Positive
    weight_decay: Annotated[float, Field(ge=0)]
    warmup_steps: Annotated[int, Field(ge=0)]
    temperature: Annotated[float, Field(gt=0, le=1)]
    learn_temperature: bool
    full_softmax: Annotated[int, Field(ge=0)]
    random_negatives: Annotated[int, Field(ge=0)]
    logq_strength: Annotated[float, Field(ge=0, le=2)]
    category_alignment: Annotated[float, Field(ge=0)]
    category_temperature: Positive
    alignment_products: Count
    precision: Literal["auto", "float32", "bfloat16"]
    mask_positives: bool
    event_weight_power: Annotated[float, Field(ge=0, le=2)]
    repeat_targets: bool
    checkpoint_steps: Count
    refit: bool


class Linear(Section):
    products: Annotated[int, Field(ge=2)]
    l2: Positive
    half_lives_days: Several
    trends: Several
    trusts: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)]
    trend_half_life_days: Positive
    shares: list[Annotated[float, Field(gt=0, lt=1)]]
    validation_buyers: Count


class TextPair(Section):
    """Two titles of products, and what the cosine of their vectors should be."""

    one: Annotated[str, Field(min_length=1)]
    two: Annotated[str, Field(min_length=1)]
    above: Annotated[float, Field(ge=-1, le=1)] | None = None
    below: Annotated[float, Field(ge=-1, le=1)] | None = None


class Evaluation(Section):
    split: Literal["auto", "leave_last_out", "global_time"]
    test_days: Positive
    min_test_buyers: Count
    max_buyers: Count
    exclude_seen: bool
    metric: Literal["ndcg@10", "recall@10"]
    hidden_products: Share
    ease_max_products: Annotated[int, Field(ge=0)]
    ease_l2: Positive
    resamples: Annotated[int, Field(ge=100)]
    text_pairs: list[TextPair]


class Index(Section):
    kind: Literal["auto", "flat", "hnsw", "ivf", "pq", "compact"]
    target_recall: Annotated[float, Field(gt=0.5, lt=1)]


class Publish(Section):
    gate: bool
    max_drop: Share
    max_gone: Share
    keep_versions: Count
    recent_interactions: Annotated[int, Field(ge=1, le=1000)]


class Paths(Section):
    cache: str


class Config(Section):
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    device: Literal["auto", "cpu", "cuda"]
    threads: Annotated[int, Field(ge=0, le=1024)]
    data: Data
    encoder: Encoder
    model: Model
    training: Training
    linear: Linear
    evaluation: Evaluation
    index: Index
    publish: Publish
    paths: Paths

    @model_validator(mode="after")
    def _hidden_products_are_found_again(self) -> Config:
        if self.evaluation.hidden_products and not self.training.refit:
            share = self.evaluation.hidden_products
            raise ValueError(
                f"evaluation.hidden_products={share} with training.refit=false would publish a model "
                "that was never shown those products: set training.refit=true"
            )
        return self

    @model_validator(mode="after")
    def _a_blend_is_possible(self) -> Config:
        if self.training.start == "blend" and not self.can_blend:
            raise ValueError(
                "training.start=blend needs one of linear.shares, model.buyer_tower=attention and two model.heads or "
                f"more; they are {self.linear.shares}, {self.model.buyer_tower} and {self.model.head_count}"
            )
        return self

    @property
    def can_blend(self) -> bool:
        """Whether a linear model and a head of the softmax can make one vector."""
        return bool(self.linear.shares) and self.model.buyer_tower == "attention" and self.model.head_count > 1

    @property
    def thread_count(self) -> int:
        """`usable_threads` of what is set."""
        return usable_threads(self.threads, "threads")

    def digest(self, *sections: str) -> str:
        """sha256 over the named sections (all of them where none is named)."""
        content = self.model_dump(include=set(sections) or None)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(), allow_unicode=True, sort_keys=False)


def cores() -> int:
    """Cores that this process may use: fewer than the machine has where it is held to some (taskset, a cpuset)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_threads(asked: int, name: str) -> int:
    """How many threads to start: as `asked`, or one for each core that this process may use (0).

    SettingsError under `name` where that is more than eight for each core of the machine: each takes memory.
    """
    most = 8 * (os.cpu_count() or 1)
    if not 0 <= asked <= most:
        raise SettingsError(f"{name} {asked}: must be 0 to {most}, eight for each core of this machine")
    return asked or cores()


def load_config(files: Sequence[Path] = (), assignments: Sequence[str] = ()) -> Config:
    """config.yaml with `files` and then `section.key=value` assignments laid over it, in their order.

    SettingsError names the file or assignment, the key and the value of whatever cannot be used.
    """
    content = _read(DEFAULTS)
    for path in files:
        _lay_over(content, _read(path), str(path))
    for assignment in assignments:
        _assign(content, assignment)
    try:
        return Config.model_validate(_to_floats(content, Config))
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(dict(item)) for item in error.errors())) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"configuration {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"configuration {path} is not YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"configuration {path} must be a mapping of sections, it is {type(content).__name__}")
    return content


# mappings whose keys are the user's own: they are replaced whole
_FREE = {("data", "event_names"), ("data", "event_weights")}


def _lay_over(content: dict[str, Any], over: Mapping[str, Any], source: str, path: tuple[str, ...] = ()) -> None:
    for key, value in over.items():
        here = (*path, str(key))
        if key not in content:
            near = difflib.get_close_matches(str(key), [str(one) for one in content], n=1)
            hint = f"; did you mean {'.'.join((*path, near[0]))}?" if near else ""
            raise SettingsError(f"{source}: unknown key {'.'.join(here)}{hint}")
        if isinstance(content[key], dict) and here not in _FREE:
            if not isinstance(value, Mapping):
                raise SettingsError(f"{source}: {'.'.join(here)}={value!r}: this is a section, not a value")
            _lay_over(content[key], value, source, here)
        else:
            content[key] = value


def _assign(content: dict[str, Any], assignment: str) -> None:
    key, equals, text = assignment.partition("=")
    if not equals or not key.strip():
        raise SettingsError(f"--set {assignment!r}: write it as section.key=value")
    parts = key.strip().split(".")
    present: Any = content
    for part in parts:
        present = present.get(part) if isinstance(present, dict) else None
    if isinstance(present, str) and text[:1] not in {'"', "'"}:
        # a text stands as it is typed, "query: " and 007 and | too; quotes are YAML's
        value: Any = text
    else:
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise SettingsError(f"--set {assignment!r}: the value is not YAML") from None
    for part in reversed(parts):
        value = {part: value}
    _lay_over(content, value, f"--set {assignment}")


def _to_floats(content: Any, kind: Any) -> Any:
    """`content` of an annotated type with every float that it wants: YAML writes 1 for 1.0 and reads 1e-4 as text, and
    strict validation would refuse both."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is float:
        return _to_float(content)
    if origin in (Annotated, Union, UnionType):  # the first is what may be a float; the others are limits, or None
        return _to_floats(content, inner[0])
    if origin is list and isinstance(content, list):
        return [_to_floats(one, inner[0]) for one in content]
    if origin is dict and isinstance(content, dict):
        return {key: _to_floats(one, inner[1]) for key, one in content.items()}
    if isinstance(kind, type) and issubclass(kind, Section) and isinstance(content, dict):
        fields = kind.model_fields
        return {key: _to_floats(one, fields[key].annotation) if key in fields else one for key, one in content.items()}
    return content


def _to_float(value: Any) -> Any:
    # what is no number is left as it is: validation names it
    with suppress(ValueError):
        return float(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else value
    return value


def _explain(item: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in item["loc"]) or "configuration"
    shown = "" if isinstance(item["input"], dict) else f"={item['input']!r}"
    return f"{key}{shown}: {item['msg']}"
