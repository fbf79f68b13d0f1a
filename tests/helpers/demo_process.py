"""`python -m demo` on free ports in a folder of its own, as `make demo` runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.helpers.redis_server import free_port

ROOT = Path(__file__).resolve().parents[2]


NAMES = ("gateway", "item", "buyer", "retrieval", "redis")


class Demo:
    """One demo: its folder, its ports, and the commands on it."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in NAMES}
        self._environ = {name: value for name, value in os.environ.items() if not name.startswith("TWOTOWER_")}
        self._environ["TWOTOWER_DEMO_FOLDER"] = str(folder)
        self._environ |= {f"TWOTOWER_DEMO_{name.upper()}_PORT": str(port) for name, port in self.ports.items()}
        self._environ |= {f"TWOTOWER_DEMO_{name.upper()}": str(value) for name, value in settings.items()}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['gateway']}"

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    def __call__(self, command: str) -> subprocess.CompletedProcess[str]:
        """Runs `python -m demo COMMAND` to its end."""
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
