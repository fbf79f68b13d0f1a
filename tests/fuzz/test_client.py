"""The raw client reads answers as HTTP frames them, and says who hung."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.fuzz import http_client
from tests.fuzz.http_cases import HttpCase
from tests.fuzz.http_client import Outcome, send, statuses

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
LATE = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("received", "is_head", "found"),
    [
        (b"", False, []),
        (OK, False, [200]),
        (OK + LATE, False, [200, 408]),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, False, [100, 200]),
        (OK[:-1], False, []),
        (OK[:20], False, []),
        # an answer to HEAD names the length of a body that does not come
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", True, [200]),
        # a status in a body is none
        (b"HTTP/1.1 400 X\r\nContent-Length: 17\r\n\r\nHTTP/1.1 500 Oops" + OK, False, [400, 200]),
    ],
)
def test_whole_answers_are_told_from_parts(received: bytes, is_head: bool, found: list[int]) -> None:
    assert statuses(received, is_head) == found


@pytest.mark.parametrize(
    ("answer", "closes", "outcome"),
    [
        (OK, False, Outcome([200], False, OK)),
        (b"", True, Outcome([], False, b"")),
        (OK[:-1], True, Outcome([], False, OK[:-1])),
        # it neither answers as a whole nor closes
        (OK[:-1], False, Outcome([], True, OK[:-1])),
    ],
)
async def test_a_connection_without_an_answer_or_an_end_has_hung(
    answer: bytes, closes: bool, outcome: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "HANG_SECONDS", 0.2)

    async def serve(reader: asyncio.StreamReader, writer: Any) -> None:
        writer.write(answer)
        if closes:
            writer.close()
        else:
            await reader.read()  # until the client goes
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        assert await send(server.sockets[0].getsockname()[1], HttpCase("x", (b"GET /",))) == outcome
