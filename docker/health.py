"""A container's health: `health.py grpc PORT` asks grpc.health.v1, `health.py http PORT PATH` a URL. Exit 0 or 1."""

import os
import sys
from pathlib import Path
from typing import Any

SECONDS = 4.0


def main(kind: str, port: str, path: str = "") -> int:
    """Returns 0 if this container's process can answer, otherwise prints the reason and returns 1."""
    try:
        problem = ask_grpc(port) if kind == "grpc" else ask_http(port, path)
    except Exception as error:  # any error means unhealthy; `docker inspect` shows this line
        problem = f"{type(error).__name__}: {error}"
    if problem:
        print(problem)
    return 1 if problem else 0


def ask_grpc(port: str) -> str:
    """The problem, or "" if the service has loaded a model version."""
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with open_channel(grpc, f"localhost:{port}") as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
    serving = health_pb2.HealthCheckResponse.SERVING
    return "" if answer.status == serving else "no model version is loaded"


def open_channel(grpc: Any, address: str) -> Any:
    """A channel to this container's own service, by mutual TLS if that is set: the certificate must name localhost."""
    folder = os.environ.get("TWOTOWER_INNER_TLS")
    if not folder:
        return grpc.insecure_channel(address)
    certificate, key, authorities = (Path(folder, name).read_bytes() for name in ("tls.crt", "tls.key", "ca.crt"))
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(authorities, key, certificate))


def ask_http(port: str, path: str) -> str:
    """The problem, or "" if the URL answers with a status below 400."""
    import ssl
    import urllib.request

    if not os.environ.get("TWOTOWER_GATEWAY_TLS"):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=SECONDS):
            return ""
    # the certificate is for the callers' name of this gateway; the question here is only whether it answers
    anybody = ssl._create_unverified_context()
    with urllib.request.urlopen(f"https://127.0.0.1:{port}{path}", timeout=SECONDS, context=anybody):
        return ""


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
