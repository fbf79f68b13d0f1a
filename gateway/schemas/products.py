"""What a shop may say of a product, whole or in part."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from gateway.schemas.fields import Id, Strict, refuse
from gateway.schemas.requests import MAX_PRICE
from twotower.text.normalise import searched_words

# within what the item service encodes
MAX_TITLE, MAX_DESCRIPTION, MAX_NAME, MAX_CURRENCY = 1000, 10_000, 200, 16
_IMAGE = re.compile(r"https?://[^\s\x00-\x1f\x7f\"'<>\\]{1,2000}")
_SPACES = "\t\n\r"


def _check_text(value: str) -> str:
    if any((ord(sign) < 32 and sign not in _SPACES) or ord(sign) == 127 for sign in value):
        raise refuse("must not contain control characters")
    return value


def _check_title(value: str) -> str:
    if not searched_words(_check_text(value)):
        raise refuse("must hold a letter or a digit")
    return value


def _check_image(value: str) -> str:
    if value and not _IMAGE.fullmatch(value):
        raise refuse("must be a URL of http or https")
    return value


Title = Annotated[str, StringConstraints(strict=True, max_length=MAX_TITLE), AfterValidator(_check_title)]
Description = Annotated[str, StringConstraints(strict=True, max_length=MAX_DESCRIPTION), AfterValidator(_check_text)]
Name = Annotated[
    str, StringConstraints(strict=True, strip_whitespace=True, max_length=MAX_NAME), AfterValidator(_check_text)
]
Currency = Annotated[
    str, StringConstraints(strict=True, strip_whitespace=True, max_length=MAX_CURRENCY), AfterValidator(_check_text)
]
Image = Annotated[
    str,
    StringConstraints(strict=True, strip_whitespace=True),
    AfterValidator(_check_image),
    Field(description="URL of a picture, http or https"),
]
Price = Annotated[float, Field(strict=True, ge=0, le=MAX_PRICE)]
Flag = Annotated[bool, Field(strict=True)]


class ProductBody(Strict):
    """PUT /products/{product_id}: all of a product; a field that is left out is empty."""

    title: Title = Field(examples=["خاتم ذهب عيار 21"])
    description: Description = ""
    brand: Name = ""
    category: Name = ""
    price: Price | None = None
    currency: Currency = ""
    image: Image = ""
    in_stock: Flag = True
    hidden: Flag = Field(False, description="shown in no answer until a change says otherwise")

    def fields(self) -> dict[str, Any]:
        """The fields, all of them."""
        return self.model_dump()


class ProductPatch(Strict):
    """PATCH /products/{product_id}: the fields that change; `price` null takes the price away."""

    title: Title = ""
    description: Description = ""
    brand: Name = ""
    category: Name = ""
    price: Price | None = None
    currency: Currency = ""
    image: Image = ""
    in_stock: Flag = True
    hidden: Flag = False

    def fields(self) -> dict[str, Any]:
        """The fields that were given."""
        return self.model_dump(exclude_unset=True)


class ProductRow(ProductBody):
    """One line of POST /products."""

    product_id: Id

    def fields(self) -> dict[str, Any]:
        return self.model_dump(exclude={"product_id"})


class ProductPatchRow(ProductPatch):
    """One line of POST /products?mode=patch."""

    product_id: Id

    def fields(self) -> dict[str, Any]:
        return self.model_dump(exclude={"product_id"}, exclude_unset=True)


class ChangeProductsQuery(Strict):
    """POST /products."""

    mode: Literal["put", "patch"] = Field("put", description="put: each line is a whole product; patch: what changes")


class ChangeAnswer(Strict):
    """`sequence`: the number of the change, counted over all changes of the catalogue."""

    product_id: str
    sequence: int
    request_id: str


class RowAnswer(Strict):
    """What became of one line, counted from 1: `accepted`, `refused` for its content, or `failed`, to be sent again."""

    row: int
    product_id: str | None
    status: Literal["accepted", "refused", "failed"]
    errors: list[dict[str, Any]]


class ChangedProductsAnswer(Strict):
    """How many lines were accepted, and all lines in their order."""

    accepted: int
    rows: list[RowAnswer]
    request_id: str
