"""Sends hostile requests to a running system and keeps what should not have happened."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx

from tests.chaos.system import System
from tests.fuzz.grpc_cases import BUYER, ITEM, RETRIEVAL, GrpcCase, grpc_case
from tests.fuzz.http_cases import HttpCase, http_case
from tests.fuzz.http_client import HANG_SECONDS, send

# codes that say that something broke inside, or that nobody thought of the request
_BROKEN_CODES = {grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL, grpc.StatusCode.DATA_LOSS}
# gRPC's client says this, with INTERNAL, if it still writes when the service has ended the call
_CLIENT_WORDS = "Internal error from Core"
_HONEST = (503, 504)
_AT_ONCE = 16
_PROBE = "/retrieve?buyer_id=b0&k=10"
_MAX_SHOWN, _MAX_PROBLEMS = 300, 20
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@dataclass
class Findings:
    """How many requests were sent, how often each outcome came, and up to 20 that should not have happened."""

    requests: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def add(self, outcome: object, problem: str = "") -> None:
        """Counts a request; `problem` says why its outcome is none that may come."""
        self.requests += 1
        self.outcomes[str(outcome)] += 1
        if problem:
            self.report(problem)

    def report(self, problem: str) -> None:
        if len(self.problems) < _MAX_PROBLEMS:
            self.problems.append(problem[:2000])


class Probe:
    """An ordinary request whose answer must stay the same whatever else is sent."""

    def __init__(self, system: System) -> None:
        self._url = system.urls[0] + _PROBE
        self._products: list[str] | None = None

    async def check(self, findings: Findings, after: str) -> None:
        """Reports a problem if there is no answer, or another one than before."""
        try:
            async with httpx.AsyncClient(timeout=HANG_SECONDS, trust_env=False) as client:
                answer = (await client.get(self._url)).json()
        except (httpx.TransportError, ValueError) as error:
            findings.report(f"no answer to an ordinary request after {after}: {error!r}")
            return
        found = answer.get("product_ids")
        self._products = self._products or found
        if not found or found != self._products or answer["warnings"]:
            findings.report(f"another answer to an ordinary request after {after}: {answer}")


async def fuzz_http(system: System, findings: Findings, count: int, seed: int) -> None:
    """Sends `count` hostile HTTP requests to the gateway, with an ordinary one after every 16."""
    draw, probe, port = random.Random(f"http {seed}"), Probe(system), system.nodes["gateway-0"].port
    for start in range(0, count, _AT_ONCE):
        cases = [http_case(draw) for _ in range(min(_AT_ONCE, count - start))]
        await asyncio.gather(*(_send_http(port, case, findings) for case in cases))
        await probe.check(findings, f"HTTP requests from {start}: {[case.name for case in cases]}")


async def fuzz_grpc(system: System, findings: Findings, count: int, seed: int) -> None:
    """Makes `count` hostile calls of the three services, with an ordinary request to the gateway after every 16."""
    draw, probe = random.Random(f"grpc {seed}"), Probe(system)
    options = (("grpc.max_send_message_length", 64 << 20), ("grpc.enable_http_proxy", 0))
    channels = {
        full_name: grpc.aio.insecure_channel(system.nodes[f"{service}-0"].address, options)
        for service, full_name in (("retrieval", RETRIEVAL), ("buyer", BUYER), ("item", ITEM))
    }
    for start in range(0, count, _AT_ONCE):
        cases = [grpc_case(draw) for _ in range(min(_AT_ONCE, count - start))]
        await asyncio.gather(*(_call(channels[case.service], case, findings) for case in cases))
        await probe.check(findings, f"gRPC calls from {start}: {[case.method for case in cases]}")
    await asyncio.gather(*(channel.close() for channel in channels.values()))


async def fuzz_ports(system: System, findings: Findings, count: int, seed: int) -> None:
    """Sends `count` times HTTP/2 frames that make no sense, or noise, to the ports of the services."""
    draw, probe = random.Random(f"ports {seed}"), Probe(system)
    ports = [node.port for name, node in system.nodes.items() if name.startswith(("item", "buyer", "retrieval"))]
    for start in range(0, count, _AT_ONCE):
        size = min(_AT_ONCE, count - start)
        cases = [HttpCase("frames", (_frames(draw),), closes=True) for _ in range(size)]
        await asyncio.gather(*(_send_http(draw.choice(ports), case, findings) for case in cases))
    await probe.check(findings, "frames to the services' ports")


async def _send_http(port: int, case: HttpCase, findings: Findings) -> None:
    try:
        outcome = await send(port, case)
    except OSError as error:
        findings.add(type(error).__name__, f"no connection for {case.name}: {error!r}")
        return
    broken = [status for status in outcome.statuses if status >= 500 and status not in _HONEST]
    shown = f"{case.name}: {_short(case.parts)} -> {outcome.received[:_MAX_SHOWN]!r}"
    problem = f"status {broken[0]} for {shown}" if broken else f"hung: {shown}" if outcome.hung else ""
    findings.add(outcome.statuses[-1] if outcome.statuses else "closed" if case.reads else "not read", problem)


async def _call(channel: Any, case: GrpcCase, findings: Findings) -> None:
    path, metadata = f"/{case.service}/{case.method}", (("x-request-id", case.request_id),)
    try:
        async with asyncio.timeout(HANG_SECONDS):
            if case.is_stream:
                call = channel.stream_stream(path)(timeout=case.timeout, metadata=metadata)
                await _exchange(call, case.messages)
            else:
                call = channel.unary_unary(path)(case.messages[0], timeout=case.timeout, metadata=metadata)
            code, details = await call.code(), await call.details() or ""
    except TimeoutError:
        findings.add("hung", f"hung: {path} {_short(case.messages)}")
        return
    words = f"{code.name} {details!r} for {path} {_short(case.messages)}"
    is_broken = code in _BROKEN_CODES and details != _CLIENT_WORDS
    findings.add(code.name, words if is_broken or "Traceback" in details or "Error:" in details else "")


async def _exchange(call: Any, messages: Sequence[bytes]) -> None:
    """Waits for the answer to each message before the next one is sent; cancels a call that has not ended then."""
    # the code of the call says how it ended
    with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
        for message in messages:
            await call.write(message)
            if await call.read() is grpc.aio.EOF:
                return
    call.cancel()


def _frames(draw: random.Random) -> bytes:
    return draw.choice((_PREFACE, _PREFACE, b"")) + b"".join(_frame(draw) for _ in range(draw.randint(0, 5)))


def _frame(draw: random.Random) -> bytes:
    """An HTTP/2 frame of any type, whose length may be a lie."""
    body = draw.randbytes(draw.choice((0, 4, 5, 8, 100)))
    length = draw.choice((len(body), len(body), 0, 2**24 - 1))
    stream = draw.choice((0, 1, 2, 2**31 - 1))
    return length.to_bytes(3) + bytes((draw.randrange(12), draw.randrange(256))) + stream.to_bytes(4) + body


def _short(parts: Sequence[bytes]) -> str:
    return " + ".join(repr(part[:_MAX_SHOWN]) for part in parts[:3])
