"""Connections that send too little, too slowly or too much, to a gateway in a process of its own."""

from __future__ import annotations

import json
import resource
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from gateway.http.connections import needed_files
from tests.gateway.http.test_process import ENVIRON, started
from tests.helpers.processes import Process, process

HEAD = b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
HALF_HEAD = b"GET / HTTP/1.1\r\nX: "
JSON_POST = "POST /interactions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


class Gateway:
    """A gateway process, and plain sockets to it."""

    def __init__(self, running: Process, address: str, stack: ExitStack) -> None:
        self.running = running
        self.address = address
        self._port = int(address.rpartition(":")[2])
        self._stack = stack

    def connect(self, data: bytes = b"") -> socket.socket:
        connection = self._stack.enter_context(socket.create_connection(("127.0.0.1", self._port), timeout=30))
        connection.sendall(data)
        return connection

    def answers(self) -> bool:
        """Whether a new connection gets its answer."""
        connection = self.connect(HEAD + b"Connection: close\r\n\r\n")
        return read(connection).startswith(b"HTTP/1.1 200")

    def finish(self) -> list[dict[str, object]]:
        """Ends the process. Returns what it has logged, but for its start, its end and the state of Redis."""
        self.running.popen.send_signal(signal.SIGTERM)
        assert self.running.finish() == 0
        lines = [json.loads(line) for line in self.running.lines]
        ours = ("listening", "stopped")
        return [one for one in lines if one["message"] not in ours and one["logger"] != "gateway.history.breaker"]


@contextmanager
def serving(**settings: object) -> Iterator[Gateway]:
    environ = {f"TWOTOWER_GATEWAY_{name.upper()}": str(value) for name, value in settings.items()}
    with ExitStack() as stack:
        running, address = stack.enter_context(started(**environ))
        yield Gateway(running, address, stack)


def read(connection: socket.socket) -> bytes:
    """All that comes until the connection ends, however it ends."""
    data = b""
    try:
        while part := connection.recv(65_536):
            data += part
    except ConnectionResetError:
        pass
    return data


def exchange(connection: socket.socket) -> None:
    """One request and its whole answer."""
    connection.sendall(HEAD + b"\r\n")
    data = b""
    while not data.endswith(b'{"status":"alive"}'):
        part = connection.recv(65_536)
        assert part, data
        data += part


def memory_mb(pid: int, name: str) -> int:
    """VmRSS: the memory of a process now. VmHWM: its maximum so far."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) // 1024


def test_half_heads_keep_nobody_out_and_end_in_time() -> None:
    """S5_half_heads of the attacks: more of them than there may be connections."""
    with serving(max_connections=40, head_timeout_seconds=1) as gateway:
        idle = gateway.connect()
        exchange(idle)
        halves = [gateway.connect(HALF_HEAD) for _ in range(100)]
        assert all(gateway.answers() for _ in range(20))
        # those that had to make room get nothing, the others a 408 when their time is over
        endings = [read(half) for half in halves]
        late = [ending for ending in endings if ending]
        assert 0 < len(late) < 40
        assert all(ending.startswith(b"HTTP/1.1 408") and b'"status":408' in ending for ending in late)
        assert endings[0] == b"" and endings[-1]
        # one that served a request is the last to make room
        exchange(idle)
        assert {line["status"] for line in gateway.finish()} == {200}


def test_a_new_connection_takes_the_place_of_the_one_that_has_been_idle_longest() -> None:
    with serving(max_connections=5) as gateway:
        idle = [gateway.connect() for _ in range(5)]
        for connection in idle:
            exchange(connection)
            # the server's clock counts milliseconds
            time.sleep(0.01)
        exchange(idle[0])
        assert gateway.answers()
        for connection in (idle[0], *idle[2:]):
            exchange(connection)
        assert read(idle[1]) == b""


@pytest.mark.parametrize("drop", [b"x", b"\r\n"], ids=["header", "empty lines"])
@pytest.mark.parametrize("is_first", [True, False], ids=["first request", "second request"])
def test_a_head_that_comes_by_drops_ends_in_time(drop: bytes, is_first: bool) -> None:
    with serving(head_timeout_seconds=0.5) as gateway:
        connection = gateway.connect()
        if not is_first:
            exchange(connection)
        if drop == b"x":
            connection.sendall(HALF_HEAD)
        answer = drip(connection, drop)
    # a reset may overtake the 408, because drops are still on their way
    assert answer == b"" or (drop == b"x" and answer.startswith(b"HTTP/1.1 408"))


def drip(connection: socket.socket, drop: bytes) -> bytes:
    """Sends a drop again and again until an answer comes or the connection ends. Returns the answer."""
    connection.settimeout(0.05)
    for _ in range(600):
        try:
            connection.sendall(drop)
            return connection.recv(65_536)
        except TimeoutError:
            continue
        except OSError:
            return b""
    pytest.fail("the connection is still open")


def test_the_rest_of_a_refused_body_ends_in_time() -> None:
    with serving(head_timeout_seconds=0.5) as gateway:
        connection = gateway.connect(f"{JSON_POST}Content-Length: 9000000\r\n\r\n".encode())
        data = b""
        while not data.endswith(b"}"):
            data += connection.recv(65_536)
        assert data.startswith(b"HTTP/1.1 413")
        assert drip(connection, b" ") == b""


def test_slow_bodies_take_bounded_memory_and_keep_nobody_out() -> None:
    """S4_oom of the attacks: 700 bodies of 1 MiB less 22 bytes whose end does not come."""
    size = 1 << 20
    with serving(body_timeout_seconds=60, drain_seconds=0, max_bodies_mb=16) as gateway:
        assert gateway.answers()
        pid = gateway.running.popen.pid
        before = memory_mb(pid, "VmRSS")
        refused = 0
        slow = []
        for _ in range(700):
            connection = gateway.connect(f"{JSON_POST}Content-Length: {size}\r\n\r\n".encode())
            connection.settimeout(0.02 if len(slow) < 16 else 30)
            try:
                refused += connection.recv(65_536).startswith(b"HTTP/1.1 503")
            except TimeoutError:
                slow.append(connection)
            connection.settimeout(30)
            connection.sendall(b" " * (size - 22))
        # sixteen have room; none of the others has to send its body to hear that it has none
        assert (len(slow), refused) == (16, 684)
        assert memory_mb(pid, "VmHWM") < before + 100
        with httpx.Client(base_url=gateway.address, trust_env=False) as client:
            for _ in range(20):
                row = {"buyer_id": "b", "product_id": "p", "event_type": "View", "timestamp": 1_760_000_000_000}
                stored = client.post("/interactions", json=row)
                # there is no Redis, and that is what the answer says
                assert (stored.status_code, stored.json()["type"]) == (503, "urn:twotower:unavailable")
        gateway.running.popen.kill()


def test_pipelined_requests_that_end_with_a_close_log_nothing_but_themselves() -> None:
    """S8_pipelined.bin of the attacks, and more that need an answer of a service that is not there."""
    row = b'{"buyer_id":"u","product_id":"p","event_type":"View","timestamp":1760000000000}'
    post = f"{JSON_POST}Content-Length: {len(row)}\r\n\r\n".encode() + row
    kinds = (HEAD + b"\r\n", b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n", post, b"GET /docs HTTP/1.1\r\nHost: a\r\n\r\n")
    with serving() as gateway:
        for kind in kinds:
            for number in range(20):
                connection = gateway.connect(kind * 7)
                if number % 2:
                    # a reset instead of an orderly end
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if number % 4 > 1:
                    connection.recv(10)
                connection.close()
        assert gateway.answers()
        lines = gateway.finish()
    assert {line["level"] for line in lines} == {"INFO"}
    assert {line["logger"] for line in lines} <= {"gateway.access", "gateway.health", "twotower.serving.status"}


def test_more_pipelined_requests_than_anybody_needs_are_refused() -> None:
    with serving() as gateway:
        connection = gateway.connect((HEAD + b"\r\n") * 16)
        data = b""
        while data.count(b'{"status":"alive"}') < 16:
            data += connection.recv(65_536)
        refused = read(gateway.connect((HEAD + b"\r\n") * 5000))
        assert b"HTTP/1.1 400" in refused and b"more than 16 requests wait for an answer" in refused
        assert refused.count(b"HTTP/1.1") < 20


def test_one_request_takes_bounded_space_in_the_log() -> None:
    path = "/" + "%0A" * 18_000
    with serving() as gateway:
        response = httpx.get(f"{gateway.address}{path}", headers={"X-Request-ID": "r" * 128}, trust_env=False)
        assert response.status_code == 404
        assert len(response.content) < 1_000_000
        (line,) = gateway.finish()
    assert line["path"] == "/" + "\n" * 199
    assert max(map(len, gateway.running.lines)) < 2000


def test_the_log_names_no_buyer_of_a_path() -> None:
    with serving() as gateway:
        response = httpx.delete(f"{gateway.address}/buyers/leila%2F7", trust_env=False)
        assert response.status_code == 501
        (line,) = gateway.finish()
    assert (line["method"], line["path"]) == ("DELETE", "/buyers/{buyer_id}")
    assert "leila" not in "".join(gateway.running.lines)


def test_readiness_names_no_internal_address() -> None:
    with serving() as gateway:
        response = httpx.get(f"{gateway.address}/readyz", trust_env=False, timeout=60)
        assert response.status_code == 503
        assert response.json()["dependencies"] == {
            **dict.fromkeys(("retrieval", "buyer", "item"), "it cannot be reached"),
            "redis": "Redis does not answer",
        }
        reasons = [str(line["message"]) for line in gateway.finish() if line["logger"] == "gateway.health"]
    assert "127.0.0.1" not in response.text
    # the log says why
    assert len(reasons) == 3 and all("127.0.0.1:1" in reason for reason in reasons)


def test_a_worker_may_open_as_many_files_as_its_connections_need() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    code = "import resource as r; r.setrlimit(r.RLIMIT_NOFILE, ({}, {})); from gateway.__main__ import main; main()"
    with process("-c", code.format(64, 700), environ=ENVIRON) as running:
        assert running.finish() == 2
    assert running.lines == [
        f"gateway: TWOTOWER_GATEWAY_MAX_CONNECTIONS=1000 needs {needed_files(1000)} open files, and the limit is 700 "
        "(ulimit -Hn)"
    ]
    with process("-c", code.format(64, hard), environ=ENVIRON) as running:
        running.wait_for(lambda text: '"listening"' in text)
        limits = Path(f"/proc/{running.popen.pid}/limits").read_text()
    assert f"Max open files            {needed_files(1000)}" in limits
