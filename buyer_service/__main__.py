"""`python -m buyer_service`: serves until SIGTERM."""

from __future__ import annotations

import sys

from buyer_service.settings import BuyerSettings
from twotower.serving.run import run


async def _serve(settings: BuyerSettings) -> None:
    from buyer_service.servicer import serve  # imports numpy, which reads the thread limits that `run` sets

    await serve(settings)


if __name__ == "__main__":
    sys.exit(run("buyer", BuyerSettings, _serve))
