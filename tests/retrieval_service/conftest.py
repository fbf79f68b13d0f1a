"""A retrieval service on the tiny version, and that version's vectors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.retrieval import (
    Stub,
    opened,
)
from tests.helpers.services import running
from twotower.arrays import Float32
from twotower.serving.client import connect


@pytest.fixture
def stored(tiny: Path) -> Float32:
    return np.load(opened(tiny).layout.embeddings)


@pytest.fixture
async def stub(tiny: Path) -> AsyncIterator[Stub]:
    async with (
        running("retrieval", tiny, max_batch=50, max_lookup=100) as service,
        connect(service.address) as channel,
    ):
        yield Stub(channel)
