"""Mutual TLS between the gateway and the services, with certificates that change while both run."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import grpc
import pytest
import trustme

from tests.helpers.certificates import write_identity
from tests.helpers.gate_cases import RING
from tests.helpers.services import running, until
from twotower.errors import SettingsError, Unavailable
from twotower.pb import item_pb2_grpc
from twotower.serving import tls
from twotower.serving.client import call, connect
from twotower.serving.settings import ServiceSettings, read_settings


@pytest.fixture(scope="module")
def signer() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server(tmp_path: Path, signer: trustme.CA) -> Path:
    return write_identity(tmp_path / "server", signer)


@pytest.fixture
def client(tmp_path: Path, signer: trustme.CA) -> Path:
    return write_identity(tmp_path / "client", signer, "gateway")


async def shown_by(address: str, client: Path) -> bytes:
    """The certificate that the server shows to a new connection, as DER."""
    context = ssl.create_default_context(cafile=str(client / "ca.crt"))
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(client / "tls.crt", client / "tls.key")
    context.set_alpn_protocols(["h2"])
    host, port = address.split(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return shown


def certificate(folder: Path) -> bytes:
    return ssl.PEM_cert_to_DER_cert((folder / "tls.crt").read_text())


async def test_both_sides_show_a_certificate(tiny: Path, server: Path, client: Path) -> None:
    async with running("item", tiny, ready=False, inner_tls=server) as service:
        async with connect(service.address, tls=client) as channel:
            answer = await call(item_pb2_grpc.ItemServiceStub(channel).Encode, RING, 10, "item service")
        assert len(answer.items) == 1
        assert await shown_by(service.address, client) == certificate(server)


@pytest.mark.parametrize("case", ["no TLS", "no certificate", "another authority", "a server of another name"])
async def test_who_is_not_known_gets_nothing(
    tiny: Path, server: Path, client: Path, tmp_path: Path, signer: trustme.CA, case: str
) -> None:
    if case == "a server of another name":
        write_identity(server, signer, "somebody.else")
    if case == "another authority":
        write_identity(client, trustme.CA(), "gateway", trusted=signer)
    async with running("item", tiny, ready=False, inner_tls=server) as service:
        if case == "no certificate":
            # trusts the server, shows nothing
            credentials = grpc.ssl_channel_credentials((client / "ca.crt").read_bytes())
            channel = grpc.aio.secure_channel(service.address, credentials)
        else:
            channel = connect(service.address, tls=None if case == "no TLS" else client)
        async with channel:
            with pytest.raises(Unavailable):
                await call(item_pb2_grpc.ItemServiceStub(channel).Encode, RING, 5, "item service")


async def test_a_new_certificate_is_shown_without_a_restart(
    tiny: Path, server: Path, client: Path, signer: trustme.CA
) -> None:
    async with running("item", tiny, ready=False, inner_tls=server) as service:
        first = await shown_by(service.address, client)
        write_identity(server, signer)
        second = await shown_by(service.address, client)
        assert (first != second, second) == (True, certificate(server))
        # half of a change: a certificate without its key
        (server / "tls.key").write_bytes((client / "tls.key").read_bytes())
        assert await shown_by(service.address, client) == second


async def test_an_authority_is_replaced_while_calls_run(
    tiny: Path, server: Path, client: Path, signer: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "_POLL_SECONDS", 0.02)
    monkeypatch.setattr(tls, "_LEAVE_SECONDS", 0.05)
    new = trustme.CA()
    async with (
        running("item", tiny, ready=False, inner_tls=server) as service,
        connect(service.address, tls=client) as channel,
    ):
        assert isinstance(channel, tls.RenewedChannel)
        stub = item_pb2_grpc.ItemServiceStub(channel)
        first = channel.current

        async def ask() -> int:
            return len((await call(stub.Encode, RING, 10, "item service")).items)

        assert await ask() == 1
        # the gateway's turn first: the server does not know its new authority, so the old channel goes on
        write_identity(client, new, "gateway")
        await until(lambda: first is channel.current and channel._files.identity.authorities == new_pem(new))
        assert await ask() == 1
        write_identity(server, new)
        await until(lambda: channel.current is not first)
        assert await ask() == 1
        # the old channel is closed after its calls
        await until(lambda: not channel._leaving)
        assert await ask() == 1


def new_pem(signer: trustme.CA) -> bytes:
    return bytes(signer.cert_pem.bytes())


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("tls.crt", None, "tls.crt cannot be read: No such file or directory"),
        ("tls.key", None, "tls.key cannot be read: No such file or directory"),
        ("ca.crt", None, "ca.crt cannot be read: No such file or directory"),
        ("tls.crt", b"nonsense", "tls.crt and tls.key cannot be used together"),
        ("ca.crt", b"nonsense", "ca.crt is not a certificate in PEM form"),
    ],
)
def test_files_that_cannot_be_used_are_named_at_the_start(
    server: Path, name: str, content: bytes | None, problem: str
) -> None:
    (server / name).unlink() if content is None else (server / name).write_bytes(content)
    with pytest.raises(SettingsError, match="TWOTOWER_INNER_TLS=") as refused:
        read_settings(ServiceSettings, "item", {"TWOTOWER_INNER_TLS": str(server)})
    assert problem in str(refused.value)


def test_a_key_of_another_certificate_is_refused(server: Path, client: Path) -> None:
    (server / "tls.key").write_bytes((client / "tls.key").read_bytes())
    with pytest.raises(SettingsError, match="KEY_VALUES_MISMATCH"):
        read_settings(ServiceSettings, "item", {"TWOTOWER_ITEM_INNER_TLS": str(server)})
