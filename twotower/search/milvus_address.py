"""Where Milvus is; apart from what searches there, since settings are read before any numeric library."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple


class MilvusAddress(NamedTuple):
    """Where Milvus is. `alias` names the collection of the published version, for the shop's own tools."""

    uri: str
    token: str = ""
    timeout_seconds: float = 5.0
    alias: str = "twotower"

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> MilvusAddress:
        """The address that TWOTOWER_MILVUS, TWOTOWER_MILVUS_TOKEN and TWOTOWER_MILVUS_ALIAS give, for the trainer."""
        alias = environ.get("TWOTOWER_MILVUS_ALIAS", "twotower")
        # nobody waits for a trainer's answer
        return cls(environ.get("TWOTOWER_MILVUS", ""), environ.get("TWOTOWER_MILVUS_TOKEN", ""), 60.0, alias)
