"""Translates our errors to gRPC statuses, and statuses back to our errors."""

from __future__ import annotations

import json
import logging
from typing import Any

import grpc

from twotower.errors import (
    Conflict,
    CorruptArtifact,
    DeadlineExceeded,
    InvalidInput,
    NotConfigured,
    NotFound,
    Overloaded,
    TwoTowerError,
    Unavailable,
    VersionNotHeld,
)

log = logging.getLogger(__name__)

REQUEST_ID_KEY = "x-request-id"
DETAIL_KEY = "x-error-bin"
STATUS: dict[type[TwoTowerError], grpc.StatusCode] = {
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    NotFound: grpc.StatusCode.NOT_FOUND,
    VersionNotHeld: grpc.StatusCode.FAILED_PRECONDITION,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    Conflict: grpc.StatusCode.ABORTED,
    NotConfigured: grpc.StatusCode.UNIMPLEMENTED,
    CorruptArtifact: grpc.StatusCode.INTERNAL,
}


def from_status(error: grpc.aio.AioRpcError, name: str) -> TwoTowerError:
    """The error that a status of the service `name` stands for."""
    message = error.details() or error.code().name
    packed = next((value for key, value in error.trailing_metadata() or () if key == DETAIL_KEY), None)
    detail: dict[str, Any] = json.loads(packed) if packed else {}
    match error.code():
        case grpc.StatusCode.FAILED_PRECONDITION if "held" in detail:
            return VersionNotHeld(detail["wanted"], detail["held"])
        case grpc.StatusCode.INVALID_ARGUMENT if "field" in detail:
            invalid = InvalidInput(detail["field"], "", detail["problem"])
            invalid.value = detail["value"]
            invalid.args = (message,)
            return invalid
        case grpc.StatusCode.INVALID_ARGUMENT:
            return InvalidInput(name, "request", message)
        case grpc.StatusCode.NOT_FOUND:
            return NotFound(message, field=str(detail.get("field", "")))
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return Overloaded(f"{name}: {message}")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return DeadlineExceeded(f"{name} did not answer in time")
        case grpc.StatusCode.ABORTED if packed:
            return Conflict(message)
        case grpc.StatusCode.UNIMPLEMENTED if packed:
            return NotConfigured(message)
        case grpc.StatusCode.UNAVAILABLE if packed:
            return Unavailable(f"{name}: {message}")
        case grpc.StatusCode.UNAVAILABLE | grpc.StatusCode.CANCELLED:
            # gRPC's message names internal addresses, which belong in the log and not in an answer
            log.info("%s cannot be reached: %s", name, message)
            return Unavailable(f"{name} cannot be reached")
        case _:
            log.error("unexpected status from %s: %s %s", name, error.code(), message)
            return Unavailable(f"{name} failed")


def pack_detail(error: TwoTowerError) -> bytes:
    """The machine-readable part of an error, as it travels in the trailing metadata."""
    return json.dumps(error.detail(), ensure_ascii=False).encode("utf-8", "replace")
