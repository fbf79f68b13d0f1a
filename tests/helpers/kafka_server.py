"""A Kafka for tests: librdkafka's mock brokers, which speak Kafka's protocol on a port of this machine.

In front of a broker may stand a listener with TLS and with SASL/PLAIN, which the mock brokers do not have.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import Producer

_HOST = "127.0.0.1"
# api keys of requests
_HANDSHAKE, _VERSIONS, _AUTHENTICATE = 17, 18, 36
_ILLEGAL_STATE, _REFUSED = 34, 58


@contextmanager
def kafka_broker() -> Iterator[str]:
    """`host:port` of a broker that creates topics when they are first named, each with four partitions."""
    # the brokers live as long as this client
    client = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 3})
    (broker,) = client.list_topics(timeout=10).brokers.values()
    yield f"{broker.host}:{broker.port}"


class Account(NamedTuple):
    """Who may use a listener with SASL/PLAIN."""

    username: str
    password: str


@contextmanager
def kafka_listener(
    broker: str, tls: Path | None = None, account: Account | None = None, client_certificate: bool = False
) -> Iterator[str]:
    """`host:port` of a listener in front of a broker; `tls` is a folder with tls.crt, tls.key and ca.crt."""
    context = None
    if tls is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tls / "ca.crt"))
        context.load_cert_chain(tls / "tls.crt", tls / "tls.key")
        context.verify_mode = ssl.CERT_REQUIRED if client_certificate else ssl.CERT_NONE
    listener = _Listener(int(broker.rpartition(":")[2]), account)
    thread = threading.Thread(target=lambda: asyncio.run(listener.run(context)))
    thread.start()
    listener.is_open.wait()
    try:
        yield f"{_HOST}:{listener.port}"
    finally:
        listener.loop.call_soon_threadsafe(listener.leave)
        thread.join()


class _Listener:
    def __init__(self, broker: int, account: Account | None) -> None:
        self._broker = broker
        self._account = account
        self.port = 0
        self.is_open = threading.Event()

    async def run(self, context: ssl.SSLContext | None) -> None:
        """Listens until `leave` is called in its loop; connections end with it."""
        left = asyncio.Event()
        self.loop, self.leave = asyncio.get_running_loop(), left.set
        open_ones: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            open_ones.add(asyncio.create_task(self._serve(reader, writer)))

        server = await asyncio.start_server(accept, _HOST, 0, ssl=context)
        self.port = server.sockets[0].getsockname()[1]
        self.is_open.set()
        await left.wait()
        for one in open_ones:
            one.cancel()
        await asyncio.gather(*open_ones, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection(_HOST, self._broker)
        try:
            if self._account is not None:
                await self._let_in(reader, writer, inner_reader, inner_writer)
            await asyncio.gather(self._pass(reader, inner_writer), self._pass(inner_reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # one side has closed the connection, as clients do
        finally:
            inner_writer.close()
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Passes messages on. Brokers say where they are: in answers that becomes the address of this listener."""
        old, new = (_HOST.encode() + port.to_bytes(4) for port in (self._broker, self.port))
        try:
            while True:
                await _send(writer, (await _receive(reader)).replace(old, new))
        finally:
            writer.close()

    async def _let_in(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        inner_reader: asyncio.StreamReader,
        inner_writer: asyncio.StreamWriter,
    ) -> None:
        """Returns once the client has named the account. Raises ConnectionError after a wrong one."""
        assert self._account is not None
        while True:
            request = await _receive(reader)
            key, correlation = int.from_bytes(request[:2]), request[4:8]
            if key == _VERSIONS:
                await _send(inner_writer, request)
                await _send(writer, _with_sasl(await _receive(inner_reader)))
            elif key == _HANDSHAKE:
                name = b"PLAIN"
                await _send(writer, correlation + _int16(0) + (1).to_bytes(4) + _int16(len(name)) + name)
            elif key == _AUTHENTICATE:
                right = request.endswith(f"\0{self._account.username}\0{self._account.password}".encode())
                await _send(writer, correlation + _int16(0 if right else _REFUSED) + _int16(0) + bytes(4))
                if right:
                    return
                raise ConnectionError
            else:
                await _send(writer, correlation + _int16(_ILLEGAL_STATE))
                raise ConnectionError


def _with_sasl(versions: bytes) -> bytes:
    """The answer (version 0) that lists the requests of a broker, with those of SASL."""
    begin, count, known = versions[:6], int.from_bytes(versions[6:10]), versions[10:]
    added = b"".join(_int16(key) + _int16(0) + _int16(newest) for key, newest in ((_HANDSHAKE, 1), (_AUTHENTICATE, 0)))
    return begin + (count + 2).to_bytes(4) + known + added


async def _receive(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(int.from_bytes(await reader.readexactly(4)))


async def _send(writer: asyncio.StreamWriter, message: bytes) -> None:
    writer.write(len(message).to_bytes(4) + message)
    await writer.drain()


def _int16(value: int) -> bytes:
    return value.to_bytes(2)
