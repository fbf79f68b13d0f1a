"""Settings of the buyer service: TWOTOWER_BUYER_<FIELD>."""

from __future__ import annotations

from pydantic import Field

from twotower.live.settings import LiveSettings


class BuyerSettings(LiveSettings):
    """The settings of every service, and how long a history may be."""

    max_interactions: int = Field(10_000, ge=1, description="maximum interactions in one history")
