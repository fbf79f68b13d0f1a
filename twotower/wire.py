"""Vectors to and from the bytes that travel in a protobuf message. The only place that knows the byte order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from twotower.errors import InvalidInput, NotFound
from twotower.pb import common_pb2

Float32 = NDArray[np.float32]


def pack(vectors: Float32, model_version: str) -> common_pb2.Vectors:
    """Vectors [B, D] as a message: row-major little-endian float32."""
    data = np.ascontiguousarray(vectors, dtype="<f4").tobytes()
    return common_pb2.Vectors(data=data, dimension=vectors.shape[1], model_version=model_version)


def unpack(message: common_pb2.Vectors) -> Float32:
    """The message's vectors [B, D], a read-only view of its bytes. InvalidInput where sizes do not fit."""
    size, dimension = len(message.data), message.dimension
    if dimension == 0:
        raise InvalidInput("vectors.dimension", dimension, "must be at least 1")
    if size % (4 * dimension):
        raise InvalidInput("vectors.data", size, f"bytes are not a whole number of {dimension}-float rows")
    return np.frombuffer(message.data, dtype="<f4").reshape(-1, dimension)


def check_batch(rows: int, most: int, field: str, least: int = 1) -> None:
    """InvalidInput naming `field` where a call has fewer than `least` rows or more than `most`."""
    if rows < least:
        raise InvalidInput(field, rows, f"rows in one call, it takes {least}")
    if rows > most:
        raise InvalidInput(field, rows, f"rows in one call, the limit is {most}")


def row_error(error: InvalidInput | NotFound | None) -> common_pb2.RowError | None:
    """Why one row has no result, as a message; None where it has one."""
    if error is None:
        return None
    return common_pb2.RowError(kind=type(error).__name__, field=error.field, message=str(error))


def pack_scores(scores: Float32) -> bytes:
    """Scores [K] as little-endian float32 bytes."""
    return np.ascontiguousarray(scores, dtype="<f4").tobytes()


def unpack_scores(data: bytes) -> Float32:
    """The scores [K] that `pack_scores` wrote."""
    return np.frombuffer(data, dtype="<f4")
