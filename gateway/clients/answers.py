"""What the services answer, as plain values, and how they come out of the messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from twotower.arrays import Float32
from twotower.errors import InvalidInput, NotFound, TwoTowerError, Unavailable
from twotower.pb import common_pb2, item_pb2, retrieval_pb2
from twotower.serving import wire


class Vector(NamedTuple):
    """One vector as it travels: little-endian float32 bytes, and the version whose space it lies in."""

    data: bytes
    dimension: int
    version: str

    def floats(self) -> Float32:
        """The vector [D]."""
        return np.frombuffer(self.data, dtype="<f4")


class EncodedBuyer(NamedTuple):
    """A buyer's vector, how many interactions it was encoded from, and the unknown products that were skipped.

    `newest`: how many of the newest interactions a search for the buyer reads. `parts`: of the vector, if asked for.
    """

    vector: Vector
    used: int
    unknown_product_ids: list[str]
    newest: int
    parts: common_pb2.Parts | None = None


class EncodedQuery(NamedTuple):
    """A query's text vector, and how its words were understood."""

    vector: Vector
    understood: item_pb2.Understood


class EncodedContent(NamedTuple):
    """The vectors of a product's content, as they travel; zeros if there is a `problem` with it."""

    item: bytes
    text: bytes
    problem: str


class Suggestions(NamedTuple):
    """Completions, best first, and the version that they come from."""

    suggestions: list[item_pb2.Suggestion]
    version: str


class Hits(NamedTuple):
    """Products, best first, with their scores [K] and their version; `wire.unpack_ids` reads the ids.

    `is_below_noise`: a search by text whose best score is no higher than random letters reach. `followers`: how many
    products follow the one that the query names in `follows`. `reasons`: of a query with parts. `products`:
    the details of each, if the query asks for them. The others: as the message has them.
    """

    packed_ids: str
    scores: Float32
    version: str
    unknown_filter_values: list[str]
    is_below_noise: bool = False
    followers: int = 0
    reasons: retrieval_pb2.Reasons | None = None
    marks: bytes = b""
    brand_codes: bytes = b""
    category_codes: bytes = b""
    also: int = 0
    products: list[retrieval_pb2.Product] = []  # noqa: RUF012
    # of a shard, if the query was `for_merge` and the answer is not empty: the message
    merge: retrieval_pb2.Hits | None = None
    # numbers of the shards whose products are missing
    missing_shards: tuple[int, ...] = ()


class RegularHits(NamedTuple):
    """What a buyer buys again, with one `due` per product; `missing`: why there is nothing."""

    hits: Hits
    due: Sequence[retrieval_pb2.Due]
    missing: retrieval_pb2.AgainMissing


class RisingHits(NamedTuple):
    """Rising products, with their buyers and those expected [K]; `counted` is None if nothing was counted."""

    hits: Hits
    buyers: Float32
    expected: Float32
    counted: retrieval_pb2.Counted | None


class Together(NamedTuple):
    """The hits for a cart, and for each the place in the cart of the product that it goes with best, -1 for a popular
    one. `is_known`: whether that pair was measured. `unknown`: products of the cart that the version does not know.
    """

    hits: Hits
    because: list[int]
    is_known: list[bool]
    unknown: list[str]


def unpack_vectors(vectors: common_pb2.Vectors, rows: int) -> list[Vector]:
    """One Vector per row. Raises Unavailable if the message holds another number of vectors."""
    data, dimension, version = vectors.data, vectors.dimension, vectors.model_version
    size = 4 * dimension
    if len(data) != rows * size or not dimension:
        raise Unavailable(f"a service answered {len(data)} bytes for {rows} vectors of {dimension} dimensions")
    return [Vector(data[row * size : (row + 1) * size], dimension, version) for row in range(rows)]


def unpack_hits(hits: retrieval_pb2.Hits, version: str) -> Hits:
    """The hits of one query, answered by `version`."""
    scores, unknown = wire.unpack_scores(hits.scores), list(hits.unknown_filter_values)
    reasons = hits.reasons if hits.HasField("reasons") else None
    return Hits(
        hits.packed_product_ids,
        scores,
        version,
        unknown,
        hits.is_below_noise,
        hits.followers,
        reasons,
        hits.marks,
        hits.brand_codes,
        hits.category_codes,
        hits.also,
        list(hits.products),
        hits if hits.orders else None,
    )


def row_error(error: common_pb2.RowError) -> TwoTowerError:
    """The exception that a service raised for one row."""
    match error.kind:
        case "NotFound":
            return NotFound(error.message, error.field)
        case "InvalidInput":
            invalid = InvalidInput(error.field, "", error.problem)
            # the service has shortened the value already
            invalid.value, invalid.args = error.value, (error.message,)
            return invalid
        case _:
            return Unavailable(error.message)
