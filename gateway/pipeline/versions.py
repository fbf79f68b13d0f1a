"""One model version gives the whole answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway import metrics
from twotower.errors import (
    Unavailable,
    VersionNotHeld,
)

Answer = TypeVar("Answer")


async def on_one_version(attempt: Callable[[str], Awaitable[Answer]]) -> Answer:
    """Runs `attempt("")`; if a service does not hold the version asked for, runs it again on one that all hold.

    The first rerun asks for the newest version of the replica that refused, each further one for a version that all
    replicas hold that have refused. Each refusal rules a version out, so this ends. Raises Unavailable if they hold
    none in common.
    """
    version, held = "", list[str]()
    while True:
        try:
            return await attempt(version)
        except VersionNotHeld as error:
            held = [name for name in held or error.held if name in error.held and name != version]
            if not held:
                break
            version = held[0]
            metrics.VERSION_RERUNS.inc()
    raise Unavailable("the services hold no model version in common; a new one is probably being loaded")
