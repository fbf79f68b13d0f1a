"""The model versions that a replica holds: it loads what CURRENT and PREVIOUS name, then swaps one reference."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Generic, TypeVar

from twotower.artifact.layout import Layout
from twotower.artifact.pointer import Pointer, read_pointer
from twotower.artifact.version import Version, open_version
from twotower.errors import CorruptArtifact, NotFound, TwoTowerError, Unavailable, VersionNotHeld
from twotower.serving.telemetry import MODEL_INFO, VERSION_LOADS

log = logging.getLogger(__name__)

Snapshot = TypeVar("Snapshot")


@dataclass(frozen=True)
class Held(Generic[Snapshot]):
    """The versions held at one moment; `current` answers a request that names no version."""

    current: str = ""
    snapshots: Mapping[str, Snapshot] = field(default_factory=dict)


class Versions(Generic[Snapshot]):
    """Follows CURRENT: `load` loads and warms a new version in a thread, then one reference swaps it in.

    `load` gets an opened Version, verifies the files it opens, and returns a snapshot that is ready to answer. If it
    raises, the version is refused: the error is logged and counted, and the versions held go on serving. A refused
    version is tried again when its pointer changes, or after `retry_polls` polls, because its folder may be repaired.
    """

    def __init__(self, layout: Layout, load: Callable[[Version], Snapshot], retry_polls: int = 15) -> None:
        self._layout = layout
        self._load = load
        self._retry_polls = retry_polls
        self._held: Held[Snapshot] = Held()
        self._loaded: dict[Pointer, Snapshot] = {}
        self._serving: Pointer | None = None
        self._last: Pointer | None = None
        self._refused: dict[Pointer, int] = {}
        self._pointers: dict[Path, Pointer | None] = {}
        self._pointer_problems: dict[Path, str] = {}

    @property
    def is_ready(self) -> bool:
        """True once a version is loaded."""
        return bool(self._held.current)

    @property
    def held(self) -> list[str]:
        """The names of the versions held, the current one first."""
        held = self._held
        return [held.current, *(name for name in held.snapshots if name != held.current)] if held.current else []

    def get(self, version: str = "") -> tuple[str, Snapshot]:
        """The name and snapshot of `version`, or of the current one if `version` is empty.

        Raises Unavailable before the first version is loaded, and VersionNotHeld for a version that is not held.
        """
        held = self._held
        if not held.current:
            raise Unavailable("no model version is loaded yet")
        name = version or held.current
        if name not in held.snapshots:
            raise VersionNotHeld(name, self.held)
        return name, held.snapshots[name]

    async def follow(self, seconds: float, on_change: Callable[[], Awaitable[None]]) -> None:
        """Polls every `seconds` until cancelled; calls `on_change` after each swap."""
        while True:
            if await self.poll():
                await on_change()
            await asyncio.sleep(seconds)

    async def poll(self) -> bool:
        """Reads CURRENT and PREVIOUS once and loads new versions. Returns True if the versions held changed."""
        current = self._read(self._layout.current)
        previous = self._read(self._layout.previous)
        for pointer in (current, previous):
            if pointer is not None and pointer not in self._loaded:
                await self._try_to_load(pointer, pointer == current)
        return self._swap(current, previous)

    def _read(self, path: Path) -> Pointer | None:
        """The pointer in a file, or the last one read if the file is unreadable now; None if there was none."""
        try:
            self._pointers[path] = read_pointer(path)
            self._pointer_problems.pop(path, None)
        except CorruptArtifact as error:
            if str(error) != self._pointer_problems.get(path):
                log.error("cannot read the version pointer: %s", error)
                VERSION_LOADS.labels("refused").inc()
            self._pointer_problems[path] = str(error)
        return self._pointers.get(path)

    async def _try_to_load(self, pointer: Pointer, is_current: bool) -> None:
        waited = self._refused.get(pointer, self._retry_polls)
        if waited < self._retry_polls:
            self._refused[pointer] = waited + 1
            return
        try:
            version = await asyncio.to_thread(open_version, self._layout, pointer.version, pointer.manifest_sha256)
            self._loaded[pointer] = await asyncio.to_thread(self._load, version)
        except Exception as error:  # libraries raise anything for a bad file; the versions held must go on serving
            self._refused[pointer] = 0
            VERSION_LOADS.labels("refused").inc()
            level = logging.ERROR if is_current or not isinstance(error, NotFound) else logging.INFO
            unexpected = not isinstance(error, (TwoTowerError, OSError))
            log.log(level, "version refused: %s", error, extra={"version": pointer.version}, exc_info=unexpected)
            return
        self._refused.pop(pointer, None)
        VERSION_LOADS.labels("loaded").inc()

    def _swap(self, current: Pointer | None, previous: Pointer | None) -> bool:
        """Serves the version of CURRENT if it is loaded, else the one served until now, else the one of PREVIOUS."""
        serving = next((p for p in (current, self._serving, previous) if p is not None and p in self._loaded), None)
        if serving is None:
            return False
        if serving != self._serving:
            # requests that began on the last version still need it: it stays until the next change
            self._last = self._serving
            self._serving = serving
        keep = [p for p in (self._last, previous, serving) if p is not None and p in self._loaded]
        self._loaded = {pointer: self._loaded[pointer] for pointer in dict.fromkeys(keep)}
        snapshots = {pointer.version: snapshot for pointer, snapshot in self._loaded.items()}
        if serving.version == self._held.current and snapshots == dict(self._held.snapshots):
            return False
        for name in {*self._held.snapshots, *snapshots}:
            MODEL_INFO.labels(name).set(name == serving.version)
        self._held = Held(serving.version, MappingProxyType(snapshots))
        log.info("versions held", extra={"current": serving.version, "held": self.held})
        return True
