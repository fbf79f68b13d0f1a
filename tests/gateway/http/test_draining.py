"""A gateway that starts or ends shows to no client that can ask another gateway or worker."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from gateway.http import draining
from gateway.http.draining import bind
from gateway.http.server import make_server
from gateway.settings import GatewaySettings
from tests.gateway.http.test_process import started
from tests.helpers.services import until

REQUEST = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


class Application:
    """Answers every request with 200; its lifespan begins with `may_begin`, its answers wait for `may_answer`."""

    def __init__(self) -> None:
        self.may_begin, self.may_answer, self.asked = asyncio.Event(), asyncio.Event(), 0
        self.may_answer.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await self.may_begin.wait()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.asked += 1
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


class Server:
    """A server of an `Application`; `end` asks it to end."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self._bound = bind("127.0.0.1", 0)
        self.port = self._bound.getsockname()[1]
        self._server = make_server(application, GatewaySettings())
        self.task = asyncio.create_task(self._server.serve(sockets=[self._bound]))

    def end(self) -> None:
        self._server.should_exit = True

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def refuses(self) -> bool:
        try:
            _, writer = await self.connect()
        except ConnectionRefusedError:
            return True
        writer.close()
        return False


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server(Application())
    server.application.may_begin.set()
    await until(server.refuses, lambda refused: not refused)
    try:
        yield server
    finally:
        server.application.may_answer.set()
        server.end()
        await server.task


async def answer(reader: asyncio.StreamReader) -> str:
    """The head of an answer to `REQUEST`, whose body is read too."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    assert await reader.readexactly(2) == b"ok"
    return head.decode()


async def test_no_connection_is_accepted_before_the_lifespan_has_begun() -> None:
    server = Server(Application())
    for _ in range(20):
        await asyncio.sleep(0)
    assert await server.refuses()
    server.application.may_begin.set()
    await until(server.refuses, lambda refused: not refused)
    server.end()
    await server.task


async def test_an_idle_connection_may_send_a_request_while_the_server_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "LINGER_SECONDS", 60.0)
    async with serving() as server:
        reader, writer = await server.connect()
        writer.write(REQUEST)
        assert "connection: close" not in await answer(reader)
        server.end()
        await until(server.refuses)
        writer.write(REQUEST)
        assert "connection: close" in await answer(reader)
        assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()


async def test_an_idle_connection_that_sends_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "LINGER_SECONDS", 0.05)
    async with serving() as server:
        reader, writer = await server.connect()
        server.end()
        assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()


async def test_a_request_under_way_is_answered_and_closes_its_connection() -> None:
    async with serving() as server:
        server.application.may_answer.clear()
        reader, writer = await server.connect()
        writer.write(REQUEST)
        await until(lambda: server.application.asked)
        server.end()
        await until(server.refuses)
        server.application.may_answer.set()
        assert "connection: close" in await answer(reader)
        writer.close()


async def test_connections_in_the_queue_of_a_server_that_ends_are_answered() -> None:
    async with serving() as server:
        with ExitStack() as stack:
            waiting = [stack.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(50)]
            for one in waiting:
                one.sendall(REQUEST)
            # nothing of this has been read yet: the loop has not run
            server.end()
            answers = await asyncio.to_thread(lambda: [one.recv(12) for one in waiting])
    assert answers == [b"HTTP/1.1 200"] * 50


# the second worker that starts waits in its imports for longer than the test runs
SLOW_SECOND = """
import os, sys, time
if "--worker" in sys.orig_argv:
    try:
        os.mkdir({marker!r})
    except FileExistsError:
        time.sleep(120)
"""


def test_a_worker_that_starts_slowly_gets_no_connection(tmp_path: Path) -> None:
    marker = str(tmp_path / "first")
    (tmp_path / "sitecustomize.py").write_text(SLOW_SECOND.format(marker=marker))
    environ = {"TWOTOWER_GATEWAY_WORKERS": "2", "PYTHONPATH": str(tmp_path), "TWOTOWER_GATEWAY_DRAIN_SECONDS": "0"}
    with started(**environ) as (running, address):
        for _ in range(40):
            # a connection each: half of them would go to a worker that listens before it can answer
            assert httpx.get(f"{address}/healthz", trust_env=False, timeout=30).status_code == 200
        running.popen.send_signal(signal.SIGTERM)
        assert running.finish() == 0


class Failover:
    """A client of two gateways, which asks the second one if the first refuses the connection. No other failure is
    forgiven."""

    def __init__(self, addresses: list[str]) -> None:
        self._clients = [httpx.AsyncClient(base_url=one, trust_env=False, timeout=30) for one in addresses]
        self.answers: Counter[str] = Counter()

    async def ask(self) -> None:
        for number, client in enumerate(self._clients):
            try:
                answer = await client.get("/healthz")
            except httpx.ConnectError:
                continue
            except httpx.TransportError as error:
                self.answers[repr(error)] += 1
                return
            self.answers[f"{number}: {answer.status_code}"] += 1
            return
        self.answers["nobody"] += 1

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()


async def test_the_parent_of_the_workers_is_killed_and_another_gateway_takes_over() -> None:
    with started(TWOTOWER_GATEWAY_WORKERS="2") as (first, one), started() as (_, other):
        client = Failover([one, other])
        asking = set[asyncio.Task[None]]()
        for number in range(150):
            if number == 50:
                first.popen.send_signal(signal.SIGKILL)
            asking.add(asyncio.create_task(client.ask()))
            await asyncio.sleep(0.01)
        await asyncio.gather(*asking)
        await client.close()
        assert await asyncio.to_thread(first.finish) == -signal.SIGKILL
    assert client.answers["0: 200"] + client.answers["1: 200"] == 150, client.answers
    assert client.answers["1: 200"]
