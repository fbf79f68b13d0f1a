"""Starts and ends the follower of a service."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from twotower.live.follower import Follower
from twotower.live.redis_client import open_redis
from twotower.live.settings import LiveSettings
from twotower.serving.model_versions import Versions

_TIMEOUT_SECONDS = 5.0


def open_follower(settings: LiveSettings, service: str) -> Follower | None:
    """The follower of a service's replica, None without a live catalogue."""
    if not settings.catalogue_url:
        return None
    # several replicas of one host may listen on free ports
    name = f"{service} {socket.gethostname()}:{settings.port or f'pid {os.getpid()}-{os.urandom(3).hex()}'}"
    connect = partial(open_redis, settings.catalogue_url, _TIMEOUT_SECONDS)
    return Follower(connect, name, settings.catalogue_limit, settings.catalogue_wait_seconds)


@asynccontextmanager
async def following(follower: Follower | None, versions: Versions[Any]) -> AsyncIterator[None]:
    """Ends the follower after the block."""
    if follower is None:
        yield
        return
    follower.serves = lambda: versions.is_ready
    try:
        yield
    finally:
        await asyncio.to_thread(follower.close)
