"""The synonyms in use: those that ship and a shop's own file over them, which is read again when it changes."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from item_service.query.synonyms import Synonyms, read_lines, shipped_lines
from twotower.errors import InvalidInput

log = logging.getLogger(__name__)


class ShopSynonyms:
    """Holds the current synonyms; a reader takes `current` once for each query."""

    def __init__(self, path: Path | None) -> None:
        """Raises InvalidInput, which names the line, for a file that cannot be read."""
        self._path = path
        self._stamp = _stamp(path)
        self.current = _read(path)

    async def follow(self, seconds: float) -> None:
        """Looks at the file every `seconds` until cancelled."""
        while self._path is not None:
            await asyncio.sleep(seconds)
            await asyncio.to_thread(self.poll)

    def poll(self) -> bool:
        """Reads the file if it has changed. A file with an error is logged, and the synonyms before it stay."""
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self.current = _read(self._path)
        except InvalidInput as error:
            log.error("the shop's synonyms are not read again: %s", error, extra={"file": str(self._path)})
            return False
        log.info("the shop's synonyms were read again", extra={"file": str(self._path)})
        return True


def _read(path: Path | None) -> Synonyms:
    return Synonyms.of(shipped_lines()) if path is None else Synonyms.of(shipped_lines(), read_lines(path))


def _stamp(path: Path | None) -> tuple[int, int, int] | None:
    """What changes when a file is written or replaced; None if there is none."""
    try:
        found = path.stat() if path is not None else None
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if found is not None else None
