"""Which model versions a replica holds: CURRENT and PREVIOUS, loaded beside the old ones, swapped by one reference."""

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
    """The versions held at one moment, and which of them answers a request that names none."""

    current: str = ""
    snapshots: Mapping[str, Snapshot] = field(default_factory=dict)


class Versions(Generic[Snapshot]):
    """Follows CURRENT: a new version is loaded and warmed by `load` in a thread, then swapped in.

    `load` gets an opened Version, checks the files it opens, warms itself, and returns the snapshot; what it raises is
    logged and counted, and the versions held go on serving. A refused version is tried again only when its pointer
    changes or, since a folder may be repaired in place, after `retry_polls` polls.
    """

    def __init__(self, layout: Layout, load: Callable[[Version], Snapshot], retry_polls: int = 15) -> None:
        self._layout = layout
        self._load = load
        self._retry_polls = retry_polls
        self._held: Held[Snapshot] = Held()
        self._loaded: dict[Pointer, Snapshot] = {}
        self._serving: Pointer | None = None
        self._before: Pointer | None = None
        self._refused: dict[Pointer, int] = {}
        self._pointers: dict[Path, Pointer | None] = {}
        self._pointer_problems: dict[Path, str] = {}

    @property
    def ready(self) -> bool:
        return bool(self._held.current)

    @property
    def held(self) -> list[str]:
        """Names of the versions held, the current one first."""
        held = self._held
        return [held.current, *(name for name in held.snapshots if name != held.current)] if held.current else []

    def get(self, version: str = "") -> tuple[str, Snapshot]:
        """The name and snapshot of `version`, or of the current one where it is empty.

        Unavailable before the first version is loaded; VersionNotHeld for one that is not here.
        """
        held = self._held
        if not held.current:
            raise Unavailable("no model version is loaded yet")
        name = version or held.current
        if name not in held.snapshots:
            raise VersionNotHeld(name, self.held)
        return name, held.snapshots[name]

    async def follow(self, seconds: float, on_change: Callable[[], Awaitable[None]]) -> None:
        """Polls for ever; calls `on_change` after each swap."""
        while True:
            if await self.poll():
                await on_change()
            await asyncio.sleep(seconds)

    async def poll(self) -> bool:
        """Looks at CURRENT and PREVIOUS once and loads what is new. True where the versions held changed."""
        current = self._read(self._layout.current)
        previous = self._read(self._layout.previous)
        for pointer in (current, previous):
            if pointer is not None and pointer not in self._loaded:
                await self._take(pointer, pointer == current)
        return self._swap(current, previous)

    def _read(self, path: Path) -> Pointer | None:
        """What a pointer says; while it cannot be read, what it said last, and None where it never could be."""
        try:
            self._pointers[path] = read_pointer(path)
            self._pointer_problems.pop(path, None)
        except CorruptArtifact as error:
            if str(error) != self._pointer_problems.get(path):
                log.error("the version pointer cannot be read: %s", error)
                VERSION_LOADS.labels("refused").inc()
            self._pointer_problems[path] = str(error)
        return self._pointers.get(path)

    async def _take(self, pointer: Pointer, is_current: bool) -> None:
        waited = self._refused.get(pointer, self._retry_polls)
        if waited < self._retry_polls:
            self._refused[pointer] = waited + 1
            return
        try:
            version = await asyncio.to_thread(open_version, self._layout, pointer.version, pointer.manifest_sha256)
            self._loaded[pointer] = await asyncio.to_thread(self._load, version)
        except Exception as error:  # whatever a library raises for a bad file, what is held goes on serving
            self._refused[pointer] = 0
            VERSION_LOADS.labels("refused").inc()
            level = logging.ERROR if is_current or not isinstance(error, NotFound) else logging.INFO
            unforeseen = not isinstance(error, (TwoTowerError, OSError))
            log.log(level, "version refused: %s", error, extra={"version": pointer.version}, exc_info=unforeseen)
            return
        self._refused.pop(pointer, None)
        VERSION_LOADS.labels("loaded").inc()

    def _swap(self, current: Pointer | None, previous: Pointer | None) -> bool:
        """Takes what CURRENT names; while that is refused, what served until now; at a start, what PREVIOUS names."""
        serving = next((p for p in (current, self._serving, previous) if p is not None and p in self._loaded), None)
        if serving is None:
            return False
        if serving != self._serving:
            # the version that answered until now stays until the next change, for requests that began on it
            self._before = self._serving
            self._serving = serving
        keep = [p for p in (self._before, previous, serving) if p is not None and p in self._loaded]
        self._loaded = {pointer: self._loaded[pointer] for pointer in dict.fromkeys(keep)}
        snapshots = {pointer.version: snapshot for pointer, snapshot in self._loaded.items()}
        if serving.version == self._held.current and snapshots == dict(self._held.snapshots):
            return False
        for name in {*self._held.snapshots, *snapshots}:
            MODEL_INFO.labels(name).set(name == serving.version)
        self._held = Held(serving.version, MappingProxyType(snapshots))
        log.info("versions held", extra={"current": serving.version, "held": self.held})
        return True
