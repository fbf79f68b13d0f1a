"""The section `data` of the configuration: how input files are read."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from trainer.config.base import Count, Positive, Section

# read where it is, and no error where it is not
DEFAULT_ATTRIBUTES = "$.attributes"


def _check_columns(value: object) -> object:
    names = value if isinstance(value, list) else [value]
    found = [name for name in names if name is not None]
    if not found or not all(isinstance(name, str) and name for name in found):
        raise ValueError("must be a column, or a list of columns")
    return value


# a column of a file, or a path in its JSON; of several, the first one that a row has a value in; null among them: a
# file may lack all of them
Columns = Annotated[str | list[str | None], BeforeValidator(_check_columns)]
MaybeColumns = Annotated[
    str | list[str | None] | None, BeforeValidator(lambda value: None if value is None else _check_columns(value))
]
# which values of a column are read: "" is a blank one, "*" any that is not blank, "!x" any but x, and null: a row or a
# file without a value stays
Filter = dict[str, Annotated[list[str | None], Field(min_length=1)]]
# the name that stands for all event names that data.event_names does not list
OTHER_EVENTS = "*"


# columns that are read only if they are set
_RARE = frozenset({"group", "parent", "variants", "property", "property_value", "property_time"})


class EventColumns(Section):
    """Columns of the events. `anonymous`: the id of a buyer who is not logged in; `group`: the order of a row; `query`:
    the words of the search that led to it.
    """

    buyer: Columns
    product: Columns
    event: Columns
    time: Columns
    anonymous: MaybeColumns
    group: MaybeColumns
    query: MaybeColumns

    def names(self) -> dict[str, tuple[str, ...]]:
        """Our names of the columns, and those of the files; a column that is not set is left out."""
        named = self.model_dump()
        return {ours: listed(theirs) for ours, theirs in named.items() if theirs is not None}

    def optional(self, default_event: str) -> frozenset[str]:
        """Our names of the columns that a file may lack; with a default, that of the event's name too."""
        found = may_lack(self) | ({"event"} if default_event else set())
        return found | {"buyer"} if self.anonymous else found


class ProductColumns(Section):
    """Columns of the products; None is the column of our name, if the file has it.

    `sku` is a second id, by which searches find a product. `group` and what follows is read only if it is set, but for
    `sku`. Rows of one `group` are variants of one product. `parent` names the
    product that a variant's row belongs to, by its id or its `sku`. `variants` lists a product's own, as `sku=A|sku=B`.
    A variant has what its product has. With `property`, `property_value` and `property_time`, a row holds one property
    of a product.
    """

    id: Columns
    title: MaybeColumns
    description: MaybeColumns
    metadata: MaybeColumns
    brand: MaybeColumns
    category: MaybeColumns
    price: MaybeColumns
    currency: MaybeColumns
    in_stock: MaybeColumns
    group: MaybeColumns
    parent: MaybeColumns
    sku: MaybeColumns
    image: MaybeColumns
    variants: MaybeColumns
    property: MaybeColumns
    property_value: MaybeColumns
    property_time: MaybeColumns

    def names(self) -> dict[str, tuple[str, ...]]:
        """Our names of the columns, and those of the files."""
        named = self.model_dump()
        return {
            ours: listed(theirs or ours) for ours, theirs in named.items() if theirs is not None or ours not in _RARE
        }

    def optional(self) -> frozenset[str]:
        """Our names of the columns that a file may lack."""
        return may_lack(self)


class MetadataPaths(Section):
    """Paths of the fields in the JSON object; None is the key of our name, if there is one."""

    brand: MaybeColumns
    category: MaybeColumns
    price: MaybeColumns
    currency: MaybeColumns
    in_stock: MaybeColumns
    sku: MaybeColumns
    image: MaybeColumns

    def paths(self) -> dict[str, tuple[str, ...]]:
        """Our names of the fields, and their paths."""
        return {ours: listed(path or ours) for ours, path in self.model_dump().items()}


def _as_texts(values: list[Any]) -> list[str]:
    # YAML reads null, 1 and true as other things than texts
    words = {None: "null", True: "true", False: "false"}
    return [words[one] if one is None or isinstance(one, bool) else str(one) for one in values]


def listed(columns: str | list[str | None]) -> tuple[str, ...]:
    """The columns, or the one column."""
    return (columns,) if isinstance(columns, str) else tuple(name for name in columns if name is not None)


def may_lack(section: Section) -> frozenset[str]:
    """The names in a section whose columns or paths a file may lack."""
    values = section.model_dump().items()
    return frozenset(name for name, value in values if value is None or (isinstance(value, list) and None in value))


class Data(Section):
    delimiter: Annotated[str, Field(min_length=1, max_length=1)]
    event_columns: EventColumns
    product_columns: ProductColumns
    metadata_paths: MetadataPaths
    attribute_paths: list[Columns]
    search_fields: list[Annotated[str, Field(min_length=1)]]
    separator: str
    event_names: dict[str, str | None]
    event_filter: Filter
    product_filter: Filter
    repeated_products: Literal["reject", "first"]
    unknown_buyers: list[str]
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

    @field_validator("event_filter", "product_filter", mode="before")
    @classmethod
    def _read_filter(cls, value: object) -> object:
        # {Published: 1} for {Published: ["1"]}
        if not isinstance(value, dict):
            return value
        given = {str(key): kept if isinstance(kept, list) else [kept] for key, kept in value.items()}
        texts = {key: [one for one in kept if one is not None] for key, kept in given.items()}
        return {key: _as_texts(texts[key]) + [None] * (None in kept) for key, kept in given.items()}

    @field_validator("unknown_buyers", mode="before")
    @classmethod
    def _read_ids(cls, value: object) -> object:
        return _as_texts(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _check_event_names(self) -> Data:
        for theirs, ours in self.event_names.items():
            if ours is not None and ours not in self.event_weights:
                raise ValueError(f"event_names maps {theirs!r} to {ours!r}, which is not in event_weights")
        if self.default_event and self.default_event not in self.event_weights:
            raise ValueError(f"default_event is {self.default_event!r}, which is not in event_weights")
        return self
