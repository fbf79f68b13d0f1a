"""The answers of the REST API."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from gateway.schemas.fields import Strict


class ProductOut(Strict):
    """One product of the catalogue."""

    product_id: str
    title: str
    brand: str
    category: str
    price: float | None
    currency: str
    in_stock: bool


class ListAnswer(Strict):
    """Products, best first (with diversity: in order of selection).

    Scores: those of the model (inner products, or the sum of several parts), or shares of popularity.
    """

    product_ids: list[str]
    scores: list[float]
    model_version: str
    source: Literal["model", "popular"]
    request_id: str
    recommendation_id: str
    warnings: list[str]
    products: list[ProductOut] | None = None


class EncodeBuyerAnswer(Strict):
    """A buyer's vector, and how many interactions were used and stored."""

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
    """`stored`: how many of the interactions are kept now; those too old to keep do not count."""

    stored: int
    unknown_product_ids: list[str]
    request_id: str
    warnings: list[str]


class MergedAnswer(Strict):
    """`merged`: how many interactions of the guest are part of the buyer's history now."""

    merged: int
    request_id: str


class ForgottenAnswer(Strict):
    """`removed`: whether there was a history to remove."""

    removed: bool
    request_id: str


class FieldProblem(Strict):
    """One refused field."""

    field: str
    value: str
    problem: str


class Problem(BaseModel):
    """RFC 9457. `field`, `value` and `errors` are present if a field was refused."""

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
    """Each dependency with "ok" or the reason why not, and what does not work. "unavailable": no products."""

    status: Literal["ready", "degraded", "unavailable"]
    dependencies: dict[str, str]
    degraded: list[str]
