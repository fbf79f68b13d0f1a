"""Settings of the retrieval service: TWOTOWER_RETRIEVAL_<FIELD>."""

from __future__ import annotations

from pydantic import Field, ValidationInfo, field_validator

from twotower.live.settings import LiveSettings
from twotower.search.milvus_address import MilvusAddress
from twotower.sharding import Shard


class RetrievalSettings(LiveSettings):
    """The settings of every service, and what else it may be asked."""

    max_lookup: int = Field(100_000, ge=1, description="maximum product ids in one Lookup")
    shard_index: int = Field(0, ge=0, description="which shard of the products to answer for, from 0")
    shard_count: int = Field(1, ge=1, le=1024, description="index.shards of the versions; 1: all products")
    may_publish: bool = Field(False, description="publishes versions; it then needs to write to the artifacts")
    milvus: str = Field(
        "", pattern="^(https?://[^@]+)?$", description="http(s)://host:port of Milvus, for versions with kind milvus"
    )
    milvus_token: str = Field("", description="user:password, or a key, for Milvus")
    milvus_timeout_seconds: float = Field(5.0, gt=0, description="time for one call of Milvus")
    milvus_searches: int = Field(16, ge=1, description="searches that ask Milvus at the same time; others wait")
    milvus_alias: str = Field(
        "twotower", pattern="^[A-Za-z_][A-Za-z0-9_]{0,254}$", description="alias in Milvus that publishing moves"
    )

    @field_validator("shard_count")
    @classmethod
    def _has_shard(cls, count: int, info: ValidationInfo) -> int:
        number = info.data.get("shard_index", 0)
        if number >= count:
            raise ValueError(f"shard {number} is none of {count}: shards count from 0")
        return count

    @property
    def shard(self) -> Shard:
        return Shard(self.shard_index, self.shard_count)

    @property
    def milvus_address(self) -> MilvusAddress:
        return MilvusAddress(self.milvus, self.milvus_token, self.milvus_timeout_seconds, self.milvus_alias)
