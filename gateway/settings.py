"""Settings of the gateway, read once in `__main__` from TWOTOWER_GATEWAY_*."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field
from redis.asyncio import BlockingConnectionPool
from redis.exceptions import RedisError

from twotower.events import DEFAULT_WEIGHTS
from twotower.serving.settings import ProcessSettings


def _names(value: object) -> object:
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


def _redis_url(value: str) -> str:
    """A URL that the redis library makes connections of; it makes one, and connects nothing."""
    try:
        connection = BlockingConnectionPool.from_url(value).make_connection()  # type: ignore[no-untyped-call]
    except (RedisError, AttributeError, TypeError, ValueError) as error:
        # an option that is unknown is a TypeError, one of another kind may be an AttributeError
        raise ValueError(str(error)) from None
    parts = urlsplit(value)
    # of a path that is no number the library makes database 0
    if parts.scheme != "unix" and not re.fullmatch("/?|/[0-9]+/?", unquote(parts.path)):
        raise ValueError(f"{parts.path!r} is not the number of a database")
    if connection.encoder.decode_responses:
        raise ValueError("decode_responses cannot be set: histories are read as bytes")
    return value


class GatewaySettings(ProcessSettings):
    """Everything that one gateway process can be told."""

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="HTTP port; 0 takes a free one")
    workers: int = Field(1, ge=1, le=64, description="gateway processes that share the port")
    metrics_port: int | None = Field(None, ge=0, le=65535, description="a further port for /metrics alone")
    item_address: str = Field("127.0.0.1:50051", min_length=1, description="host:port or gRPC target of the items")
    buyer_address: str = Field("127.0.0.1:50052", min_length=1, description="host:port or gRPC target of the buyers")
    retrieval_address: str = Field("127.0.0.1:50053", min_length=1, description="host:port or gRPC target of the index")
    max_message_mb: int = Field(16, ge=1, le=512, description="largest gRPC message, MiB")

    redis_url: Annotated[str, AfterValidator(_redis_url)] = Field(
        "redis://127.0.0.1:6379/0", description="where Redis is"
    )
    redis_connections: int = Field(16, ge=1, le=1024, description="most connections to Redis")
    redis_timeout_seconds: float = Field(0.5, gt=0, description="longest wait for the answers of Redis to a batch")
    redis_connect_timeout_seconds: float = Field(0.3, gt=0, description="longest wait for a connection to Redis")
    redis_retry_seconds: float = Field(0.5, gt=0, description="how often a Redis that is down is tried again")
    history_size: int = Field(50, ge=1, le=1000, description="interactions kept per buyer")
    history_ttl_days: float = Field(90.0, gt=0, le=3650, description="days after its last write that a history is kept")

    request_timeout_seconds: float = Field(2.0, gt=0, le=60, description="time for one request, all steps together")
    body_timeout_seconds: float = Field(5.0, gt=0, le=60, description="longest wait for the whole of a request's body")
    drain_seconds: float = Field(10.0, ge=0, description="time that running requests get after SIGTERM")
    max_body_bytes: int = Field(1 << 20, ge=1024, description="largest request body")
    max_query_bytes: int = Field(32 << 10, ge=1024, le=60_000, description="longest query string")
    max_interactions: int = Field(5000, ge=1, description="most interactions in one request")
    max_k: int = Field(1000, ge=1, le=1000, description="most products in one answer")
    event_types: Annotated[tuple[str, ...], BeforeValidator(_names)] = Field(
        tuple(DEFAULT_WEIGHTS), min_length=1, description="event names that are taken, separated by commas"
    )

    max_batch: int = Field(64, ge=1, le=1024, description="most calls that travel in one RPC or Redis pipeline")
    max_waiting: int = Field(1024, ge=1, description="calls that may wait for one service before requests are refused")
    batches_in_flight: int = Field(4, ge=1, le=64, description="most batches under way to one service at the same time")
    batch_patience_seconds: float = Field(
        0.02, ge=0, le=1, description="time that a batch is waited for before a further one that is not full may leave"
    )
    access_log: bool = Field(True, description="one log line per request")
