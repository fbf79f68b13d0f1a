"""Buyers' histories as Redis keys, members and replies."""

from __future__ import annotations

import logging
import zlib
from bisect import bisect_left
from collections.abc import Container, Sequence
from typing import NamedTuple

from gateway import metrics
from twotower.event_log import DISMISS
from twotower.events import Interaction
from twotower.history import latest
from twotower.serving import wire

log = logging.getLogger(__name__)

# Redis Cluster places a key by what stands in its first braces. Buyers are spread over this many shards: enough for an
# even load of ten nodes, and few enough to look through all of them
_SHARDS = 1024
KEY_PREFIX = "twotower:history:1:"
# interactions with products that the served version does not know
APART_PREFIX = "twotower:apart:1:"
# products that the buyer does not want, by the time of the last Dismiss
DISMISSED_PREFIX = "twotower:dismissed:1:"
SHOWN_PREFIX = "twotower:shown:2:"
# says to which buyer a guest's session belongs, by the buyer's hash
MERGED_PREFIX = "twotower:merged:1:"
# per shard, a sorted set of buyers, scored by the second of their last write: histories expire by it
_WRITTEN_PREFIX = "twotower:written:1:"
WRITTEN_KEYS = tuple(f"{_WRITTEN_PREFIX}{{{shard}}}" for shard in range(_SHARDS))
# per shard, the key that asks whether Redis writes; no buyer's key, because ids hold no control characters
PROBE_KEYS = tuple(f"{KEY_PREFIX}{{{shard}}}\0ready" for shard in range(_SHARDS))
# set once histories were loaded; a Redis without it has lost them, or never had them
LOADED = "twotower:loaded:1:{load}"
# held by the one process that loads histories
LOADING = "twotower:loading:1:{load}"
_SEPARATOR = wire.SEPARATOR.encode()
_DISMISSAL = f"\0{DISMISS}\0"


class Addition(NamedTuple):
    """Interactions to add to what is stored of one buyer.

    `apart` are those with products that the served version lacks; `dismissed` are no part of the history.
    """

    buyer_id: str
    interactions: Sequence[Interaction]
    apart: Sequence[Interaction] = ()
    dismissed: Sequence[Interaction] = ()


def split_known(buyer_id: str, interactions: Sequence[Interaction], unknown: Container[str]) -> Addition:
    """The addition that keeps the interactions with these products apart, and those that dismiss a product."""
    wanted = [one for one in interactions if one.event_type != DISMISS]
    known = [one for one in wanted if one.product_id not in unknown]
    apart = [one for one in wanted if one.product_id in unknown]
    return Addition(buyer_id, known, apart, [one for one in interactions if one.event_type == DISMISS])


def split_dismissed(history: str) -> tuple[str, list[str]]:
    """A packed history as `RedisHistory.read` returns it: without dismissals, and the dismissed products."""
    if _DISMISSAL not in history:
        return history, []
    columns = zip(*wire.unpack_columns(history), strict=True)
    addition = split_known("", [Interaction(*one) for one in columns], ())
    return wire.pack_history(addition.interactions), [one.product_id for one in addition.dismissed]


def _shard(buyer_id: str) -> int:
    return zlib.crc32(buyer_id.encode()) % _SHARDS


def key_of(buyer_id: str) -> str:
    return f"{KEY_PREFIX}{{{_shard(buyer_id)}}}{buyer_id}"


def apart_key_of(buyer_id: str) -> str:
    return f"{APART_PREFIX}{{{_shard(buyer_id)}}}{buyer_id}"


def written_key_of(buyer_id: str) -> str:
    """The sorted set that has the buyer's last write. All keys of a buyer share a slot of Redis Cluster."""
    return WRITTEN_KEYS[_shard(buyer_id)]


def buyer_of_apart_key(key: bytes) -> str:
    return key.decode().removeprefix(APART_PREFIX).partition("}")[2]


def dismissed_key_of(buyer_id: str) -> str:
    return f"{DISMISSED_PREFIX}{{{_shard(buyer_id)}}}{buyer_id}"


def shown_key_of(owner: str) -> str:
    """The text of the products that a buyer or a guest was shown lately; see `gateway.rules.shown`."""
    return f"{SHOWN_PREFIX}{{{_shard(owner)}}}{owner}"


def keys_of(buyer_id: str) -> list[str]:
    """The histories that Redis holds of a buyer, the known one first."""
    return [key_of(buyer_id), apart_key_of(buyer_id), dismissed_key_of(buyer_id)]


def merge(history: str, apart: str) -> str:
    """Two packed histories as one, in the order of `latest`. A version may have learnt products kept apart."""
    if not apart or not history:
        return history or apart
    columns = [wire.unpack_columns(text) for text in (history, apart)]
    both = {Interaction(*one) for three in columns for one in zip(*three, strict=True)}
    return wire.pack_history(latest(list(both), len(both)))


def count_kept(interactions: Sequence[Interaction], oldest: Sequence[bytes]) -> int:
    """How many of `interactions` (in the order of `latest`) the history holds, given the member and score of its oldest
    one."""
    member, score = oldest
    dropped = bisect_left(interactions, (float(score), member), key=_order)
    return len(interactions) - dropped


def _order(interaction: Interaction) -> tuple[float, bytes]:
    return interaction.timestamp_ms, wire.pack_interaction(interaction).encode()


def pack_reply(members: object, buyer_id: str) -> str:
    """One reply as a packed history. Members that are no interactions are logged, counted and left out."""
    if not isinstance(members, list):
        _report_unreadable(buyer_id, members)
        return ""
    try:
        text = _SEPARATOR.join(members).decode()
        if wire.is_history(text):
            return text
    except UnicodeDecodeError:
        pass  # the loop below finds the bad member
    readable = []
    for member in members:
        try:
            interaction = member.decode()
        except UnicodeDecodeError:
            interaction = ""
        if interaction and wire.SEPARATOR not in interaction and wire.is_history(interaction):
            readable.append(interaction)
        else:
            _report_unreadable(buyer_id, member)
    return wire.SEPARATOR.join(readable)


def _report_unreadable(buyer_id: str, value: object) -> None:
    metrics.UNREADABLE_VALUES.inc()
    log.warning("skipped a value in Redis that is no interaction: %.200r", value, extra={"buyer_id": buyer_id})
