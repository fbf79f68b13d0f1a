"""Sends hostile requests over raw sockets and reads what comes back."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import NamedTuple

from tests.fuzz.http_cases import HttpCase

# longer than the gateway's limits for a head and a body together: five seconds each
HANG_SECONDS = 15.0
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3}) ")
_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)", re.IGNORECASE)


class Outcome(NamedTuple):
    """The statuses of all answers on one connection; `hung`: no whole answer came, and it was not closed."""

    statuses: list[int]
    hung: bool
    received: bytes


async def send(port: int, case: HttpCase) -> Outcome:
    """Sends a case on a connection of its own, and waits for an answer or the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received, hung = b"", False
    try:
        # the gateway may close before it has read everything
        with suppress(OSError):
            for part in case.parts:
                writer.write(part)
                await writer.drain()
            if case.closes:
                writer.write_eof()
        if case.reads:
            received, hung = await _read(reader, case)
    finally:
        writer.transport.abort()
    return Outcome(statuses(received, case.is_head), hung, received)


async def _read(reader: asyncio.StreamReader, case: HttpCase) -> tuple[bytes, bool]:
    """What arrives until the connection ends, or until one whole answer if the case keeps its side open."""
    received = b""
    try:
        async with asyncio.timeout(HANG_SECONDS):
            while part := await reader.read(1 << 16):
                received += part
                if not case.closes and any(status >= 200 for status in statuses(received, case.is_head)):
                    return received, False
    except TimeoutError:
        return received, True
    except OSError:
        pass  # a reset ends the connection like a close
    return received, False


def statuses(received: bytes, is_head: bool) -> list[int]:
    """The statuses of the whole answers in some bytes. 1xx are among them."""
    found = []
    while match := _STATUS.match(received):
        end = received.find(b"\r\n\r\n")
        if end < 0:
            break
        status, length = int(match[1]), _LENGTH.search(received[:end])
        has_body = length is not None and not is_head and status >= 200 and status not in (204, 304)
        stop = end + 4 + (int(length[1]) if length is not None and has_body else 0)
        if len(received) < stop:
            break
        found.append(status)
        received = received[stop:]
    return found
