"""A container's health: `health.py grpc PORT` asks grpc.health.v1, `health.py http PORT PATH` a URL. Exit 0 or 1."""

import sys

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

    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=SECONDS)
    serving = health_pb2.HealthCheckResponse.SERVING
    return "" if answer.status == serving else "no model version is loaded"


def ask_http(port: str, path: str) -> str:
    """The problem, or "" if the URL answers with a status below 400."""
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=SECONDS):
        return ""


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
