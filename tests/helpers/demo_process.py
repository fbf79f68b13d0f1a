"""Runs `python -m demo` as `make demo` does, on free ports and in a folder of the test."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.helpers.processes import ROOT, clean_environ
from tests.helpers.redis_server import free_port

NAMES = ("explorer", "gateway", "item", "buyer", "retrieval", "redis")


class Demo:
    """One demo in `folder`; `settings` are fields of DemoSettings."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in NAMES}
        self._environ = {**clean_environ(), "TWOTOWER_DEMO_FOLDER": str(folder)}
        self._environ |= {f"TWOTOWER_DEMO_{name.upper()}_PORT": str(port) for name, port in self.ports.items()}
        self._environ |= {f"TWOTOWER_DEMO_{name.upper()}": str(value) for name, value in settings.items()}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['gateway']}"

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        """Runs `python -m demo COMMAND` and waits until it ends."""
        return subprocess.run(
            [sys.executable, "-m", "demo", command],
            cwd=ROOT,
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
