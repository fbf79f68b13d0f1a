"""The real processes of one shop: those of `make demo`, on ports of their own, and the nightly trainer."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Any

from demo.client import Client
from demo.settings import DemoSettings
from demo.supervisor import redis_url, send_command
from twotower.artifact.layout import Layout
from twotower.artifact.pointer import read_pointer
from twotower.errors import Unavailable
from twotower.event_log import log_files

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).resolve().parents[2]
_OFFLINE = _ROOT / "trainer" / "config" / "offline.yaml"
_WAIT_SECONDS = 120.0
_LISTENING = ("gateway", "item", "buyer", "retrieval", "redis", "explorer")
# a small model: the figures compare shops, not models
_SMALL = (
    "threads=1",
    "model.dimension=64",
    "model.heads=2",
    "encoder.catalogue.steps=60",
    "encoder.catalogue.dimension=64",
    "evaluation.min_test_buyers=50",
    "evaluation.resamples=200",
)


class ShopProcesses:
    """The gateway, its services, Redis and the recorder, run by the demo's supervisor in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        ports = {f"{name}_port": _free_port() for name in _LISTENING}
        self._settings = DemoSettings.model_validate({"folder": folder, **ports})
        self._sent = 0

    @property
    def layout(self) -> Layout:
        return Layout(self._settings.artifacts)

    def client(self) -> Client:
        return Client(self._settings.host, self._settings.gateway_port)

    def reconnect(self, client: Client) -> None:
        """Opens a connection that the gateway closed in an idle night."""
        with suppress(Unavailable):
            client.get("/healthz")

    @contextmanager
    def running(self, explore: float) -> Iterator[None]:
        """Runs all processes until the block ends, with the histories of the version loaded."""
        settings = self._settings
        settings.logs.mkdir(parents=True, exist_ok=True)
        ports = {name: getattr(settings, f"{name}_port") for name in _LISTENING}
        named = {f"TWOTOWER_DEMO_{name.upper()}_PORT": str(port) for name, port in ports.items()}
        environ = os.environ | named | {"TWOTOWER_DEMO_FOLDER": str(settings.folder)}
        environ |= {"TWOTOWER_RECORDER_FLUSH_SECONDS": "1", "TWOTOWER_GATEWAY_EXPLORE": str(explore)}
        environ |= {f"TWOTOWER_{name}_POLL_SECONDS": "0.5" for name in ("ITEM", "BUYER", "RETRIEVAL")}
        environ["TWOTOWER_GATEWAY_ACCESS_LOG"] = "false"
        with (settings.logs / "supervisor.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "demo", "supervise"], cwd=_ROOT, env=environ, stdout=log, stderr=log
            )
        try:
            self._wait(lambda: self.client().get("/readyz")["status"] == "ready", "the gateway is ready")
            warm = [sys.executable, "-m", "gateway.warm", "--artifacts", str(settings.artifacts)]
            with (settings.logs / "warm-once.log").open("ab") as log:
                subprocess.run([*warm, "--redis", redis_url(settings)], cwd=_ROOT, stdout=log, stderr=log, check=True)
            yield
        finally:
            send_command(settings, "stop")
            process.wait(60)

    def tell(self, client: Client, rows: list[dict[str, Any]]) -> None:
        """Sends interactions; the gateway accepts them all."""
        client.post("/interactions", {"interactions": rows})
        self._sent += len(rows)

    def add_products(self, client: Client, products: Mapping[str, dict[str, Any]]) -> None:
        """Puts new products into the live catalogue, and waits until they have vectors."""
        for ident, fields in products.items():
            client.put(f"/products/{ident}", fields)
        for ident in products:
            self._wait(lambda ident=ident: client.get("/similar", product_id=ident, k=1), f"{ident} has its vectors")

    def wait_logged(self) -> None:
        """Waits until the recorder has written all that was sent."""
        import polars as pl

        def is_written() -> bool:
            files = log_files(self.layout.log, "interactions")
            return bool(files) and pl.scan_parquet(files).select(pl.len()).collect().item() >= self._sent

        self._wait(is_written, f"{self._sent} interactions are in the log")

    def wait_served(self) -> None:
        """Waits until the gateway answers with the version that CURRENT names."""
        pointer = read_pointer(self.layout.current)
        assert pointer is not None
        client = self.client()
        self._wait(lambda: client.get("/popular", k=1)["model_version"] == pointer.version, "the version is served")

    def train(self, events: Sequence[str], products: Path, *options: str) -> float:
        """Runs the trainer and returns its CPU seconds. The gate may keep the version back."""
        command = [sys.executable, "-m", "trainer", "run", "--artifacts", str(self.layout.root), "--events", *events]
        command += ["--products", str(products), "--config", str(_OFFLINE), "--set", *_SMALL, *options]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._settings.logs.mkdir(parents=True, exist_ok=True)
        with (self._settings.logs / "trainer.log").open("ab") as log:
            done = subprocess.run(command, cwd=_ROOT, stdout=log, stderr=log, check=False)
        if done.returncode not in (0, 3):
            raise SystemExit(f"the trainer failed, see {self._settings.logs}/trainer.log")
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def _wait(self, is_so: Any, what: str) -> None:
        end = time.monotonic() + _WAIT_SECONDS
        while time.monotonic() < end:
            try:
                if is_so():
                    return
            except Unavailable:
                pass  # not yet
            time.sleep(0.1)
        raise SystemExit(f"waited {_WAIT_SECONDS:.0f} s until {what}; see {self._settings.logs}/")


def _free_port() -> int:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
