"""The explorer's settings, read once at the start from TWOTOWER_EXPLORER_*."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from twotower.serving.settings import ProcessSettings


def _split_names(value: object) -> object:
    return [name.strip() for name in value.split(",") if name.strip()] if isinstance(value, str) else value


class ExplorerSettings(ProcessSettings):
    """All settings of the explorer."""

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(8001, ge=1, le=65535, description="HTTP port")
    gateway_url: str = Field("http://127.0.0.1:8000", pattern="^https?://", description="URL of the gateway")
    key: str = Field("", description="key of the gateway, scopes read and write; with admin, the live page has figures")
    image_hosts: Annotated[tuple[str, ...], BeforeValidator(_split_names)] = Field(
        (),
        description="hosts that pages may load the pictures of products from, by commas; *.shop.example for any below",
    )
    timeout_seconds: float = Field(5.0, gt=0, le=60, description="timeout of one call of the gateway")
    # a page of another site that names this machine by a host name of its own must not read histories
    allowed_hosts: Annotated[tuple[str, ...], BeforeValidator(_split_names)] = Field(
        ("127.0.0.1", "localhost"), min_length=1, description="host names that a request may name, by commas"
    )
