"""The section `data` of the configuration: how input files are read."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from trainer.config.base import Count, Positive, Section

# read where it is, and no error where it is not
DEFAULT_ATTRIBUTES = "$.attributes"


class EventColumns(Section):
    buyer: str
    product: str
    event: str
    time: str


class ProductColumns(Section):
    """Columns of the products; None is the column of our name, if the file has it."""

    id: str
    title: str
    description: str | None
    metadata: str | None
    brand: str | None
    category: str | None
    price: str | None
    currency: str | None
    in_stock: str | None

    def names(self) -> dict[str, str]:
        """Our names of the columns, and those of the files."""
        return {ours: theirs or ours for ours, theirs in self.model_dump().items()}

    def optional(self) -> frozenset[str]:
        """Our names of the columns that a file may lack."""
        return frozenset(ours for ours, theirs in self.model_dump().items() if theirs is None)


class MetadataPaths(Section):
    """Paths of the fields in the JSON object; None is the key of our name, if there is one."""

    brand: str | None
    category: str | None
    price: str | None
    currency: str | None
    in_stock: str | None

    def paths(self) -> dict[str, str]:
        """Our names of the fields, and their paths."""
        return {ours: path or ours for ours, path in self.model_dump().items()}


class Data(Section):
    delimiter: Annotated[str, Field(min_length=1, max_length=1)]
    event_columns: EventColumns
    product_columns: ProductColumns
    metadata_paths: MetadataPaths
    attribute_paths: list[Annotated[str, Field(min_length=1)]]
    search_fields: list[Annotated[str, Field(min_length=1)]]
    event_names: dict[str, str | None]
    default_event: str
    event_weights: Annotated[dict[str, Positive], Field(min_length=1)]
    max_buyer_events: Count
    max_reject_share: Annotated[float, Field(ge=0, le=1)]
    max_unknown_share: Annotated[float, Field(ge=0, le=1)]
    time_format: str

    @field_validator("delimiter", mode="before")
    @classmethod
    def _read_tab(cls, value: object) -> object:
        # A tab cannot be typed on a command line.
        return "\t" if value == "\\t" else value

    @field_validator("event_names", mode="before")
    @classmethod
    def _read_numbers(cls, value: object) -> object:
        # YAML reads {1: View} as a number
        return {str(key): name for key, name in value.items()} if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _check_event_names(self) -> Data:
        for theirs, ours in self.event_names.items():
            if ours is not None and ours not in self.event_weights:
                raise ValueError(f"event_names maps {theirs!r} to {ours!r}, which is not in event_weights")
        if self.default_event and self.default_event not in self.event_weights:
            raise ValueError(f"default_event is {self.default_event!r}, which is not in event_weights")
        return self
