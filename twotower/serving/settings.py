"""Settings of a process: a pydantic model, read once from `TWOTOWER_*` environment variables."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from twotower.errors import SettingsError
from twotower.serving.tls import MutualTls

PREFIX = "TWOTOWER_"
# variables with these prefixes belong to other processes: one environment file may hold the settings of all
SERVICES = ("ITEM", "BUYER", "RETRIEVAL", "GATEWAY", "RECORDER", "EXPLORER", "DEMO")
SHARED = {"TWOTOWER_ARTIFACTS", "TWOTOWER_CACHE", "TWOTOWER_INNER_TLS", "TWOTOWER_LOG_LEVEL", "TWOTOWER_DATA"}
OTLP_VARIABLE = f"{PREFIX}OTLP_ENDPOINT"
SHARED |= {"TWOTOWER_MILVUS", "TWOTOWER_MILVUS_TOKEN", "TWOTOWER_MILVUS_ALIAS"}
SHARED |= {"TWOTOWER_KAFKA", "TWOTOWER_KAFKA_TOPIC", "TWOTOWER_KAFKA_SECURITY", "TWOTOWER_KAFKA_SASL_MECHANISM"}
SHARED |= {"TWOTOWER_KAFKA_USERNAME", "TWOTOWER_KAFKA_PASSWORD", "TWOTOWER_KAFKA_TLS"}
SHARED |= {OTLP_VARIABLE, f"{PREFIX}TRACE_SAMPLING"}
# the name of OpenTelemetry's own documents for the same
_OTLP_STANDARD = "OTEL_EXPORTER_OTLP_ENDPOINT"
# Kubernetes puts these into every container beside a Service whose name begins with `twotower`
_KUBERNETES = re.compile(r"TWOTOWER_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
_KUBERNETES_PORT = re.compile(r"(tcp|udp|sctp)://")


def _bare(host: str) -> str:
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


# an address to listen on; IPv6 with or without brackets
Host = Annotated[str, Field(min_length=1), AfterValidator(_bare)]


def host_port(host: str, port: int | None) -> str:
    """`host:port`, with IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class ProcessSettings(BaseModel):
    """The settings of every process. TWOTOWER_ITEM_PORT sets the field `port` of the item service."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    log_level: str = Field("INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$")


class TracedSettings(ProcessSettings):
    """The settings of every process that answers a traced request."""

    otlp_endpoint: str = Field(
        "",
        pattern=r"^(https?://[^/\s]+/?)?$",
        description="http(s)://host:port of a collector that takes traces by OTLP over gRPC; empty: no traces",
    )
    trace_sampling: float = Field(
        0.01, ge=0, le=1, description="share of the requests that are traced, of those that come without a trace"
    )


class ServiceSettings(TracedSettings):
    """The settings of every gRPC service."""

    artifacts: Path = Field(Path("artifacts"), description="artifact folder, read only")
    cache: Annotated[Path | None, BeforeValidator(lambda value: value or None)] = Field(
        Path("cache"),
        description="folder of private copies of the files in use, for all services of a host; empty maps the files "
        "of the artifact folder, which nobody may then change in place",
    )
    host: Host = Field("127.0.0.1", description="address to listen on")
    inner_tls: MutualTls | None = Field(None, description="folder with tls.crt, tls.key and ca.crt for mutual TLS")
    port: int = Field(0, ge=0, le=65535, description="gRPC port; 0 takes a free one")
    metrics_port: int = Field(0, ge=0, le=65535, description="Prometheus port; 0 takes a free one")
    threads: int = Field(1, ge=1, le=64, description="worker threads for FAISS or ONNX Runtime")
    queue: int = Field(256, ge=1, description="calls that may wait for a worker; further ones are refused")
    max_batch: int = Field(1024, ge=1, description="maximum rows in one call")
    max_message_mb: int = Field(16, ge=1, le=512, description="largest gRPC message, MiB")
    poll_seconds: float = Field(2.0, gt=0, description="seconds between two looks at CURRENT")
    drain_seconds: float = Field(10.0, ge=0, description="seconds that running calls get after SIGTERM")
    max_connection_age_seconds: float = Field(
        60.0,
        gt=0,
        description="age in seconds at which a connection is closed, so that clients spread over new replicas",
    )


Settings = TypeVar("Settings", bound=ProcessSettings)


def read_settings(model: type[Settings], service: str, environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings of `service` ("item", "buyer", ...) from `environ`.

    `TWOTOWER_<SERVICE>_<FIELD>` sets a field; all processes share the variables in SHARED. Variables that Kubernetes
    sets for its Services are left alone. Raises SettingsError for an unknown variable, with the nearest known one, and
    for a value that does not fit.
    """
    environ = {name: value for name, value in environ.items() if not _is_of_kubernetes(name, value)}
    own = f"{PREFIX}{service.upper()}_"
    others = tuple(f"{PREFIX}{name}_" for name in SERVICES if name != service.upper())
    known = {f"{own}{field.upper()}": field for field in model.model_fields}
    values: dict[str, str] = {}
    for name, value in environ.items():
        if not name.startswith(PREFIX) or name.startswith(others):
            continue
        if name in known:
            values[known[name]] = value
        elif name in SHARED:
            field = name.removeprefix(PREFIX).lower()
            if field in model.model_fields:
                values.setdefault(field, value)
        else:
            near = difflib.get_close_matches(name, [*known, *SHARED], n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(f"unknown setting {name}{hint}")
    if "otlp_endpoint" in model.model_fields and environ.get(_OTLP_STANDARD):
        values.setdefault("otlp_endpoint", environ[_OTLP_STANDARD])
    # a service's own variable overrides the shared one, whatever the order of the environment
    values |= {known[name]: environ[name] for name in known if name in environ}
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(own, item, environ) for item in error.errors())) from None


def _is_of_kubernetes(name: str, value: str) -> bool:
    port = name.startswith(PREFIX) and name.endswith("_PORT") and _KUBERNETES_PORT.match(value)
    return bool(port or _KUBERNETES.fullmatch(name))


def _explain(own: str, item: Mapping[str, object], environ: Mapping[str, str]) -> str:
    place = item["loc"]
    field = str(place[0]).upper() if isinstance(place, tuple) and place else "?"
    # the variable that was set may be the shared one
    name = f"{PREFIX}{field}" if f"{own}{field}" not in environ and f"{PREFIX}{field}" in environ else f"{own}{field}"
    problem = str(item["msg"]).removeprefix("Value error, ")
    if field.endswith("PASSWORD"):
        return f"{name}: {problem}"
    # a URL may hold a password, with line breaks and signs of any kind
    shown = re.sub("//.*@", "//...@", repr(item.get("input")), flags=re.DOTALL)
    shown = re.sub("password=[^&']*", "password=...", shown)
    return f"{name}={shown}: {problem}"
