"""The settings of Kafka: wrong ones are refused by name, and no message shows a password."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme

from gateway.settings import GatewaySettings
from recorder.settings import RecorderSettings
from tests.helpers.certificates import write_identity
from twotower.errors import SettingsError
from twotower.serving.settings import read_settings

SASL = {
    "TWOTOWER_KAFKA": "kafka-1:9092,kafka-2:9092",
    "TWOTOWER_KAFKA_SECURITY": "SASL_PLAINTEXT",
    "TWOTOWER_KAFKA_USERNAME": "shop",
    "TWOTOWER_KAFKA_PASSWORD": "p w",
}


def test_one_environment_serves_gateways_and_the_recorder() -> None:
    options = {
        "bootstrap_servers": "kafka-1:9092,kafka-2:9092",
        "request_timeout_ms": 10_000,
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "shop",
        "sasl_plain_password": "p w",
    }
    assert read_settings(GatewaySettings, "gateway", SASL).kafka_options() == options
    recorder = read_settings(RecorderSettings, "recorder", {**SASL, "TWOTOWER_RECORDER_KAFKA_USERNAME": "reader"})
    assert recorder.kafka_options() == {**options, "sasl_plain_username": "reader"}
    assert "p w" not in repr(recorder)


def test_an_open_listener_needs_no_more_than_its_address() -> None:
    settings = read_settings(GatewaySettings, "gateway", {"TWOTOWER_KAFKA": "kafka:9092", "TWOTOWER_KAFKA_TLS": ""})
    assert settings.kafka_options() == {
        "bootstrap_servers": "kafka:9092",
        "request_timeout_ms": 10_000,
        "security_protocol": "PLAINTEXT",
    }


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"PASSWORD": ""}, "TWOTOWER_KAFKA_PASSWORD: a listener with SASL asks for it"),
        ({"USERNAME": ""}, "TWOTOWER_KAFKA_USERNAME='': a listener with SASL asks for it"),
        ({"SECURITY": "SSL", "USERNAME": ""}, "TWOTOWER_KAFKA_PASSWORD: only the securities SASL_PLAINTEXT and"),
        ({"SECURITY": "sasl_ssl"}, "TWOTOWER_KAFKA_SECURITY='sasl_ssl'"),
        ({"SASL_MECHANISM": "GSSAPI"}, "TWOTOWER_KAFKA_SASL_MECHANISM='GSSAPI'"),
        ({"TLS": "/nowhere"}, "TWOTOWER_KAFKA_TLS='/nowhere': only the securities SSL and SASL_SSL use it"),
        ({"SECURITY": "SASL_SSL", "TLS": "/nowhere"}, "/nowhere/ca.crt cannot be read: No such file or directory"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(changed: dict[str, str], message: str) -> None:
    environ = {**SASL, **{f"TWOTOWER_KAFKA_{name}": value for name, value in changed.items()}}
    with pytest.raises(SettingsError) as caught:
        read_settings(GatewaySettings, "gateway", environ)
    assert message in str(caught.value)
    assert "p w" not in str(caught.value)


def test_the_folder_says_whom_to_trust_and_which_certificate_to_show(tmp_path: Path) -> None:
    shop = write_identity(tmp_path / "shop", trustme.CA(), "shop")
    environ = {"TWOTOWER_KAFKA": "kafka:9093", "TWOTOWER_KAFKA_SECURITY": "SSL"}
    trusting = read_settings(GatewaySettings, "gateway", {**environ, "TWOTOWER_KAFKA_TLS": str(shop)})
    context = trusting.kafka_options()["ssl_context"]
    assert [dict(one["subject"][0])["organizationName"][:7] for one in context.get_ca_certs()] == ["trustme"]
    assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname
    (shop / "tls.key").unlink()
    with pytest.raises(SettingsError, match=r"tls\.key cannot be read"):
        read_settings(GatewaySettings, "gateway", {**environ, "TWOTOWER_KAFKA_TLS": str(shop)})
    (shop / "tls.crt").unlink()
    (shop / "ca.crt").write_text("nothing")
    with pytest.raises(SettingsError, match=r"ca\.crt is not a certificate in PEM form"):
        read_settings(GatewaySettings, "gateway", {**environ, "TWOTOWER_KAFKA_TLS": str(shop)})
