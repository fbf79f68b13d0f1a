"""How a buyer's history is packed into one Redis value."""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from gateway import metrics
from twotower.events import Interaction
from twotower.serving import wire

log = logging.getLogger(__name__)

KEY_PREFIX = "twotower:history:1:"


_JOINT = wire.SEPARATOR.encode()


class Addition(NamedTuple):
    """Interactions of one buyer that are to be kept."""

    buyer_id: str
    interactions: Sequence[Interaction]


def key_of(buyer_id: str) -> str:
    return KEY_PREFIX + buyer_id


def still_kept(interactions: Sequence[Interaction], oldest: Sequence[bytes]) -> int:
    """How many of these, in the order of `latest`, do not come before the oldest of a history: its member and score."""
    member, score = oldest
    place = bisect_left(interactions, (float(score), member), key=_order)
    return len(interactions) - place


def _order(one: Interaction) -> tuple[float, bytes]:
    return one.timestamp_ms, wire.pack_interaction(one).encode()


def is_refusal(reply: object) -> bool:
    """Whether Redis would not answer. A key that holds something else is a fact about one buyer, not about Redis."""
    return isinstance(reply, Exception) and not str(reply).startswith("WRONGTYPE")


def packed(members: object, buyer_id: str) -> str:
    """One reply as a packed history; a value that is no interaction is counted, logged and left out."""
    if not isinstance(members, list):
        _unreadable(buyer_id, members)
        return ""
    try:
        text = _JOINT.join(members).decode()
        if wire.is_history(text):
            return text
    except UnicodeDecodeError:
        pass  # the loop below finds out which
    good = []
    for member in members:
        try:
            one = member.decode()
        except UnicodeDecodeError:
            one = ""
        if one and wire.SEPARATOR not in one and wire.is_history(one):
            good.append(one)
        else:
            _unreadable(buyer_id, member)
    return wire.SEPARATOR.join(good)


def _unreadable(buyer_id: str, value: object) -> None:
    metrics.UNREADABLE_VALUES.inc()
    log.warning("a value in Redis is no interaction: %.200r", value, extra={"buyer_id": buyer_id})
