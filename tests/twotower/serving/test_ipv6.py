"""Addresses of IPv6: with or without brackets where a process listens, with brackets before a port."""

from __future__ import annotations

import asyncio
import json
import socket
import urllib.request
from pathlib import Path

import pytest

from gateway.settings import GatewaySettings
from tests.helpers.processes import is_log, process
from tests.helpers.services import cache_of, serving
from twotower.errors import SettingsError
from twotower.serving.client import as_target
from twotower.serving.settings import ServiceSettings, host_port, read_settings


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no address ::1")


@pytest.mark.parametrize(
    ("host", "shown"), [("::1", "[::1]:80"), ("[::1]", "[::1]:80"), ("127.0.0.1", "127.0.0.1:80"), ("h", "h:80")]
)
def test_a_host_is_written_before_its_port(host: str, shown: str) -> None:
    for settings in (ServiceSettings(host=host), GatewaySettings(host=host)):
        assert host_port(settings.host, 80) == shown


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("[::1]:50051", "dns:///[::1]:50051"),
        ("retrieval:50053", "dns:///retrieval:50053"),
        ("ipv6:[::1]:50051", "ipv6:[::1]:50051"),
        ("ipv6:%5B2607::1%5D:80", "ipv6:%5B2607::1%5D:80"),
        ("dns:///[::1]:50051", "dns:///[::1]:50051"),
    ],
)
def test_the_target_of_an_address(address: str, target: str) -> None:
    assert as_target(address) == target


@pytest.mark.parametrize("address", ["::1:50051", "fd00::7:50051", "::1"])
def test_an_address_without_brackets_is_refused_by_name(address: str) -> None:
    with pytest.raises(SettingsError, match=r"TWOTOWER_GATEWAY_ITEM_ADDRESS=.*needs brackets"):
        read_settings(GatewaySettings, "gateway", {"TWOTOWER_GATEWAY_ITEM_ADDRESS": address})


@needs_ipv6
@pytest.mark.parametrize("host", ["::1", "[::1]"])
async def test_services_and_the_gateway_listen_and_connect_by_ipv6(tiny: Path, host: str) -> None:
    """One service and the gateway, as processes, with their metrics."""
    environ = {
        "TWOTOWER_ARTIFACTS": str(tiny),
        "TWOTOWER_CACHE": str(cache_of(tiny)),
        "TWOTOWER_RETRIEVAL_HOST": host,
        "TWOTOWER_GATEWAY_HOST": host,
        "TWOTOWER_GATEWAY_PORT": "0",
        "TWOTOWER_GATEWAY_METRICS_PORT": "0",
        "TWOTOWER_GATEWAY_REDIS_URL": "redis://[::1]:1/0",
    }
    with process("-m", "retrieval_service", environ=environ) as service:
        ports = json.loads(await asyncio.to_thread(service.wait_for, lambda line: is_log(line, "listening")))
        address = f"[::1]:{ports['port']}"
        await serving(address)
        assert b"twotower_model_info" in await asyncio.to_thread(read, ports["metrics_port"], "/metrics")
        with process("-m", "gateway", environ=environ | {"TWOTOWER_GATEWAY_RETRIEVAL_ADDRESS": address}) as gateway:
            found = json.loads(await asyncio.to_thread(gateway.wait_for, lambda line: is_log(line, "listening")))
            assert found["host"] == "::1"
            answer = json.loads(await asyncio.to_thread(read, found["port"], "/popular"))
            assert len(answer["product_ids"]) == 10


@needs_ipv6
def test_all_addresses_of_ipv6_are_those_of_ipv4_too() -> None:
    environ = {"TWOTOWER_GATEWAY_HOST": "::", "TWOTOWER_GATEWAY_PORT": "0", "TWOTOWER_GATEWAY_AUTH": "off"}
    with process("-m", "gateway", environ=environ) as gateway:
        port = json.loads(gateway.wait_for(lambda line: is_log(line, "listening")))["port"]
        for host in ("[::1]", "127.0.0.1"):
            assert b"alive" in read(port, "/healthz", host)


@needs_ipv6
def test_a_port_that_is_taken_is_shown_with_brackets(tiny: Path) -> None:
    with socket.socket(socket.AF_INET6) as taken:
        taken.bind(("::1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for name, module in (("RETRIEVAL", "retrieval_service"), ("GATEWAY", "gateway")):
            environ = {f"TWOTOWER_{name}_HOST": "[::1]", f"TWOTOWER_{name}_PORT": port, "TWOTOWER_ARTIFACTS": str(tiny)}
            with process("-m", module, environ=environ) as started:
                assert started.finish() == 1
            assert f"cannot listen on [::1]:{port}" in started.lines[-1]


def read(port: int, path: str, host: str = "[::1]") -> bytes:
    with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=30) as answer:
        content: bytes = answer.read()
    return content
