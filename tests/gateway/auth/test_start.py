"""What may serve without keys, the messages of a gateway that may not start, and the command `keys`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.app import create_app
from gateway.auth import commands
from gateway.auth.keys import NewKey, add_key, read_document, read_keys
from gateway.settings import GatewaySettings
from tests.helpers.processes import process
from twotower.errors import SettingsError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A keys file with one key."""
    path = tmp_path / "keys.json"
    add_key(path, NewKey("shop", ("read",), "10/second", None))
    return path


def test_a_wide_host_without_keys_is_refused_with_the_way_out() -> None:
    with process("-m", "gateway", environ={"TWOTOWER_GATEWAY_HOST": "0.0.0.0"}) as running:
        assert running.finish() == 2
    assert running.lines == [
        "gateway: TWOTOWER_GATEWAY_HOST=0.0.0.0 lets other machines in, and there are no keys: make a key with "
        "`make key` or `docker compose run --rm gateway keys add`, or set TWOTOWER_GATEWAY_AUTH=off to serve everyone"
    ]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "shop.example", ""])
def test_only_loopback_is_served_without_keys(host: str, tmp_path: Path, file: Path) -> None:
    for settings in (
        {"host": host or "10.0.0.1"},
        {"host": host or "10.0.0.1", "keys_file": tmp_path / "none.json"},
        # a container listens everywhere: what counts is where its port is published
        {"host": "127.0.0.1", "published_host": host or "10.0.0.1"},
    ):
        with pytest.raises(SettingsError, match="lets other machines in"):
            create_app(GatewaySettings(**settings))
    create_app(GatewaySettings(host="0.0.0.0", auth="off"))
    create_app(GatewaySettings(host="0.0.0.0", keys_file=file))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"])
def test_loopback_needs_no_key_unless_it_is_asked_for(host: str, file: Path) -> None:
    create_app(GatewaySettings(host=host))
    create_app(GatewaySettings(host="0.0.0.0", published_host=host))
    create_app(GatewaySettings(host=host, auth="keys", keys_file=file))
    with pytest.raises(SettingsError, match="AUTH=keys, but there are no keys in no file"):
        create_app(GatewaySettings(host=host, auth="keys"))
    with pytest.raises(SettingsError, match=r"AUTH=keys, but there are no keys in .*gone\.json"):
        create_app(GatewaySettings(host=host, auth="keys", keys_file=file.with_name("gone.json")))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"id": "short"}, "keys.0.id"),
        ({"scopes": []}, "keys.0.scopes"),
        ({"scopes": ["root"]}, "keys.0.scopes.0"),
        ({"limit": "often"}, "is not a rate limit"),
        ({"limit": "0/second"}, "at least one request"),
        ({"sha256": "x"}, "keys.0.sha256"),
        ({"password": "x"}, "keys.0.password"),
        ({"buyer_tokens": {"algorithm": "none", "key_file": "a"}}, "keys.0.buyer_tokens.algorithm"),
        ({"buyer_tokens": {"algorithm": "HS256", "key_file": "gone"}}, "gone cannot be read"),
        ({"buyer_tokens": {"algorithm": "HS256", "key_file": "short"}}, "holds 5 bytes, HS256 needs at least 32"),
        ({"buyer_tokens": {"algorithm": "EdDSA", "key_file": "short"}}, "is not a public key in PEM form"),
    ],
)
def test_a_file_that_cannot_be_used_names_the_entry_and_the_field(
    file: Path, change: dict[str, Any], problem: str
) -> None:
    file.with_name("short").write_bytes(b"12345")
    document = json.loads(file.read_text())
    document["keys"][0] |= change
    file.write_text(json.dumps(document))
    with pytest.raises(SettingsError) as refused:
        create_app(GatewaySettings(keys_file=file))
    assert problem in str(refused.value)


def test_the_same_key_twice_is_refused(file: Path) -> None:
    document = json.loads(file.read_text())
    file.write_text(json.dumps({"keys": document["keys"] * 2}))
    with pytest.raises(SettingsError, match="stands there 2 times"):
        read_keys(file)


def test_the_command_makes_lists_and_removes_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "private" / "keys.json"
    assert commands.main(["add", "--file", str(file), "--scopes", "public", "--limit", "none", "--name", "page"]) == 0
    key = capsys.readouterr().out.strip()
    found = read_keys(file).find(key)
    assert found is not None and (found.entry.name, found.entry.scopes, found.limit) == ("page", ("public",), None)
    assert commands.main(["add", "--file", str(file)]) == 0
    second = capsys.readouterr().out.strip()
    assert read_document(file).keys[1].scopes == ("read", "write")
    assert commands.main(["list", "--file", str(file)]) == 0
    listed = capsys.readouterr().out
    assert "page" in listed and "6000/minute" in listed and key not in listed
    assert commands.main(["remove", key[3:15], "--file", str(file)]) == 0
    assert read_keys(file).find(key) is None and read_keys(file).find(second) is not None
    assert commands.main(["remove", "nobody", "--file", str(file)]) == 2
    assert "has no key 'nobody'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--limit", "often"], "--limit 'often'"),
        (["--name", ""], "--name ''"),
        (["--token-key", "gone.pem"], "gone.pem cannot be read"),
    ],
)
def test_a_key_that_could_not_be_read_again_is_not_written(
    tmp_path: Path, options: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "keys.json"
    assert commands.main(["add", "--file", str(file), *options]) == 2
    assert problem in capsys.readouterr().err
    assert not file.exists()


def test_the_command_takes_the_file_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TWOTOWER_GATEWAY_KEYS_FILE", str(tmp_path / "keys.json"))
    assert commands.main(["add"]) == 0
    assert read_keys(tmp_path / "keys.json").find(capsys.readouterr().out.strip()) is not None
    monkeypatch.delenv("TWOTOWER_GATEWAY_KEYS_FILE")
    assert commands.main(["list"]) == 2
    assert "set TWOTOWER_GATEWAY_KEYS_FILE" in capsys.readouterr().err
