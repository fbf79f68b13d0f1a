"""The faults, each a function that breaks one thing in a running system, and mends it if the row says so."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
from redis.asyncio import Redis

from tests.chaos.system import System
from tests.chaos.world import copy_version
from tests.helpers.tiny_version import NOON, publish_version
from twotower.artifact.layout import Layout, VersionLayout
from twotower.artifact.pointer import Pointer

_FULL_BODY = 1 << 20


@dataclass
class Scene:
    """A running system under load, when it was broken and mended, and what else a fault measures.

    `bystanders` count the answers to requests that are part of the fault: status, or the kind of error -> how many.
    """

    system: System
    broken: float = 0.0
    mended: float = 0.0
    bystanders: dict[str, int] = field(default_factory=dict)

    def breaks(self) -> None:
        self.broken = asyncio.get_running_loop().time()

    def mends(self) -> None:
        self.mended = asyncio.get_running_loop().time()

    def count(self, outcome: object) -> None:
        self.bystanders[str(outcome)] = self.bystanders.get(str(outcome), 0) + 1


Fault = Callable[[Scene], Awaitable[None]]


async def nothing(scene: Scene) -> None:
    """No fault at all."""


def send(number: signal.Signals, name: str) -> Fault:
    """Sends a signal to one node."""

    async def fault(scene: Scene) -> None:
        scene.breaks()
        scene.system.nodes[name].send(number)

    return fault


def start(name: str) -> Fault:
    """Starts a node that did not run."""

    async def fault(scene: Scene) -> None:
        scene.breaks()
        scene.system.nodes[name].start()

    return fault


def pause(name: str, seconds: float) -> Fault:
    """Stops a node with SIGSTOP for a while."""

    async def fault(scene: Scene) -> None:
        node = scene.system.nodes[name]
        with _mending(scene):
            node.send(signal.SIGSTOP)
            await asyncio.sleep(seconds)
            node.send(signal.SIGCONT)

    return fault


def replace_all(service: str, numbers: Sequence[int] = (0,)) -> Fault:
    """Kills all replicas of a service, or of a shard, starts them two seconds later, and waits until they have loaded a
    version.
    """

    async def fault(scene: Scene) -> None:
        nodes = [scene.system.nodes[f"{service}-{number}"] for number in numbers]
        with _mending(scene):
            for node in nodes:
                node.send(signal.SIGKILL)
            for node in nodes:
                await node.wait()
            await asyncio.sleep(2)
            for node in nodes:
                node.start()
            for number in numbers:
                await scene.system.serves(service, number)

    return fault


async def restart_redis(scene: Scene) -> None:
    """Kills Redis and starts it again two seconds later."""
    node = scene.system.nodes["redis"]
    with _mending(scene):
        node.send(signal.SIGKILL)
        await node.wait()
        await asyncio.sleep(2)
        node.start()
        await scene.system.redis_answers()


async def empty_redis(scene: Scene) -> None:
    """All data of Redis are gone."""
    async with Redis.from_url(scene.system.redis_url) as redis:
        with _mending(scene):
            await redis.flushall()


async def fill_redis(scene: Scene) -> None:
    """Redis has no memory left for four seconds."""
    async with Redis.from_url(scene.system.redis_url) as redis:
        with _mending(scene):
            await redis.config_set("maxmemory", 1)
            await asyncio.sleep(4)
            await redis.config_set("maxmemory", 0)


async def remove_artifacts(scene: Scene) -> None:
    """The artifact folder is away for five seconds."""
    here = scene.system.artifacts
    away = here.with_name("away")
    with _mending(scene):
        here.rename(away)
        await asyncio.sleep(5)
        away.rename(here)


def publish(names: str, pause: float) -> Fault:
    """Publishes one version after the other."""

    async def fault(scene: Scene) -> None:
        scene.breaks()
        for name in names:
            await asyncio.to_thread(publish_version, scene.system.artifacts, name)
            await asyncio.sleep(pause)

    return fault


def publish_beside(name: str, version: str, seconds: float) -> Fault:
    """Publishes a version while a node is stopped; it goes on after so many seconds, and changes later than others."""

    async def fault(scene: Scene) -> None:
        node = scene.system.nodes[name]
        with _mending(scene):
            node.send(signal.SIGSTOP)
            await asyncio.to_thread(publish_version, scene.system.artifacts, version)
            await asyncio.sleep(seconds)
            node.send(signal.SIGCONT)

    return fault


async def corrupt_versions(scene: Scene) -> None:
    """CURRENT names one version after the other, each with another damaged file, and then a whole one.

    Damage is in turn: a changed byte, a file cut in half, an empty file.
    """
    artifacts = scene.system.artifacts
    damages = (_change_byte, _cut, _empty)
    pointers = []
    for number, file in enumerate(_opened(artifacts, "b")):
        name = f"b.{number}"
        pointers.append(await asyncio.to_thread(copy_version, artifacts, "b", name))
        damages[number % 3](Layout(artifacts).version(name).root / file)
    scene.breaks()
    for pointer in pointers:
        _point(artifacts, pointer)
        await asyncio.sleep(2.3)
    await asyncio.to_thread(publish_version, artifacts, "c")


def spoil_in_place(damage: Callable[[Path], None]) -> Fault:
    """Damages every file of the served version in place, and writes the old bytes back after eight seconds."""

    async def fault(scene: Scene) -> None:
        folder = Layout(scene.system.artifacts).version("a").root
        files = [folder / name for name in _opened(scene.system.artifacts, "a")]
        contents = {path: path.read_bytes() for path in files}
        with _mending(scene):
            for path in files:
                damage(path)
            await asyncio.sleep(8)
            for path, content in contents.items():
                _write_in_place(path, content)

    return fault


async def start_on_damaged(scene: Scene) -> None:
    """The only retrieval replica starts on a damaged version, without another one, and it is repaired after 4 s."""
    node, path = scene.system.nodes["retrieval-0"], Layout(scene.system.artifacts).version("a").embeddings
    content = path.read_bytes()
    with _mending(scene):
        node.send(signal.SIGKILL)
        await node.wait()
        _empty(path)
        # PREVIOUS would do, and so would a private copy
        Layout(scene.system.artifacts).previous.unlink()
        for copy in node.log.parent.glob(f"cache/*/{path.name}"):
            copy.unlink()
        node.start()
        await asyncio.sleep(4)
        _write_in_place(path, content)


def expensive_lists(rate: float, seconds: float) -> Fault:
    """Asks for 1,000 diverse products, `rate` times a second."""
    return partial(_send_beside, "GET", "/retrieve?buyer_id=b0&k=1000&diversity=1", "", rate, seconds)


def expensive_bodies(rate: float, seconds: float) -> Fault:
    """Sends 5,000 interactions, `rate` times a second."""
    rows = [
        {"product_id": f"p{number}", "event_type": "View", "timestamp": str(NOON - number)} for number in range(5000)
    ]
    body = json.dumps({"buyer_id": "many", "recent_interactions": rows})
    return partial(_send_beside, "POST", "/encode_buyer", body, rate, seconds)


async def _send_beside(method: str, path: str, body: str, rate: float, seconds: float, scene: Scene) -> None:
    headers = {"Content-Type": "application/json"} if body else {}
    content = body.encode()

    async def ask(client: httpx.AsyncClient) -> None:
        try:
            response = await client.request(method, scene.system.urls[0] + path, content=content, headers=headers)
            honest = response.status_code != 503 or "retry-after" in response.headers
            scene.count(response.status_code if honest else "503 without Retry-After")
        except httpx.TransportError as error:
            scene.count(type(error).__name__)

    limits = httpx.Limits(max_connections=None, keepalive_expiry=2.0)
    async with httpx.AsyncClient(limits=limits, timeout=15, trust_env=False) as client, asyncio.TaskGroup() as group:
        with _mending(scene):
            for _ in range(round(rate * seconds)):
                group.create_task(ask(client))
                await asyncio.sleep(1 / rate)


async def slow_bodies(scene: Scene) -> None:
    """Opens 700 connections that each send a body of 1 MiB but for its last 22 bytes, then wait; twice."""
    head = (
        "POST /encode_buyer HTTP/1.1\r\nHost: chaos\r\nContent-Type: application/json\r\n"
        f"Content-Length: {_FULL_BODY}\r\n\r\n"
    )
    data = head.encode() + b" " * (_FULL_BODY - 22)
    with _mending(scene):
        for _ in range(2):
            await asyncio.gather(*(_hold_open(scene, data, 8) for _ in range(700)))


async def half_heads(scene: Scene) -> None:
    """Opens 1,500 connections whose head never ends; twice."""
    data = b"GET /healthz HTTP/1.1\r\nHost: chaos\r\nX: "
    with _mending(scene):
        for _ in range(2):
            await asyncio.gather(*(_hold_open(scene, data, 8) for _ in range(1500)))


async def _hold_open(scene: Scene, data: bytes, seconds: float) -> None:
    """Sends a part of a request and waits for whatever comes."""
    node = scene.system.nodes["gateway-0"]
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
            try:
                writer.write(data)
                await writer.drain()
                answer = await reader.read(100)
                scene.count(answer[9:12].decode(errors="replace") if answer else "closed")
            finally:
                writer.transport.abort()
    except TimeoutError:
        scene.count("open")
    except OSError as error:
        scene.count(type(error).__name__)


@contextmanager
def _mending(scene: Scene) -> Iterator[None]:
    scene.breaks()
    yield
    scene.mends()


def _opened(artifacts: Path, name: str) -> list[str]:
    """The files of a version that a service reads while it serves."""
    files: VersionLayout = Layout(artifacts).version(name)
    others = {files.config, files.metrics, files.weights, files.recent, files.report, files.rejects}
    return sorted(path.name for path in files.root.iterdir() if path not in others)


def _point(artifacts: Path, pointer: Pointer) -> None:
    """Names a version in CURRENT without a look at its files."""
    temporary = artifacts / "CURRENT.new"
    temporary.write_text(f"{pointer.version} {pointer.manifest_sha256}\n")
    temporary.replace(artifacts / "CURRENT")


def cut_in_place(path: Path) -> None:
    """Cuts a file in half."""
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def zero_in_place(path: Path) -> None:
    """Overwrites a file with zeros."""
    _write_in_place(path, bytes(path.stat().st_size))


def _write_in_place(path: Path, content: bytes) -> None:
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()


def _change_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def _cut(path: Path) -> None:
    cut_in_place(path)


def _empty(path: Path) -> None:
    path.write_bytes(b"")
