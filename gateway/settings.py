"""The gateway's settings, read once at the start from TWOTOWER_GATEWAY_*."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from gateway.redis_url import read_redis_url
from twotower.events import DEFAULT_WEIGHTS
from twotower.serving.client import as_target
from twotower.serving.kafka import KafkaSettings
from twotower.serving.settings import Host, TracedSettings
from twotower.serving.tls import MutualTls, check_pair, usable


def _split_names(value: object) -> object:
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


def _check_redis_url(value: str) -> str:
    read_redis_url(value)
    return value


def _check_target(value: str) -> str:
    as_target(value)
    return value


def _check_shards(value: str) -> str:
    for target in value.split(";"):
        if not target.strip():
            raise ValueError("an address between two ';' is empty")
        as_target(target.strip())
    return value


Target = Annotated[str, AfterValidator(_check_target)]
Shards = Annotated[str, AfterValidator(_check_shards)]


class GatewaySettings(KafkaSettings, TracedSettings):
    """All settings of one gateway process."""

    host: Host = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="HTTP port; 0 picks a free one")
    root_path: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="path under which a proxy serves the gateway: /recs; requests may have it or not",
    )
    workers: int = Field(1, ge=1, le=64, description="gateway processes that share the port")
    metrics_port: int | None = Field(None, ge=0, le=65535, description="additional port that serves only /metrics")
    published_host: Host | None = Field(
        None, description="address that a container's port is published on, if that is not `host`"
    )
    auth: Literal["auto", "keys", "off"] = Field(
        "auto",
        description="auto: loopback alone until the keys file exists; keys: never without keys; off: everyone",
    )
    keys_file: Path | None = Field(None, description="hashes, scopes and limits of the keys; see `gateway keys`")
    forgotten_file: Path | None = Field(None, description="hashes of the buyers whom DELETE /buyers has forgotten")
    item_address: Target = Field(
        "127.0.0.1:50051", min_length=1, description="host:port or gRPC target of the item service"
    )
    buyer_address: Target = Field(
        "127.0.0.1:50052", min_length=1, description="host:port or gRPC target of the buyer service"
    )
    retrieval_address: Shards = Field(
        "127.0.0.1:50053",
        min_length=1,
        description="host:port or gRPC target of the retrieval service; of each shard, separated by semicolons",
    )
    missing_shard: Literal["refuse", "degrade"] = Field(
        "refuse", description="while no replica of a shard answers: 503, or lists without its products, with a warning"
    )
    inner_tls: MutualTls | None = Field(
        None, description="folder with tls.crt, tls.key and ca.crt for mutual TLS with the services"
    )
    tls: Annotated[Path, AfterValidator(usable(check_pair))] | None = Field(
        None, description="folder with tls.crt and tls.key: the gateway serves HTTPS"
    )
    max_message_mb: int = Field(16, ge=1, le=512, description="largest gRPC message, MiB")

    redis_url: Annotated[str, AfterValidator(_check_redis_url)] = Field(
        "redis://127.0.0.1:6379/0",
        description="URL of Redis: redis://, rediss:// or unix://; redis+cluster:// or redis+sentinel:// with several "
        "hosts, and the same with rediss; see docs/operations.md",
    )
    redis_connections: int = Field(16, ge=1, le=1024, description="maximum connections to Redis")
    redis_timeout_seconds: float = Field(0.5, gt=0, description="timeout of one Redis pipeline")
    redis_connect_timeout_seconds: float = Field(0.3, gt=0, description="timeout of connecting to Redis")
    redis_retry_seconds: float = Field(0.5, gt=0, description="time between attempts to reach a Redis that is down")
    history_size: int = Field(50, ge=1, le=1000, description="newest interactions kept per buyer")
    history_ttl_days: float = Field(
        90.0, gt=0, le=3650, description="days until a history expires after its last write"
    )

    event_log: bool = Field(False, description="writes interactions and served lists to the log that a recorder drains")
    event_log_lists: float = Field(1.0, ge=0, le=1, description="share of the served lists that the log takes")
    event_log_max_mb: int = Field(
        64, ge=1, le=65_536, description="memory of the log in Redis, MiB: half of it full drops lists, all refuses"
    )

    live_catalogue: bool = Field(False, description="takes changes of products, which the services follow in Redis")
    max_products: int = Field(5000, ge=1, description="maximum products in one request")
    explore: float = Field(
        0.0, ge=0, le=0.5, description="share of the slots of /retrieve that show a random product of lower rank"
    )
    experiments_file: Path | None = Field(None, description="experiments.yaml; read again whenever it changes")
    rules_file: Path | None = Field(
        None, description="rules.yaml; read again whenever it changes; without it, the rules of PUT /rules are in force"
    )

    request_timeout_seconds: float = Field(2.0, gt=0, le=60, description="timeout of one request, all steps together")
    body_timeout_seconds: float = Field(5.0, gt=0, le=60, description="timeout of receiving a request's whole body")
    max_connections: int = Field(1000, ge=1, le=65_535, description="maximum open connections of one worker")
    head_timeout_seconds: float = Field(
        5.0, gt=0, le=60, description="timeout of receiving a request's whole head, or what follows a refused one"
    )
    drain_seconds: float = Field(10.0, ge=0, description="time that running requests get to finish after SIGTERM")
    max_body_bytes: int = Field(1 << 20, ge=1024, description="maximum size of a request body")
    max_bodies_mb: int = Field(
        32, ge=1, le=4096, description="bodies above 16 KiB under way at a time in one worker, together, MiB"
    )
    max_query_bytes: int = Field(32 << 10, ge=1024, le=60_000, description="maximum length of a query string")
    max_cost: float = Field(
        1024.0, gt=0, description="cost of the ordinary requests under way in one worker; see docs/operations.md"
    )
    max_expensive_cost: float = Field(
        50.0, gt=0, description="cost of the expensive requests under way in one worker, the waiting ones included"
    )
    expensive_share: float = Field(
        0.2, gt=0, le=1, description="part of a worker's time for expensive requests while ordinary ones arrive"
    )
    max_interactions: int = Field(5000, ge=1, description="maximum interactions in one request")
    max_k: int = Field(1000, ge=1, le=1000, description="maximum products in one answer")
    event_types: Annotated[tuple[str, ...], BeforeValidator(_split_names)] = Field(
        tuple(DEFAULT_WEIGHTS), min_length=1, description="accepted event names, separated by commas"
    )

    max_batch: int = Field(64, ge=1, le=1024, description="maximum calls in one RPC or Redis pipeline")
    max_waiting: int = Field(1024, ge=1, description="calls that may queue for one service before requests are refused")
    batches_in_flight: int = Field(4, ge=1, le=64, description="maximum concurrent batches to one service")
    batch_patience_seconds: float = Field(
        0.02, ge=0, le=1, description="time that a batch may take before the next one leaves although it is not full"
    )
    hedge_seconds: float = Field(
        0.15, gt=0, le=60, description="time after which a batch without an answer is sent to another replica too"
    )
    allowed_hosts: Annotated[tuple[str, ...], BeforeValidator(_split_names)] = Field(
        (),
        description="host names that a request may name, separated by commas; *.shop.example for any below; empty: all",
    )
    cors_origins: Annotated[tuple[str, ...], BeforeValidator(_split_names)] = Field(
        (),
        description="origins whose pages may call the gateway, separated by commas: https://shop.example; empty: none",
    )
    access_log: bool = Field(True, description="one log line per request")

    @property
    def shard_addresses(self) -> list[str]:
        """The address of each shard of the retrieval service; one if it is whole."""
        return [one.strip() for one in self.retrieval_address.split(";")]
