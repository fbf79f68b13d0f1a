"""The load client: sends at a fixed rate, whatever the answers do, and judges every answer."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx
import orjson

from tests.chaos.asks import Ask, Asks, mixed, retrieve_written, store
from tests.chaos.judge import Book, Verdict, judge

# an answer that takes longer never comes
HANG_SECONDS = 15.0
# of the requests, those that open a connection of their own: a client that comes new
_FRESH_SHARE = 0.2


@dataclass(frozen=True)
class Event:
    """One request and what came of it. Times are those of the event loop's clock."""

    ask: Ask
    sent: float
    done: float
    verdict: Verdict
    note: str


class Load:
    """Sends `rate` requests a second to gateways in turn.

    `events` holds every request with its verdict, `written` the buyer and product of each write that was acknowledged.
    With `reads_written` some requests ask for such buyers.
    """

    def __init__(self, urls: Sequence[str], book: Book, asks: Asks, rate: float, *, reads_written: bool = True) -> None:
        self.events: list[Event] = []
        self.written: list[tuple[str, str]] = []
        self._urls = list(urls)
        self._turns = itertools.cycle(range(len(urls)))
        self._book, self._asks, self._rate = book, asks, rate
        self._reads_written = reads_written
        self._draw = random.Random(0)
        self._mix = mixed(asks, 0)
        self._created = itertools.count()
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=200, keepalive_expiry=2.0)
        self._client = httpx.AsyncClient(limits=limits, timeout=HANG_SECONDS, trust_env=False)

    async def __aenter__(self) -> Load:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def run(self, seconds: float) -> None:
        """Sends for `seconds`, then waits for the answers."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        async with asyncio.TaskGroup() as group:
            for number in range(round(seconds * self._rate)):
                if (wait := start + number / self._rate - loop.time()) > 0:
                    await asyncio.sleep(wait)
                group.create_task(self._one())

    async def count_lost(self) -> int:
        """Asks for the buyer of every acknowledged write. Returns how many do not get that product's answer."""
        lost = 0
        for place in range(0, len(self.written), 16):
            asks = [retrieve_written(buyer, product) for buyer, product in self.written[place : place + 16]]
            events = await asyncio.gather(*(self._send(ask) for ask in asks))
            lost += sum(event.verdict is not Verdict.RIGHT for event in events)
        return lost

    async def _one(self) -> None:
        ask = next(self._mix)
        if ask is not None:
            self.events.append(await self._send(ask))
        elif not self.written or not self._reads_written or self._draw.random() < 0.7:
            buyer, product = f"w{next(self._created)}", self._draw.choice(self._asks.products)
            event = await self._send(store(buyer, product))
            self.events.append(event)
            if event.verdict is Verdict.RIGHT:
                self.written.append((buyer, product))
        else:
            self.events.append(await self._send(retrieve_written(*self._draw.choice(self.written))))

    async def _send(self, ask: Ask) -> Event:
        loop = asyncio.get_running_loop()
        sent = loop.time()
        try:
            status, answer = await self._ask(ask)
            verdict, note = judge(self._book, ask, status, answer)
        except (httpx.TransportError, ValueError) as error:
            # ValueError: the body is not JSON
            verdict, note = Verdict.FAILED, f"{type(error).__name__}: {error}"
        return Event(ask, sent, loop.time(), verdict, note)

    async def _ask(self, ask: Ask) -> tuple[int, Any]:
        """Status and answer. Raises TransportError if there is none.

        Repeats a request once on a new connection if it went out on one that the gateway has closed, as HTTP clients
        do, and on the next gateway if there is one.
        """
        is_fresh, first = self._draw.random() < _FRESH_SHARE, next(self._turns)
        repeats = max(len(self._urls) - 1, not is_fresh)
        for number in range(repeats):
            try:
                return await self._ask_one(self._urls[(first + number) % len(self._urls)], ask, is_fresh or number > 0)
            except (httpx.NetworkError, httpx.RemoteProtocolError):
                continue
        return await self._ask_one(self._urls[(first + repeats) % len(self._urls)], ask, is_fresh or repeats > 0)

    async def _ask_one(self, url: str, ask: Ask, is_fresh: bool) -> tuple[int, Any]:
        headers = {"Connection": "close"} if is_fresh else {}
        if ask.body:
            headers["Content-Type"] = "application/json"
        response = await self._client.request(ask.method, url + ask.path, content=ask.body, headers=headers)
        return response.status_code, orjson.loads(response.content)
