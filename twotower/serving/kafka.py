"""Where Kafka is and how a process proves who it is there: the same settings for the gateways and the recorder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from twotower.serving.settings import ProcessSettings
from twotower.serving.tls import client_context, usable


def _check_credential(value: str, info: ValidationInfo) -> str:
    asked_for = str(info.data.get("kafka_security", "")).startswith("SASL")
    if asked_for and not value:
        raise ValueError("a listener with SASL asks for it")
    if value and not asked_for:
        raise ValueError("only the securities SASL_PLAINTEXT and SASL_SSL send it")
    return value


def _check_folder(value: Path | None, info: ValidationInfo) -> Path | None:
    if value is None:
        return None
    if not str(info.data.get("kafka_security", "")).endswith("SSL"):
        raise ValueError("only the securities SSL and SASL_SSL use it")
    return usable(client_context)(value)


Credential = Annotated[str, AfterValidator(_check_credential)]
Certificates = Annotated[Path | None, BeforeValidator(lambda value: value or None), AfterValidator(_check_folder)]


class KafkaSettings(ProcessSettings):
    """The settings of every process that uses the event log in Kafka. Without `kafka` the others have no effect."""

    kafka: str = Field(
        "",
        pattern=r"^([^\s,:]+:\d+(,[^\s,:]+:\d+)*)?$",
        description="host:port of brokers, separated by commas: the event log is in Kafka, not in Redis",
    )
    kafka_topic: str = Field("twotower-log", pattern="^[A-Za-z0-9._-]{1,249}$", description="topic of the event log")
    kafka_timeout_seconds: float = Field(10.0, gt=0, description="time for one call of Kafka")
    kafka_security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="security.protocol of the brokers' listener"
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = Field(
        "SCRAM-SHA-512", description="how the password is sent, where the listener has SASL"
    )
    kafka_username: Credential = Field("", validate_default=True, description="user, where the listener has SASL")
    kafka_password: Credential = Field("", validate_default=True, description="password of that user", repr=False)
    kafka_tls: Certificates = Field(
        None,
        description="folder with ca.crt, and tls.crt and tls.key where the brokers ask for a certificate; without it "
        "the authorities of the system are trusted",
    )

    def kafka_options(self) -> dict[str, Any]:
        """What every client of aiokafka takes to reach the brokers. The files of `kafka_tls` are read now."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.kafka,
            "request_timeout_ms": round(self.kafka_timeout_seconds * 1000),
            "security_protocol": self.kafka_security,
        }
        if self.kafka_security.endswith("SSL"):
            options["ssl_context"] = client_context(self.kafka_tls)
        if self.kafka_security.startswith("SASL"):
            options["sasl_mechanism"] = self.kafka_sasl_mechanism
            options["sasl_plain_username"] = self.kafka_username
            options["sasl_plain_password"] = self.kafka_password
        return options
