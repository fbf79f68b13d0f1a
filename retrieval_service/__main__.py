"""`python -m retrieval_service`: serves until SIGTERM."""

from __future__ import annotations

import sys

from retrieval_service.settings import RetrievalSettings
from twotower.serving.run import run


async def _serve(settings: RetrievalSettings) -> None:
    from retrieval_service.servicer import serve  # imports numpy, which reads the thread limits that `run` sets

    await serve(settings)


if __name__ == "__main__":
    sys.exit(run("retrieval", RetrievalSettings, _serve))
