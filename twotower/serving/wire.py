"""Packs vectors, ids and histories into protobuf fields and back. The only module that knows the byte order."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence

import numpy as np

from twotower.arrays import Float32
from twotower.errors import InvalidInput, NotFound
from twotower.events import Interaction
from twotower.pb import common_pb2

# separates the interactions of a packed history; NUL separates the parts of an interaction
SEPARATOR = "\x1e"
_PART = "[^\0\x1e]+"
_PACKED = re.compile(f"{_PART}\0{_PART}\0[0-9]{{1,18}}(?:\x1e{_PART}\0{_PART}\0[0-9]{{1,18}})*")


def pack(vectors: Float32, model_version: str) -> common_pb2.Vectors:
    """Vectors [B, D] as a message: row-major little-endian float32."""
    data = np.ascontiguousarray(vectors, dtype="<f4").tobytes()
    return common_pb2.Vectors(data=data, dimension=vectors.shape[1], model_version=model_version)


def unpack(message: common_pb2.Vectors) -> Float32:
    """The message's vectors [B, D], a read-only view of its bytes. Raises InvalidInput if the sizes do not fit."""
    size, dimension = len(message.data), message.dimension
    if dimension == 0:
        raise InvalidInput("vectors.dimension", dimension, "must be at least 1")
    if size % (4 * dimension):
        raise InvalidInput("vectors.data", size, f"bytes are not a whole number of {dimension}-float rows")
    return np.frombuffer(message.data, dtype="<f4").reshape(-1, dimension)


def check_batch(rows: int, maximum: int, field: str, minimum: int = 1) -> None:
    """Raises InvalidInput for `field` if a call has fewer than `minimum` rows or more than `maximum`."""
    if rows < minimum:
        raise InvalidInput(field, rows, f"rows in one call, the minimum is {minimum}")
    if rows > maximum:
        raise InvalidInput(field, rows, f"rows in one call, the limit is {maximum}")


def row_error(error: InvalidInput | NotFound | None) -> common_pb2.RowError | None:
    """The reason why one row has no result, as a message; None if it has one."""
    if error is None:
        return None
    message = common_pb2.RowError(kind=type(error).__name__, field=error.field, message=str(error))
    if isinstance(error, InvalidInput):
        message.value, message.problem = error.value, error.problem
    return message


def pack_scores(scores: Float32) -> bytes:
    """Scores [K] as little-endian float32 bytes."""
    return np.ascontiguousarray(scores, dtype="<f4").tobytes()


def unpack_scores(data: bytes) -> Float32:
    """The scores [K] that `pack_scores` wrote."""
    return np.frombuffer(data, dtype="<f4")


def pack_ids(ids: Sequence[str]) -> str:
    """Product ids as one text, in their order. No id may be empty or hold a control character."""
    return "\0".join(ids)


def unpack_ids(text: str) -> list[str]:
    """The ids that `pack_ids` wrote."""
    return text.split("\0") if text else []


def pack_interaction(one: Interaction) -> str:
    """`product NUL event NUL milliseconds`, as Redis and packed histories hold it."""
    return f"{one.product_id}\0{one.event_type}\0{one.timestamp_ms}"


def pack_history(interactions: Sequence[Interaction]) -> str:
    """Interactions as one text, in their order."""
    return SEPARATOR.join(map(pack_interaction, interactions))


def is_history(text: str) -> bool:
    """True if `unpack_columns` can read a text; the empty text is an empty history."""
    return not text or _PACKED.fullmatch(text) is not None


def unpack_columns(text: str) -> tuple[list[str], list[str], list[int]]:
    """Products, event names and milliseconds of a packed history, in its order.

    Raises InvalidInput if the text is no packed history.
    """
    if not text:
        return [], [], []
    parts = text.replace(SEPARATOR, "\0").split("\0")
    try:
        times = list(map(int, parts[2::3]))
    except ValueError:
        times = []
    if 3 * len(times) != len(parts):
        raise InvalidInput("packed", text[:200], "is not a packed history")
    return parts[0::3], parts[1::3], times


def newest_interactions(text: str, count: int) -> str:
    """The newest `count` interactions of a packed history, which are its last, in their order."""
    return SEPARATOR.join(text.rsplit(SEPARATOR, count)[-count:])


def newest_products(text: str, count: int, field: str) -> list[str]:
    """Products of the newest `count` interactions of a packed history, newest first; reads no others.

    The interactions must be in the order of `twotower.history.latest`. Raises InvalidInput for `field` if those that
    are read are not, or if the text is no packed history.
    """
    if not text:
        return []
    newest = text.rsplit(SEPARATOR, count)[-count:]
    parts = "\0".join(newest).split("\0")
    products, events = parts[0::3], parts[1::3]
    try:
        times = list(map(int, parts[2::3]))
    except ValueError:
        times = []
    if 3 * len(times) != len(parts) or text.count("\0") != 2 * text.count(SEPARATOR) + 2:
        raise InvalidInput(field, text[:200], "is not a packed history")
    if any(map(operator.ge, times, times[1:])):
        ordered = list(zip(times, products, events, strict=True))
        if ordered != sorted(ordered):
            raise InvalidInput(field, text[:200], "does not hold its interactions in their order, oldest first")
    return products[::-1]
