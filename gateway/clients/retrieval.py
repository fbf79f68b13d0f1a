"""The retrieval service as the gateway sees it: whole, or in shards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.clients.batching import Limits
from gateway.clients.retrieval_client import RetrievalClient
from gateway.clients.sharded import ShardedRetrieval

Retrieval = RetrievalClient | ShardedRetrieval


def connect_retrieval(channels: Sequence[Any], limits: Limits, *, degrades: bool) -> Retrieval:
    """A client of the retrieval service, by one channel for each shard; `degrades`: see ShardedRetrieval."""
    if len(channels) == 1:
        return RetrievalClient(channels[0], limits)
    shards = [RetrievalClient(channel, limits, f"retrieval shard {number}") for number, channel in enumerate(channels)]
    return ShardedRetrieval(shards, degrades)
