"""`python -m gateway`: reads the settings and serves HTTP until SIGTERM; `python -m gateway keys` manages the keys."""

from __future__ import annotations

import logging
import signal
import socket
import sys
from collections.abc import Callable, Sequence

from gateway.app import create_app
from gateway.auth import commands
from gateway.auth.guard import Guard
from gateway.http import workers
from gateway.http.draining import bind
from gateway.http.server import allow_files, make_server
from gateway.settings import GatewaySettings
from twotower.errors import SettingsError
from twotower.serving import telemetry, tracing
from twotower.serving.command_line import check_arguments
from twotower.serving.settings import host_port, read_settings

log = logging.getLogger("gateway")


def main(arguments: Sequence[str] = ()) -> None:
    """Exits with 0 after SIGTERM or SIGINT, 1 if it cannot listen or workers keep failing, 2 for a wrong setting."""
    if arguments[:1] == ["keys"]:
        sys.exit(commands.main(arguments[1:]))
    if arguments[:1] != ["--worker"]:
        check_arguments("gateway", "gateway", GatewaySettings, arguments, __doc__ or "")
    try:
        settings = read_settings(GatewaySettings, "gateway")
        allow_files(settings)
        # before it listens: a gateway that must not serve ends here
        Guard(settings)
        tracing.check(settings)
    except SettingsError as error:
        sys.exit(_print_problem(error, 2))
    telemetry.configure_logging("gateway", settings.log_level)
    # the lines logged here replace uvicorn's at INFO
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    if arguments[:1] == ["--worker"]:
        port, lifeline, listening = map(int, arguments[1:])
        workers.watch_parent(lifeline)
        _serve(
            settings, bind(settings.host, port, shared=True), "worker listening", lambda: workers.announce(listening)
        )
        return
    try:
        make = workers.bind_shared if settings.workers > 1 else bind
        bound = make(settings.host, settings.port)
    except OSError as error:
        sys.exit(_print_problem(_cannot_listen(settings.host, settings.port, "PORT", error), 1))
    if settings.workers > 1:
        try:
            sys.exit(workers.run(settings, bound))
        except OSError as error:
            sys.exit(_print_problem(_cannot_listen(settings.host, settings.metrics_port, "METRICS_PORT", error), 1))
    if settings.metrics_port is not None:
        try:
            telemetry.MetricsServer(settings.host, settings.metrics_port)
        except OSError as error:
            sys.exit(_print_problem(_cannot_listen(settings.host, settings.metrics_port, "METRICS_PORT", error), 1))
    _serve(settings, bound, "listening")
    log.info("stopped")


def _serve(
    settings: GatewaySettings, bound: socket.socket, message: str, on_listening: Callable[[], None] = lambda: None
) -> None:
    """Serves until a signal. Logs `message` and calls `on_listening` once it listens."""
    port = bound.getsockname()[1]

    def announce() -> None:
        log.info(message, extra={"host": settings.host, "port": port})
        on_listening()

    server = make_server(create_app(settings), settings, announce)

    def stop(*_: object) -> None:
        # covers signals before uvicorn's own handlers are there, and those that it raises again after the drain
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        server.run(sockets=[bound])
    except OSError as error:
        # another process has begun to listen since the port was bound
        sys.exit(_print_problem(_cannot_listen(settings.host, port, "PORT", error), 1))
    if not server.started:
        sys.exit(1)


def _cannot_listen(host: str, port: int | None, setting: str, error: OSError) -> str:
    settings = f"TWOTOWER_GATEWAY_HOST or TWOTOWER_GATEWAY_{setting}"
    return f"cannot listen on {host_port(host, port)}: {error.strerror or error}; change {settings}"


def _print_problem(problem: object, code: int) -> int:
    """Prints the problem and returns the exit code."""
    print(f"gateway: {problem}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main(sys.argv[1:])
