"""The section `data` of the configuration: how input files are read."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from trainer.config.base import Count, Positive, Section


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
    max_buyer_events: Count
    max_reject_share: Annotated[float, Field(ge=0, le=1)]

    @field_validator("delimiter", mode="before")
    @classmethod
    def _read_tab(cls, value: object) -> object:
        # A tab cannot be typed on a command line.
        return "\t" if value == "\\t" else value

    @model_validator(mode="after")
    def _check_event_names(self) -> Data:
        for theirs, ours in self.event_names.items():
            if ours not in self.event_weights:
                raise ValueError(f"event_names maps {theirs!r} to {ours!r}, which is not in event_weights")
        return self
