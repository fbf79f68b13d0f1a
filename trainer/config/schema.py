"""The types and checks of every setting; config.yaml says what each one does."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

import yaml
from pydantic import Field, model_validator

from trainer.config.base import Auto, Count, Positive, Section, Several, Share, settled, usable_threads
from trainer.config.data import Data


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
    unseen_weight: Annotated[float, Field(ge=0, le=1)]
    buckets: Annotated[int, Field(ge=256, le=4_194_304)]
    length: Count
    max_texts: Count
    steps: Annotated[int, Field(ge=0)]
    batch_size: Annotated[int, Field(ge=2)]
    batch_group: Count
    learning_rate: Positive
    temperature: Positive

    @model_validator(mode="after")
    def _check_ngrams(self) -> CatalogueEncoderConfig:
        if self.ngram_min > self.ngram_max:
            raise ValueError(f"ngram_min {self.ngram_min} is above ngram_max {self.ngram_max}")
        for name in ("ngram_skeleton", "ngram_joined"):
            if getattr(self, name) == 1:
                raise ValueError(f"{name} 1: must be 0 (none) or 2 to 8")
        if self.ngram_gaps in (1, 2):
            raise ValueError(f"ngram_gaps {self.ngram_gaps}: must be 0 (none) or 3 to 8")
        return self


class Encoder(Section):
    name: Annotated[str, Field(min_length=1)]
    descriptions: Auto
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
    def is_catalogue_encoder(self) -> bool:
        return self.name == "catalogue"

    @property
    def reads_descriptions(self) -> bool:
        return settled(self.descriptions, "encoder.descriptions")

    @property
    def profile(self) -> str:
        return ("full" if self.is_catalogue_encoder else "light") if self.normaliser == "auto" else self.normaliser


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
    def _check_heads(self) -> Model:
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
    repeat_targets: Auto
    checkpoint_steps: Count
    refit: bool
    warm_epochs: Count
    warm_learning_rate: Positive

    @property
    def trains_on_repeats(self) -> bool:
        return settled(self.repeat_targets, "training.repeat_targets")


class Linear(Section):
    products: Annotated[int, Field(ge=2)]
    l2: Positive
    half_lives_days: Several
    trend_weights: Several
    cold_lengths: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)]
    trend_half_life_days: Positive
    blend_weights: list[Annotated[float, Field(gt=0, lt=1)]]
    validation_buyers: Count


class Neighbours(Section):
    steps: Count
    step_weight: Annotated[float, Field(gt=0, le=1)]
    reverse: Annotated[float, Field(ge=0, le=1)]
    source_power: Annotated[float, Field(ge=0, le=1)]
    target_power: Annotated[float, Field(ge=0, le=1)]
    max_gap_days: Annotated[float, Field(ge=0)]
    keep: Annotated[int, Field(ge=1, le=1000)]
    history_steps: Annotated[int, Field(ge=1, le=1000)]
    half_lives_days: list[Positive]
    history_decays: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)]
    weights: list[Positive]


class Prior(Section):
    weights: list[Positive]


class Own(Section):
    weights: list[Positive]
    decays: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=1)]


class TextPair(Section):
    """Two titles and the bounds for the cosine of their vectors."""

    one: Annotated[str, Field(min_length=1)]
    two: Annotated[str, Field(min_length=1)]
    above: Annotated[float, Field(ge=-1, le=1)] | None = None
    below: Annotated[float, Field(ge=-1, le=1)] | None = None


class Evaluation(Section):
    split: Literal["auto", "leave_last_out", "global_time", "newest_sessions"]
    test_days: Positive
    min_test_buyers: Count
    protocol: Literal["auto", "published", "refit"]
    max_buyers: Annotated[int, Field(ge=0)]
    validation_buyers: Count
    exclude_seen: Auto
    metric: Literal["ndcg@10", "recall@10"]
    hidden_products: Share
    ease_max_products: Annotated[int, Field(ge=0)]
    ease_l2: Positive
    resamples: Annotated[int, Field(ge=100)]
    text_pairs: list[TextPair]

    @property
    def excludes_seen(self) -> bool:
        return settled(self.exclude_seen, "evaluation.exclude_seen")


class Index(Section):
    kind: Literal["auto", "flat", "hnsw", "ivf", "pq", "compact"]
    target_recall: Annotated[float, Field(gt=0.5, lt=1)]
    shards: Annotated[int, Field(ge=1, le=1024)] = 1


class Search(Section):
    popularity_weight: Share
    stock_weight: Share


class Searching(Section):
    learn: bool
    min_buyers: Annotated[int, Field(ge=2)]
    suggest_buyers: Annotated[int, Field(ge=2)]


class Again(Section):
    horizon_days: Positive
    min_returns: Share


class Trending(Section):
    window_days: Positive
    past_windows: Count


class Together(Section):
    basket_minutes: Annotated[float, Field(ge=0)]
    session_minutes: Positive
    session_weight: Annotated[float, Field(ge=0, le=1)]
    size_power: Annotated[float, Field(ge=0, le=1)]
    largest: Annotated[int, Field(ge=2)]
    min_groups: Annotated[int, Field(ge=1)]
    min_ratio: Annotated[float, Field(ge=0)]
    substitute_cut: Annotated[float, Field(gt=-1, le=1)] | Literal["auto"]
    keep: Annotated[int, Field(ge=1, le=1000)]
    category_keep: Annotated[int, Field(ge=0, le=1000)]
    shrinkages: Annotated[list[Positive], Field(min_length=1)]
    ridges: Annotated[list[Positive], Field(min_length=1)]
    validation_days: Positive
    validation_baskets: Count
    min_validation: Count


class Publish(Section):
    gate: bool
    max_drop: Share
    max_missing_share: Share
    keep_versions: Count
    recent_interactions: Annotated[int, Field(ge=1, le=1000)]


class Paths(Section):
    cache: str


class Config(Section):
    seed: Annotated[int, Field(ge=0, lt=2**31)]
    device: Literal["auto", "cpu", "cuda"]
    threads: Annotated[int, Field(ge=0, le=1024)]
    ray: str
    data: Data
    encoder: Encoder
    model: Model
    training: Training
    linear: Linear
    neighbours: Neighbours
    prior: Prior
    own: Own
    evaluation: Evaluation
    index: Index
    search: Search
    searches: Searching
    again: Again
    trending: Trending
    together: Together
    publish: Publish
    paths: Paths

    @model_validator(mode="after")
    def _check_hidden_products(self) -> Config:
        if self.evaluation.hidden_products and not self.training.refit:
            share = self.evaluation.hidden_products
            raise ValueError(
                f"evaluation.hidden_products={share} with training.refit=false would publish a model "
                "that has never seen those products: set training.refit=true"
            )
        return self

    @model_validator(mode="after")
    def _check_protocol(self) -> Config:
        if self.evaluation.protocol == "refit" and not self.training.refit:
            raise ValueError(
                "evaluation.protocol=refit with training.refit=false would test a refitted model and publish another: "
                "set training.refit=true or another protocol"
            )
        return self

    @model_validator(mode="after")
    def _check_blend(self) -> Config:
        if self.training.start == "blend" and not self.can_blend:
            raise ValueError(
                "training.start=blend needs at least one of linear.blend_weights, model.buyer_tower=attention and at "
                f"least two model.heads; they are {self.linear.blend_weights}, {self.model.buyer_tower} and "
                f"{self.model.head_count}"
            )
        return self

    @property
    def can_blend(self) -> bool:
        """Whether one vector can hold a head of the softmax model and the linear model."""
        return bool(self.linear.blend_weights) and self.model.buyer_tower == "attention" and self.model.head_count > 1

    @property
    def thread_count(self) -> int:
        return usable_threads(self.threads, "threads")

    def settle_protocol(self, split: str) -> Config:
        """Settles `evaluation.protocol` for a method of splitting."""
        if self.evaluation.protocol != "auto":
            return self
        # a model that lacks the validation period as well is staler than any that is served
        protocol = "refit" if split == "global_time" and self.training.refit else "published"
        return self.model_copy(update={"evaluation": self.evaluation.model_copy(update={"protocol": protocol})})

    def settle_descriptions(self, are_read: bool) -> Config:
        """Replaces `auto`."""
        if self.encoder.descriptions != "auto":
            return self
        return self.model_copy(update={"encoder": self.encoder.model_copy(update={"descriptions": are_read})})

    def settle_repeats(self, are_common: bool) -> Config:
        """Replaces `auto`: products of a history are recommended if repeats are common, and targets if recommended."""
        evaluation, training = self.evaluation, self.training
        if evaluation.exclude_seen == "auto":
            evaluation = evaluation.model_copy(update={"exclude_seen": not are_common})
        if training.repeat_targets == "auto":
            training = training.model_copy(update={"repeat_targets": not evaluation.exclude_seen})
        return self.model_copy(update={"evaluation": evaluation, "training": training})

    def digest(self, *sections: str) -> str:
        """sha256 over the named sections, or over all if none is named."""
        content = self.model_dump(include=set(sections) or None)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(), allow_unicode=True, sort_keys=False)
