"""Settings of the item service: TWOTOWER_ITEM_<FIELD>."""

from __future__ import annotations

from pydantic import Field

from twotower.serving.settings import ServiceSettings


class ItemSettings(ServiceSettings):
    """The settings of every service, and the longest text that may be encoded."""

    max_text: int = Field(
        20_000, ge=1, description="maximum characters of title and description together, of brand, and of category"
    )
