"""Packed histories, read back."""

from __future__ import annotations

from twotower.events import Interaction
from twotower.serving import wire


def unpack_history(text: str) -> list[Interaction]:
    """What `wire.pack_history` wrote."""
    return [Interaction(*one) for one in zip(*wire.unpack_columns(text), strict=True)]
