"""Settings of the retrieval service: TWOTOWER_RETRIEVAL_<FIELD>."""

from __future__ import annotations

from pydantic import Field

from twotower.live.settings import LiveSettings


class RetrievalSettings(LiveSettings):
    """The settings of every service, and what else it may be asked."""

    max_lookup: int = Field(100_000, ge=1, description="maximum product ids in one Lookup")
    may_publish: bool = Field(False, description="publishes versions; it then needs to write to the artifacts")
