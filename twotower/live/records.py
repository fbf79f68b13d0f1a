"""The live catalogue in Redis: its keys, the state of a changed product, and the vectors of its content.

Every change has a number, counted from 1 in the order of acceptance. The stream says which products a change is about;
the hash of products has their state, the hashes of vectors what each model version makes of their content. Whoever
follows the stream reads the hashes: the last state counts, and to apply a change twice changes nothing.

    head              epoch (which count of changes this is) and sequence (the last number)
    products          product id → "NUMBER JSON", its state
    changes           the stream; entry N-0 has the fields `ids` (joined by NUL) and, if vectors came, `version`
    vectors:VERSION   product id → digest of the content, item vector, text vector
    wanted            "VERSION NUL product id" → content as JSON, whose vectors a replica needs
    replicas          name of a replica → what it says of itself, as JSON
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import orjson

from twotower.arrays import Float32
from twotower.artifact.manifest import Manifest
from twotower.errors import CorruptArtifact

# one tag: the keys lie in one slot of a cluster
PREFIX = "twotower:{catalogue}:1:"
HEAD, PRODUCTS, CHANGES = f"{PREFIX}head", f"{PREFIX}products", f"{PREFIX}changes"
WANTED, REPLICAS, LOCK = f"{PREFIX}wanted", f"{PREFIX}replicas", f"{PREFIX}encoding"
VECTORS = f"{PREFIX}vectors:"
# entries that the stream keeps; who is further behind reads the hashes instead
KEPT_CHANGES = 10_000
# how long the vectors of a version stay after no replica has held it any more
VECTORS_SECONDS = 7 * 86_400
_DIGEST = 16

# what a product may say of itself, as products.sqlite has it, and what stands for a field that is not given
DEFAULTS: dict[str, Any] = {
    "title": "",
    "description": "",
    "brand": "",
    "category": "",
    "price": None,
    "currency": "",
    "image": "",
    "in_stock": True,
}
# what a product's vectors depend on
CONTENT = ("title", "description", "brand", "category")


class Position(NamedTuple):
    """How far changes are folded in: those up to `sequence`, as `epoch` counts them."""

    epoch: str = ""
    sequence: int = 0

    @classmethod
    def of(cls, manifest: Manifest) -> Position:
        """The changes that a version holds."""
        return cls(*manifest.catalogue) if manifest.catalogue else cls()

    def includes(self, state: State, epoch: str) -> bool:
        return self.epoch == epoch and state.sequence <= self.sequence


class State(NamedTuple):
    """A changed product: its last change, and the fields that changes have set. `is_whole`: they are all fields."""

    product_id: str
    sequence: int
    fields: Mapping[str, Any]
    is_whole: bool = False
    is_hidden: bool = False
    is_deleted: bool = False

    @property
    def is_shown(self) -> bool:
        return not (self.is_hidden or self.is_deleted)


class Content(NamedTuple):
    """What the vectors of a product are made of."""

    title: str
    description: str
    brand: str
    category: str

    def digest(self) -> bytes:
        return hashlib.blake2b("\0".join(self).encode(), digest_size=_DIGEST).digest()


class LiveVectors(NamedTuple):
    """The vectors that one version makes of a content: item tower [D], text encoder [E]."""

    digest: bytes
    item: Float32
    text: Float32


def pack_state(state: State) -> bytes:
    """The JSON of a state. The number of its change comes before it, and is known only when it is written."""
    return orjson.dumps(
        {
            "fields": dict(state.fields),
            "whole": state.is_whole,
            "hidden": state.is_hidden,
            "deleted": state.is_deleted,
        }
    )


def unpack_state(product_id: str, value: bytes) -> State:
    """Raises CorruptArtifact for a value that no gateway has written."""
    number, _, text = value.partition(b" ")
    try:
        read = orjson.loads(text)
        return State(product_id, int(number), read["fields"], read["whole"], read["hidden"], read["deleted"])
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptArtifact(f"{PRODUCTS} holds no state of {product_id!r}: {error}") from None


def pack_vectors(vectors: LiveVectors) -> bytes:
    return vectors.digest + vectors.item.astype("<f4").tobytes() + vectors.text.astype("<f4").tobytes()


def unpack_vectors(value: bytes, dimension: int, text_dimension: int) -> LiveVectors | None:
    """None if these are vectors of other sizes, as another version of the same name may have written."""
    floats = np.frombuffer(value[_DIGEST:], "<f4") if len(value) >= _DIGEST and len(value) % 4 == 0 else None
    if floats is None or len(floats) != dimension + text_dimension:
        return None
    return LiveVectors(value[:_DIGEST], floats[:dimension], floats[dimension:])


def pack_wanted(content: Content) -> bytes:
    return orjson.dumps(list(content))


def unpack_wanted(field: bytes, value: bytes) -> tuple[str, str, Content]:
    """Version, product id, content. Raises CorruptArtifact for what no replica has written."""
    version, _, product_id = field.decode().partition("\0")
    try:
        return version, product_id, Content(*orjson.loads(value))
    except (ValueError, TypeError) as error:
        raise CorruptArtifact(f"{WANTED} holds no content of {product_id!r}: {error}") from None


# KEYS: head, changes. ARGV: entries kept, version or "", ids. Appends an entry and returns its number
NOTE = """
local n = redis.call('HINCRBY', KEYS[1], 'sequence', 1)
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], n .. '-0', 'ids', ARGV[3], 'version', ARGV[2])
return n
"""
# KEYS: head, changes, products. ARGV: entries kept, epoch if there is none yet, ids, then for each product its id, the
# number of the state that the caller has read, and the new state. Writes all and returns {number}, or returns the
# places of those that have changed meanwhile
WRITE = """
local stale = {0}
for place = 4, #ARGV, 3 do
  local known = redis.call('HGET', KEYS[3], ARGV[place])
  local number = known and string.match(known, '^%d+') or '0'
  if number ~= ARGV[place + 1] then stale[#stale + 1] = (place - 4) / 3 end
end
if #stale > 1 then return stale end
redis.call('HSETNX', KEYS[1], 'epoch', ARGV[2])
local n = redis.call('HINCRBY', KEYS[1], 'sequence', 1)
for place = 4, #ARGV, 3 do
  redis.call('HSET', KEYS[3], ARGV[place], n .. ' ' .. ARGV[place + 2])
end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], n .. '-0', 'ids', ARGV[3])
return {n}
"""
