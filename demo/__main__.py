"""The commands `up`, `stop` and `status` of `python -m demo`, as `make demo` and `make stop` run them."""

from __future__ import annotations

import argparse
import json
import shlex
import socket
import subprocess
import sys
import time
from pathlib import Path

from demo.client import Client, show_answers
from demo.settings import DemoSettings
from demo.supervisor import children, redis_binary, redis_url, redis_url_without_password, send_command, supervise
from twotower.errors import SettingsError, TwoTowerError, Unavailable
from twotower.serving.command_line import list_settings
from twotower.serving.settings import read_settings

_ROOT = Path(__file__).resolve().parent.parent
# the trainer's exit code if its publish gate kept a version back, and another one is served
_KEPT_BACK = 3


class StepFailed(TwoTowerError):
    """A step of the demo failed; the message says which one and where to look."""


def main() -> int:
    """Returns 0; 1 if a step fails, with nothing left running; 2 for a wrong setting."""
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description=__doc__,
        epilog=f"settings, environment variables:\n{list_settings('demo', DemoSettings)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=("up", "stop", "status", "supervise"))
    command = parser.parse_args().command
    try:
        settings = read_settings(DemoSettings, "demo")
    except SettingsError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    settings.logs.mkdir(parents=True, exist_ok=True)
    if command == "supervise":
        return supervise(settings)
    if command == "up":
        return _up(settings)
    answer = send_command(settings, command)
    print(answer if command == "status" and answer else "stopped" if answer else "the demo is not running")
    return 0


def _up(settings: DemoSettings) -> int:
    was_running = bool(send_command(settings, "status"))
    try:
        if not was_running:
            # before the training, which takes minutes
            _check_ports(settings)
        _make_data(settings)
        _train(settings)
        if not was_running:
            _start(settings)
        _wait_ready(settings)
        _warm(settings)
        show_answers(Client(settings.host, settings.gateway_port), settings.address)
    except (TwoTowerError, OSError, KeyboardInterrupt) as error:
        print(f"\nerror: {error or 'interrupted'}", file=sys.stderr)
        if not was_running and send_command(settings, "stop"):
            print("all processes were stopped", file=sys.stderr)
        return 1
    print(
        f"\nThe data are synthetic. The API is described at {settings.address}/docs. Stop with `make stop`. "
        f"Logs are in {settings.logs}/.\nOpen the explorer: {settings.explorer_address}"
    )
    return 0


def _make_data(settings: DemoSettings) -> None:
    sizes = {name: getattr(settings, name) for name in ("products", "buyers", "events", "seed")}
    stamp = settings.data / "sizes.json"
    if stamp.is_file() and json.loads(stamp.read_text()) == sizes:
        print(f"1/5 data: {settings.data} is up to date")
        return
    print("1/5 data: writing a synthetic Arabic marketplace")
    options = [text for name, value in sizes.items() for text in (f"--{name}", str(value))]
    _run("data", [sys.executable, "-m", "demo.market", "--out", str(settings.data), *options])
    stamp.write_text(json.dumps(sizes))


def _train(settings: DemoSettings) -> None:
    print("2/5 training", flush=True)
    command = [sys.executable, "-m", "trainer", "run", "--artifacts", str(settings.artifacts)]
    command += ["--events", str(settings.data / "events.csv"), "--products", str(settings.data / "products.csv")]
    for name in ("offline.yaml", "demo.yaml"):
        command += ["--config", str(_ROOT / "trainer" / "config" / name)]
    command += shlex.split(settings.train_args)
    if _run("training", command, accepted=(0, _KEPT_BACK)) == _KEPT_BACK:
        print("the publish gate kept the new model back (reasons above): the demo serves the version in CURRENT")


def _run(step: str, command: list[str], accepted: tuple[int, ...] = (0,)) -> int:
    code = subprocess.run(command, check=False).returncode
    if code not in accepted:
        raise StepFailed(f"{step} failed with exit code {code}; its output is above")
    return code


def _check_ports(settings: DemoSettings) -> None:
    for child in children(settings):
        with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((settings.host, child.port))
            except OSError as error:
                name = f"TWOTOWER_DEMO_{child.name.upper()}_PORT"
                raise StepFailed(
                    f"port {child.port} of {child.name} cannot be used ({error.strerror}). Choose another one: "
                    f"{name}=12345 make demo"
                ) from None


def _start(settings: DemoSettings) -> None:
    services = "item_service, buyer_service, retrieval_service, recorder, gateway, explorer"
    if settings.redis_url:
        print(
            f"3/5 starting {services} with the Redis of TWOTOWER_DEMO_REDIS_URL, {redis_url_without_password(settings)}"
        )
    else:
        print(f"3/5 starting redis ({redis_binary()}), {services}")
    for old in settings.logs.glob("*.log"):
        old.unlink()
    with (settings.logs / "supervisor.log").open("ab") as log:
        command = [sys.executable, "-m", "demo", "supervise"]
        # in a new session: neither Ctrl-C here nor the end of this shell ends the demo
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def _wait_ready(settings: DemoSettings) -> None:
    end = time.monotonic() + settings.ready_seconds
    last = "no answer yet"
    while time.monotonic() < end:
        client = Client(settings.host, settings.gateway_port)
        try:
            answer = client.get("/readyz")
            if not answer.get("degraded"):
                return
            last = json.dumps(answer["degraded"], ensure_ascii=False)
        except Unavailable as error:
            last = str(error)
        log = settings.logs / "supervisor.log"
        if log.is_file() and log.stat().st_size and not send_command(settings, "status"):
            raise StepFailed(f"{log.read_text().strip().splitlines()[-1]}; see {settings.logs}/")
        time.sleep(0.2)
    raise StepFailed(f"the system was not ready after {settings.ready_seconds:.0f} s ({last}); see {settings.logs}/")


def _warm(settings: DemoSettings) -> None:
    print("4/5 loading the buyers' latest interactions into Redis", flush=True)
    command = [sys.executable, "-m", "gateway.warm", "--artifacts", str(settings.artifacts)]
    _run("warm-up", [*command, "--redis", redis_url(settings)])
    print("5/5 calling the gateway")


if __name__ == "__main__":
    sys.exit(main())
