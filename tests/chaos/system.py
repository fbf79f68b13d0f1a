"""The whole system as processes of its own on free ports: services in replicas, a Redis with a log of writes, gateway.

Only processes that are started here are signalled, each by its process id.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.helpers.processes import ROOT, clean_environ
from tests.helpers.redis_server import free_port, redis_binary
from tests.helpers.services import serving, until

SERVICES = ("item", "buyer", "retrieval")
# that the versions are for
SHARDS = 2
_START_SECONDS = 60.0


@dataclass(frozen=True)
class Shape:
    """How the system is started.

    `replicas` of the services that have more than one, `absent` names nodes that the fault starts, `environ` are
    settings beside the addresses. `files` is the gateway's soft limit of open files. `has_loader` runs `warm --watch`.
    With `is_sharded`, so many replicas of retrieval hold each shard: those of shard 0 first.
    """

    replicas: Mapping[str, int] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    files: int = 0
    has_loader: bool = False
    is_sharded: bool = False


@dataclass
class Node:
    """One process: how it is started, where it listens, and where its output goes."""

    name: str
    command: list[str]
    environ: dict[str, str]
    port: int
    log: Path
    popen: subprocess.Popen[bytes] | None = None
    # ended by a fault, not by itself
    ended: bool = False

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self.popen is not None, f"{self.name} was never started"
        return self.popen.pid

    def start(self) -> None:
        self.ended = False
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                self.command,
                env={**clean_environ(), "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT), **self.environ},
                # the services' private copies lie in the folder "cache" of the current one
                cwd=self.log.parent,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def send(self, number: signal.Signals) -> None:
        """Sends a signal; SIGKILL and SIGTERM mean that the process is to end."""
        self.ended |= number in (signal.SIGKILL, signal.SIGTERM)
        os.kill(self.pid, number)

    async def wait(self) -> None:
        """Waits until the process has ended."""
        assert self.popen is not None
        await asyncio.to_thread(self.popen.wait, 60)

    def is_running(self) -> bool:
        return self.popen is not None and self.popen.poll() is None

    def memory_mb(self) -> float:
        """The most memory that the process has had resident, MB."""
        line = next(one for one in Path(f"/proc/{self.pid}/status").read_text().splitlines() if "VmHWM" in one)
        return int(line.split()[1]) / 1000

    def end(self) -> None:
        """Ends the process, also a stopped one."""
        if self.popen is not None and self.popen.poll() is None:
            self.popen.kill()
        if self.popen is not None:
            self.popen.wait()


@dataclass
class System:
    """The nodes by name: "redis", and "gateway-0", "retrieval-0", "retrieval-1", ..."""

    artifacts: Path
    nodes: dict[str, Node]

    @property
    def urls(self) -> list[str]:
        """The gateways."""
        return [f"http://{node.address}" for name, node in self.nodes.items() if name.startswith("gateway-")]

    @property
    def redis_url(self) -> str:
        return f"redis://{self.nodes['redis'].address}/0"

    def died(self) -> list[str]:
        """The nodes that have ended although no fault ended them."""
        started = [node for node in self.nodes.values() if node.popen is not None]
        return [node.name for node in started if not node.is_running() and not node.ended]

    def tracebacks(self) -> list[str]:
        """The last line of every traceback in a log, with the node's name."""
        found = []
        for node in self.nodes.values():
            text = node.log.read_text(errors="replace") if node.log.exists() else ""
            # in a JSON line a traceback is one text with escaped ends of lines
            for part in text.split("Traceback (most recent call last)")[1:]:
                lines = part.split('"}')[0].replace("\\n", "\n").splitlines()
                last = next((line for line in lines[1:] if line and not line.startswith(" ")), "?")
                found.append(f"{node.name}: {last[:200]}")
        return found

    async def serves(self, service: str, number: int = 0) -> None:
        """Waits until a replica has loaded a version."""
        await serving(self.nodes[f"{service}-{number}"].address, _START_SECONDS)

    async def is_ready(self, gateway: str) -> None:
        """Waits until a gateway finds nothing degraded."""
        async with httpx.AsyncClient(trust_env=False) as client:
            url = f"http://{self.nodes[gateway].address}/readyz"
            await until(lambda: _status(client, url), lambda status: status == "ready", _START_SECONDS)

    async def redis_answers(self) -> None:
        """Waits until Redis has read its log and answers."""
        port = self.nodes["redis"].port

        async def answers() -> bool:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                return False
            writer.write(b"PING\r\n")
            answer = await reader.read(16)
            writer.close()
            return answer.startswith(b"+PONG")

        await until(answers, seconds=_START_SECONDS)


@asynccontextmanager
async def system(artifacts: Path, folder: Path, shape: Shape | None = None) -> AsyncIterator[System]:
    """Starts everything, loads the histories of the version that CURRENT names, and ends everything.

    `folder` gets the logs and Redis' files.
    """
    shape = shape or Shape()
    nodes = _nodes(artifacts, folder, shape)
    running = System(artifacts, nodes)
    try:
        for node in nodes.values():
            if node.name not in shape.absent:
                node.start()
        await running.redis_answers()
        await warm(running)
        for node in nodes.values():
            if node.popen is not None and node.name.startswith(SERVICES):
                await serving(node.address, _START_SECONDS)
            if node.popen is not None and node.name.startswith("gateway"):
                await running.is_ready(node.name)
        yield running
    finally:
        for node in nodes.values():
            node.end()


async def warm(running: System) -> None:
    """Runs `python -m gateway.warm`."""
    command = ["-m", "gateway.warm", "--artifacts", str(running.artifacts), "--redis", running.redis_url]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=ROOT, env=clean_environ(), stdout=asyncio.subprocess.DEVNULL
    )
    assert await process.wait() == 0


def allow_many_files() -> None:
    """Lets this process open as many files as it may: thousands of connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _status(client: httpx.AsyncClient, url: str) -> str:
    try:
        return str((await client.get(url)).json()["status"])
    except httpx.TransportError:
        return "no answer"


def _nodes(artifacts: Path, folder: Path, shape: Shape) -> dict[str, Node]:
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
    options += ["--appendonly", "yes", "--appendfsync", "everysec"]
    nodes = {"redis": Node("redis", [redis_binary(), *options], {}, port, folder / "redis.log")}
    watch = ["-m", "gateway.warm", "--watch", "--artifacts", str(artifacts), "--redis", f"redis://127.0.0.1:{port}/0"]
    if shape.has_loader:
        nodes["loader"] = Node("loader", [sys.executable, *watch], {}, 0, folder / "loader.log")
    shared = {"TWOTOWER_ARTIFACTS": str(artifacts), **shape.environ}
    gateway = {**shared, "TWOTOWER_GATEWAY_REDIS_URL": f"redis://127.0.0.1:{port}/0"}
    for service in SERVICES:
        replicas = shape.replicas.get(service, 1)
        shards = SHARDS if shape.is_sharded and service == "retrieval" else 1
        ports = [free_port() for _ in range(replicas * shards)]
        gateway[f"TWOTOWER_GATEWAY_{service.upper()}_ADDRESS"] = ";".join(
            "ipv4:" + ",".join(f"127.0.0.1:{one}" for one in ports[first : first + replicas])
            for first in range(0, len(ports), replicas)
        )
        for number, port in enumerate(ports):
            environ = {**shared, f"TWOTOWER_{service.upper()}_PORT": str(port)}
            if shards > 1:
                environ["TWOTOWER_RETRIEVAL_SHARD_INDEX"] = str(number // replicas)
                environ["TWOTOWER_RETRIEVAL_SHARD_COUNT"] = str(shards)
            name, command = f"{service}-{number}", [sys.executable, "-m", f"{service}_service"]
            nodes[name] = Node(name, command, environ, port, folder / f"{name}.log")
    for number in range(shape.replicas.get("gateway", 1)):
        name, port = f"gateway-{number}", free_port()
        command = [sys.executable, "-m", "gateway"]
        if shape.files:
            command = ["sh", "-c", f'ulimit -Sn {shape.files}; exec "$@"', "sh", *command]
        environ = {**gateway, "TWOTOWER_GATEWAY_PORT": str(port)}
        nodes[name] = Node(name, command, environ, port, folder / f"{name}.log")
    return nodes
