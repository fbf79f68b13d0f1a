"""The gateway over HTTPS, and its calls to services over mutual TLS."""

from __future__ import annotations

import json
import ssl
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest
import trustme

from gateway.settings import GatewaySettings
from tests.helpers.certificates import write_identity
from tests.helpers.processes import process
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import running, until
from tests.helpers.stack import as_json, event, gateway
from twotower.errors import SettingsError
from twotower.serving.settings import read_settings


def trusting(signer: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    signer.configure_trust(context)
    return context


def test_https_with_a_certificate_that_changes(tmp_path: Path) -> None:
    signer = trustme.CA()
    folder = write_identity(tmp_path / "tls", signer)
    environ = {"TWOTOWER_GATEWAY_TLS": str(folder), "TWOTOWER_GATEWAY_PORT": "0"}
    with process("-m", "gateway", environ=environ) as started:
        port = json.loads(started.wait_for(lambda line: '"listening"' in line))["port"]
        with httpx.Client(base_url=f"https://localhost:{port}", verify=trusting(signer), trust_env=False) as client:
            assert client.get("/healthz").json() == {"status": "alive"}
            (folder / "tls.key").write_bytes(signer.issue_cert("localhost").private_key_pem.bytes())
            started.wait_for(lambda line: "the last good certificate stays in force" in line)
            assert httpx.get(f"https://localhost:{port}/healthz", verify=trusting(signer), trust_env=False).is_success
            write_identity(folder, signer)
            started.wait_for(lambda line: '"new TLS certificate"' in line)
            assert ssl.get_server_certificate(("localhost", port)).split() == (folder / "tls.crt").read_text().split()
            # a connection that is open stays so
            assert client.get("/healthz").is_success
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://localhost:{port}/healthz", trust_env=False)


async def test_the_gateway_asks_its_services_over_mutual_tls(tiny: Path, tmp_path: Path) -> None:
    signer = trustme.CA()
    inside = write_identity(tmp_path / "services", signer)
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        redis.mark_loaded()
        addresses = {}
        for name in ("item", "buyer", "retrieval"):
            service = await stack.enter_async_context(running(name, tiny, ready=False, inner_tls=inside))
            addresses[f"{name}_address"] = service.address
        settings = {"redis_url": redis.url, "inner_tls": write_identity(tmp_path / "gateway", signer), **addresses}
        client = await stack.enter_async_context(gateway(**settings))

        async def state() -> str:
            return str((await client.get("/readyz")).json()["status"])

        await until(state, lambda found: found == "ready")
        body = {"buyer_id": "b", "recent_interactions": as_json([event("p4"), event("p8")])}
        assert (await client.post("/encode_buyer", json=body)).json()["used"] == 2
        answer = (await client.get("/retrieve", params={"buyer_id": "b", "include": "products"})).json()
        assert (answer["source"], len(answer["products"])) == ("model", 10)
        assert (await client.get("/search", params={"q": "خاتم ذهب"})).status_code == 200


@pytest.mark.parametrize("remove", ["tls.crt", "tls.key"])
def test_a_missing_file_is_named_at_the_start(tmp_path: Path, remove: str) -> None:
    folder = write_identity(tmp_path, trustme.CA())
    (folder / "ca.crt").unlink()
    assert read_settings(GatewaySettings, "gateway", {"TWOTOWER_GATEWAY_TLS": str(folder)}).tls == folder
    (folder / remove).unlink()
    with pytest.raises(SettingsError, match=f"TWOTOWER_GATEWAY_TLS=.*{remove} cannot be read"):
        read_settings(GatewaySettings, "gateway", {"TWOTOWER_GATEWAY_TLS": str(folder)})
