"""Settings of the item service: TWOTOWER_ITEM_<FIELD>."""

from __future__ import annotations

from pydantic import Field

from twotower.serving.settings import ServiceSettings


class ItemSettings(ServiceSettings):
    """What ServiceSettings has, and the longest text that is encoded."""

    max_text: int = Field(20_000, ge=1, description="most characters of title and description, of brand, of category")
