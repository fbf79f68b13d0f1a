"""The answers of the REST API."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    BaseModel,
)

from gateway.schemas.fields import Strict


class ProductOut(Strict):
    """What is known of one product."""

    product_id: str
    title: str
    brand: str
    category: str
    price: float | None
    currency: str
    in_stock: bool


class ListAnswer(Strict):
    """Products, best first (with diversity: as chosen), and their scores: inner products, or shares of popularity where
    source is popular."""

    product_ids: list[str]
    scores: list[float]
    model_version: str
    source: Literal["model", "popular"]
    request_id: str
    warnings: list[str]
    products: list[ProductOut] | None = None


class EncodeBuyerAnswer(Strict):
    """A buyer's vector, and what became of the interactions."""

    buyer_id: str
    buyer_embedding: list[float]
    dimension: int
    model_version: str
    source: Literal["interactions"]
    used: int
    stored: int
    unknown_product_ids: list[str]
    request_id: str
    warnings: list[str]


class InteractionsAnswer(Strict):
    """How many of the interactions are kept now: a repeat of one kept already counts, one older than all that is kept
    does not."""

    stored: int
    request_id: str


class FieldProblem(Strict):
    """One field that was refused."""

    field: str
    value: str
    problem: str


class Problem(BaseModel):
    """RFC 9457. `field`, `value` and `errors` are there where a field was refused."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    field: str | None = None
    value: str | None = None
    errors: list[FieldProblem] | None = None


class ReadyAnswer(Strict):
    """What the gateway stands on: "ok" or the reason for each dependency, and what does not work without it.
    Unavailable, with status 503, where no products can be found."""

    status: Literal["ready", "degraded", "unavailable"]
    dependencies: dict[str, str]
    degraded: list[str]
