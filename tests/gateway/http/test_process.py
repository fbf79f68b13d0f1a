"""`python -m gateway` as a process: its settings, its ports, its log, its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from pydantic import ValidationError

from gateway.settings import GatewaySettings
from tests.helpers.processes import Process, process
from tests.helpers.redis_server import RedisServer, free_port
from tests.helpers.stack import NOBODY
from twotower.errors import SettingsError
from twotower.serving.settings import read_settings

ENVIRON = {
    "TWOTOWER_GATEWAY_PORT": "0",
    "TWOTOWER_GATEWAY_REDIS_URL": f"redis://{NOBODY}/0",
    **{f"TWOTOWER_GATEWAY_{name}_ADDRESS": NOBODY for name in ("ITEM", "BUYER", "RETRIEVAL")},
}


@contextmanager
def started(**environ: str) -> Iterator[tuple[Process, str]]:
    """A gateway without any service, and its address."""
    with process("-m", "gateway", environ=ENVIRON | environ) as running:
        line = json.loads(running.wait_for(lambda text: '"listening"' in text))
        yield running, f"http://127.0.0.1:{line['port']}"


def test_it_serves_logs_and_stops_on_sigterm() -> None:
    with started() as (running, address), httpx.Client(base_url=address, trust_env=False) as client:
        assert client.get("/healthz").json() == {"status": "alive"}
        refused = client.get("/retrieve", headers={"X-Request-ID": "abc"})
        assert (refused.status_code, refused.json()["field"]) == (422, "buyer_id")
        assert client.get("/readyz").status_code == 503
        running.popen.send_signal(signal.SIGTERM)
        assert running.finish() == 0
    lines = [json.loads(line) for line in running.lines]
    assert all(line["service"] == "gateway" for line in lines)
    access = next(line for line in lines if line.get("path") == "/retrieve")
    assert (access["method"], access["status"], access["request_id"]) == ("GET", 422, "abc")
    assert lines[-1]["message"] == "stopped"


def test_it_stops_on_sigint_too() -> None:
    with started() as (running, _):
        running.popen.send_signal(signal.SIGINT)
        assert running.finish() == 0


def test_the_access_log_can_be_left_out() -> None:
    with started(TWOTOWER_GATEWAY_ACCESS_LOG="false") as (running, address):
        assert httpx.get(f"{address}/healthz", trust_env=False, timeout=60).status_code == 200
        running.popen.send_signal(signal.SIGTERM)
        running.finish()
    assert not [line for line in running.lines if "/healthz" in line]


def test_metrics_on_a_port_of_their_own_as_well() -> None:
    port = free_port()
    with started(TWOTOWER_GATEWAY_METRICS_PORT=str(port)) as (_, address):
        for where in (address, f"http://127.0.0.1:{port}"):
            assert "twotower_http_seconds" in httpx.get(f"{where}/metrics", trust_env=False, timeout=60).text


def test_several_workers_share_a_port_count_together_and_drain() -> None:
    port = free_port()
    environ = {"TWOTOWER_GATEWAY_WORKERS": "2", "TWOTOWER_GATEWAY_METRICS_PORT": str(port)}
    with started(**environ) as (running, address):
        asked = 0
        while len(workers_of(running.popen.pid)) < 2 or asked < 40:
            # a connection each: the kernel gives them to either worker
            assert httpx.get(f"{address}/healthz", trust_env=False, timeout=60).status_code == 200
            asked += 1
        wanted = f'twotower_http_seconds_count{{route="/healthz",status="200"}} {float(asked)}'
        for where in (address, f"http://127.0.0.1:{port}"):
            assert wanted in httpx.get(f"{where}/metrics", trust_env=False, timeout=60).text
        # one that is killed is replaced, and what it had counted stays counted
        killed = workers_of(running.popen.pid)[0]
        os.kill(killed, signal.SIGKILL)
        running.wait_for(lambda text: "a worker ended with exit code -9" in text)
        while killed in workers_of(running.popen.pid) or len(workers_of(running.popen.pid)) < 2:
            time.sleep(0.01)
        assert wanted in httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        running.popen.send_signal(signal.SIGTERM)
        assert running.finish() == 0
    assert "a worker did not stop" not in "\n".join(running.lines)


def test_redis_counts_as_up_in_every_worker_until_it_fails() -> None:
    port = free_port()

    def up() -> str:
        lines = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False, timeout=60).text.splitlines()
        return next(line for line in lines if line.startswith("twotower_redis_up "))

    def wait_until(wanted: str) -> None:
        deadline = time.monotonic() + 30
        while up() != wanted:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    environ = {"TWOTOWER_GATEWAY_WORKERS": "2", "TWOTOWER_GATEWAY_METRICS_PORT": str(port)}
    with RedisServer() as redis, started(**environ, TWOTOWER_GATEWAY_REDIS_URL=redis.url) as (running, _):
        # the gateway listens with its first worker
        while sum('"worker listening"' in line for line in running.lines) < 2:
            running.wait_for(lambda text: '"worker listening"' in text)
        wait_until("twotower_redis_up 1.0")
        redis.kill()
        # every worker looks twice a second, without a request
        wait_until("twotower_redis_up 0.0")
        running.popen.send_signal(signal.SIGTERM)
        assert running.finish() == 0


def test_workers_end_with_their_parent() -> None:
    with started(TWOTOWER_GATEWAY_WORKERS="2") as (running, address):
        httpx.get(f"{address}/healthz", trust_env=False, timeout=60)
        workers = workers_of(running.popen.pid)
        running.popen.send_signal(signal.SIGKILL)
        # its output, which they share, closes when the last of its workers has ended
        assert running.finish() == -signal.SIGKILL
    assert len(workers) == 2


def workers_of(pid: int) -> list[int]:
    """The processes that a gateway has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(one) for one in children]


@pytest.mark.parametrize("name", ["PORT", "METRICS_PORT"])
def test_a_port_that_is_taken_is_named(name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with process("-m", "gateway", environ=ENVIRON | {f"TWOTOWER_GATEWAY_{name}": str(port)}) as running:
            assert running.finish() == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in running.lines[-1]


def test_a_wrong_setting_is_named() -> None:
    with process("-m", "gateway", environ=ENVIRON | {"TWOTOWER_GATEWAY_MAX_KK": "5"}) as running:
        assert running.finish() == 2
    assert running.lines == ["gateway: unknown setting TWOTOWER_GATEWAY_MAX_KK; did you mean TWOTOWER_GATEWAY_MAX_K?"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "70000"),
        ("PORT", "http"),
        ("REDIS_URL", "localhost:6379"),
        ("REDIS_URL", "http://h/0"),
        ("REDIS_URL", "redis://h:port/0"),
        ("REDIS_URL", "redis://h:70000/0"),
        ("REDIS_URL", "redis://h/x"),
        ("REDIS_URL", "redis://h/1/2"),
        ("REDIS_URL", "redis://h/-1"),
        ("REDIS_URL", "redis://h/0?foo=1"),
        ("REDIS_URL", "redis://h/0?socket_timeout=x"),
        ("REDIS_URL", "redis://h/0?retry=1"),
        ("REDIS_URL", "rediss://h/0?ssl_cert_reqs=perhaps"),
        # histories are read as bytes
        ("REDIS_URL", "redis://h/0?decode_responses=true"),
        ("REDIS_URL", "redis+cluster://h/1"),
        ("REDIS_URL", "redis+cluster://h?foo=1"),
        ("REDIS_URL", "redis+cluster://h?decode_responses=true"),
        ("REDIS_URL", "redis+cluster://h?sentinel_password=x"),
        ("REDIS_URL", "redis+cluster://"),
        ("REDIS_URL", "redis+cluster://h,"),
        ("REDIS_URL", "redis+cluster://h:x"),
        ("REDIS_URL", "rediss+cluster://h?ssl_cert_reqs=perhaps"),
        ("REDIS_URL", "redis+sentinel://h:26379"),
        ("REDIS_URL", "redis+sentinel://h:26379/mymaster/x"),
        ("REDIS_URL", "redis+sentinel://h/mymaster?foo=1"),
        ("REDIS_URL", "redis+proxy://h"),
        ("REDIS_URL", "sentinel://h/mymaster"),
        ("REQUEST_TIMEOUT_SECONDS", "0"),
        ("REQUEST_TIMEOUT_SECONDS", "nan"),
        ("HISTORY_SIZE", "0"),
        ("MAX_K", "1001"),
        ("EVENT_TYPES", " , "),
        ("MAX_BODY_BYTES", "1 MiB"),
        ("ACCESS_LOG", "perhaps"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"TWOTOWER_GATEWAY_{name}="):
        read_settings(GatewaySettings, "gateway", {f"TWOTOWER_GATEWAY_{name}": value})


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://u:p@[::1]:6379/3/",
        "rediss://h/0?ssl_cert_reqs=none",
        "unix:///run/redis?db=1",
        "redis+cluster://u:p%40@h1:7000,[::1]:7001,h3/0?socket_timeout=2",
        "rediss+cluster://h?ssl_ca_certs=/etc/ca.crt",
        "redis+sentinel://u:p@h1:26379,[::1]:26380/mymaster/3?sentinel_username=s&sentinel_password=a%2Fb",
        "rediss+sentinel://h/mymaster",
        "redis://h/?db=2&socket_timeout=1&timeout=2&max_connections=3&health_check_interval=5",
    ],
)
def test_a_redis_url_may_be_all_that_redis_takes(url: str) -> None:
    assert read_settings(GatewaySettings, "gateway", {"TWOTOWER_GATEWAY_REDIS_URL": url}).redis_url == url


def test_a_wrong_redis_url_ends_the_process_in_one_line_without_its_password() -> None:
    url = "redis://me:secret@127.0.0.1:6379/zero"
    with process("-m", "gateway", environ=ENVIRON | {"TWOTOWER_GATEWAY_REDIS_URL": url}) as running:
        assert running.finish() == 2
    problem = "'/zero' is not a database number"
    assert running.lines == [f"gateway: TWOTOWER_GATEWAY_REDIS_URL='redis://...@127.0.0.1:6379/zero': {problem}"]


@pytest.mark.parametrize(
    ("password", "problem"),
    [
        ("kX9/3v+Qz=", "percent-encoded: / as %2F"),
        ("12/34", "percent-encoded: / as %2F"),
        ("p@ss/w:rd#1", "percent-encoded: / as %2F"),
        ("p#q", "# as %23"),
        ("p?q", "? as %3F"),
        ("p@q", "@ as %40"),
        ("p\n/q", "percent-encoded"),
    ],
)
def test_no_message_shows_a_part_of_a_password(password: str, problem: str) -> None:
    url = f"redis://shop:{password}@127.0.0.1:6379/0"
    with pytest.raises(SettingsError) as refused:
        read_settings(GatewaySettings, "gateway", {"TWOTOWER_GATEWAY_REDIS_URL": url})
    shown, _, said = str(refused.value).partition("/0': ")
    assert shown == "TWOTOWER_GATEWAY_REDIS_URL='redis://...@127.0.0.1:6379"
    assert problem in said and password not in said


def test_settings_from_the_environment() -> None:
    environ = {
        "TWOTOWER_GATEWAY_EVENT_TYPES": "View, Wish,Purchase",
        "TWOTOWER_GATEWAY_MAX_BODY_BYTES": "4096",
        "TWOTOWER_LOG_LEVEL": "DEBUG",
        "TWOTOWER_ITEM_PORT": "1",
    }
    settings = read_settings(GatewaySettings, "gateway", environ)
    assert settings.event_types == ("View", "Wish", "Purchase")
    assert (settings.max_body_bytes, settings.log_level) == (4096, "DEBUG")
    with pytest.raises(ValidationError):
        GatewaySettings(colour="red")  # type: ignore[call-arg]
