"""`python -m item_service`: serves until SIGTERM."""

from __future__ import annotations

import sys

from item_service.settings import ItemSettings
from twotower.serving.run import run


async def _serve(settings: ItemSettings) -> None:
    from item_service.servicer import serve  # imports numpy, which reads the thread limits that `run` sets

    await serve(settings)


if __name__ == "__main__":
    sys.exit(run("item", ItemSettings, _serve))
