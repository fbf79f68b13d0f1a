"""Histories as inputs of the buyer tower, for training, `recommend` and the buyer service."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from twotower.arrays import Float32, Int64, Mask
from twotower.errors import CorruptArtifact
from twotower.events import DAY_MS, EventSchema, Interaction


class BuyerInputs(NamedTuple):
    """Arrays [B, T], oldest interaction first, padded at the end. An age is days before the row's newest event."""

    rows: Int64
    weights: Float32
    types: Int64
    ages: Float32
    mask: Mask


class BuyerSequence(NamedTuple):
    """One buyer's interactions, oldest first: rows of the products, event codes, times in milliseconds."""

    rows: Sequence[int] | Int64
    types: Sequence[int] | Int64
    times: Sequence[int] | Int64


def latest(interactions: Sequence[Interaction], limit: int) -> list[Interaction]:
    """The newest `limit` interactions, oldest first.

    Interactions of one moment are ordered by product and event name, as in Redis, so that the same set of events always
    gives the same history.
    """
    ordered = sorted(interactions, key=lambda one: (one.timestamp_ms, one.product_id, one.event_type))
    return ordered[-limit:] if limit > 0 else []


def to_inputs(sequences: Sequence[BuyerSequence], schema: EventSchema) -> BuyerInputs:
    """Pads sequences into one batch; ages count from each sequence's own newest event, never from the clock."""
    lengths = [len(one.rows) for one in sequences]
    weight_of = weights_by_code(schema)
    if lengths and min(lengths) == max(lengths) > 0:
        rows, types, times = np.array(list(zip(*sequences, strict=True)), np.int64)  # each [B, T]
        ages = ((times.max(axis=1, keepdims=True) - times) / DAY_MS).astype(np.float32)
        return BuyerInputs(rows, weight_of[types], types, ages, np.ones(rows.shape, np.bool_))
    mask = np.arange(max(lengths, default=0) or 1) < np.array(lengths, np.int64)[:, None]
    rows, types, times = (np.zeros(mask.shape, np.int64) for _ in range(3))
    filled = [one for one in sequences if len(one.rows)]
    if filled:
        for values, columns in zip((rows, types, times), zip(*filled, strict=True), strict=True):
            values[mask] = np.concatenate(columns)
    # Padding is 0, which is newer than times before 1970.
    newest = np.where(mask, times, np.iinfo(np.int64).min).max(axis=1, keepdims=True)
    ages = (np.where(mask, newest - times, 0) / DAY_MS).astype(np.float32)
    return BuyerInputs(rows, weight_of[types], types, ages, mask)


def weights_by_code(schema: EventSchema) -> Float32:
    """The weight of each event code, read-only; code 0 is padding and weighs 0."""
    return _by_code(tuple(schema.weights.values()))


@lru_cache(maxsize=64)
def _by_code(weights: tuple[float, ...]) -> Float32:
    found = np.array([0.0, *weights], np.float32)
    found.flags.writeable = False
    return found


def write_recent(path: Path, histories: Iterable[tuple[str, Sequence[Interaction]]]) -> int:
    """Writes recent_interactions.jsonl.gz, one JSON object per buyer, and returns the number of buyers."""
    count = 0
    # No time and no name in the header, so that the same histories give the same bytes.
    with path.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        for buyer, interactions in histories:
            line = {"buyer_id": buyer, "interactions": [list(one) for one in interactions]}
            file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
            count += 1
    return count


def read_recent(path: Path) -> Iterator[tuple[str, list[Interaction]]]:
    """Yields what `write_recent` wrote. Raises CorruptArtifact with the number of the last readable line."""
    line_number = 0
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                line_number += 1
                found = json.loads(line)
                yield found["buyer_id"], [Interaction(*one) for one in found["interactions"]]
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise CorruptArtifact(f"{path} cannot be read after line {line_number}: {error}") from error
