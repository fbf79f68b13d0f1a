"""The settings of a service that follows the live catalogue."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from twotower.live.redis_client import PATTERN, check_redis_url
from twotower.serving.settings import ServiceSettings


class LiveSettings(ServiceSettings):
    """The settings of every service, where the live catalogue is, and how large it may become."""

    catalogue_url: Annotated[str, AfterValidator(lambda url: url and check_redis_url(url))] = Field(
        "",
        pattern=f"^$|^{PATTERN}",
        description="URL of the gateway's Redis, to follow the live catalogue; empty: products of the version alone",
    )
    catalogue_wait_seconds: float = Field(
        120.0,
        gt=0,
        description="how long a new version waits for the vectors of live products before it is tried again",
    )
    catalogue_limit: int = Field(
        10_000, ge=1, description="live products beside the index above which the log says that a refresh is due"
    )
