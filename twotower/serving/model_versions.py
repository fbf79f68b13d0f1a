"""The model versions that a replica holds: what CURRENT, PREVIOUS and EXPERIMENTS name. One reference swaps them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Generic, TypeVar

from twotower.artifact.layout import Layout
from twotower.artifact.pointer import Pointer, read_experiment_pointers, read_pointer
from twotower.artifact.private_copy import CopyCache
from twotower.artifact.version import Version, open_version
from twotower.errors import CorruptArtifact, NotFound, TwoTowerError, Unavailable, VersionNotHeld
from twotower.serving.telemetry import (
    MODEL_CREATED,
    MODEL_INFO,
    MODEL_NEWEST_EVENT,
    MODEL_QUALITY,
    VERSION_LOADS,
)

log = logging.getLogger(__name__)

Snapshot = TypeVar("Snapshot")

# of each file that a version may read: its path, inode, size and time of change (nanoseconds)
Stamp = tuple[tuple[str, int, int, int], ...]

# how often a corrupt version is read again although no file of it has changed
_UNCHANGED_SECONDS = 60.0
# of a version's test, those that are shown as metrics
_QUALITY = ("recall@10", "ndcg@10", "coverage@10")


@dataclass(frozen=True)
class Held(Generic[Snapshot]):
    """The versions held at one moment; `current` answers a request that names no version."""

    current: str = ""
    snapshots: Mapping[str, Snapshot] = field(default_factory=dict)


@dataclass(frozen=True)
class _Refusal:
    """When the last attempt at a version began (monotonic seconds), why it failed, and its files before it."""

    tried: float
    reason: str
    is_corrupt: bool
    files: Stamp


class Versions(Generic[Snapshot]):
    """Follows CURRENT: `load` loads and warms a new version in a thread, then one reference swaps it in.

    `load` gets an opened Version, verifies the files it opens, and returns a snapshot that is ready to answer. With a
    `cache` these files are private copies, else those of the artifact folder. If it raises, the version is refused: the
    error is logged and counted, and the versions held go on serving. A refused version is tried again when its pointer
    changes, and `retry_seconds` after the last attempt began, because its folder may be repaired. A corrupt one must
    also have changed, or a minute must have passed: to hash a large version again every two seconds would cost a core.
    """

    def __init__(
        self,
        layout: Layout,
        load: Callable[[Version], Snapshot],
        cache: CopyCache | None = None,
        retry_seconds: float = 2.0,
    ) -> None:
        self._layout = layout
        self._load = load
        self._cache = cache
        self._retry_seconds = retry_seconds
        self._held: Held[Snapshot] = Held()
        self._loaded: dict[Pointer, Snapshot] = {}
        self._serving: Pointer | None = None
        self._last: Pointer | None = None
        self._refused: dict[Pointer, _Refusal] = {}
        self._pointers: dict[Path, list[Pointer]] = {}
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
        """Reads all pointers once and loads new versions. Returns True if the versions held changed."""
        current = next(iter(self._read(self._layout.current)), None)
        previous = next(iter(self._read(self._layout.previous)), None)
        tested = self._read(self._layout.experiments)
        named = [pointer for pointer in (current, previous, *tested) if pointer is not None]
        self._refused = {pointer: refusal for pointer, refusal in self._refused.items() if pointer in named}
        due = [one for one in dict.fromkeys(named) if one not in self._loaded and self._is_due(one)]
        for pointer in due:
            await self._try_to_load(pointer, pointer == current)
        changed = self._swap(current, previous, tested)
        if self._cache is not None and (due or changed):
            await asyncio.to_thread(self._remove_copies, self._cache, {*named, *self._loaded})
        return changed

    def _read(self, path: Path) -> Sequence[Pointer]:
        """The pointers in a file, or the last ones read if the file is unreadable now."""
        try:
            if path == self._layout.experiments:
                self._pointers[path] = read_experiment_pointers(path)
            else:
                pointer = read_pointer(path)
                self._pointers[path] = [] if pointer is None else [pointer]
            self._pointer_problems.pop(path, None)
        except CorruptArtifact as error:
            if str(error) != self._pointer_problems.get(path):
                log.error("cannot read the version pointer: %s", error)
                VERSION_LOADS.labels("refused").inc()
            self._pointer_problems[path] = str(error)
        return self._pointers.get(path, [])

    def _is_due(self, pointer: Pointer) -> bool:
        refusal = self._refused.get(pointer)
        if refusal is None:
            return True
        waited = time.monotonic() - refusal.tried
        if waited < self._retry_seconds:
            return False
        return not refusal.is_corrupt or waited >= _UNCHANGED_SECONDS or refusal.files != self._stamp(pointer)

    def _stamp(self, pointer: Pointer) -> Stamp:
        try:
            folders = (self._layout.version(pointer.version).root, self._layout.encoders)
            found = [(str(one), one.stat()) for folder in folders for one in folder.rglob("*")]
        except OSError:
            return ()
        return tuple(sorted((path, stat.st_ino, stat.st_size, stat.st_ctime_ns) for path, stat in found))

    async def _try_to_load(self, pointer: Pointer, is_current: bool) -> None:
        began, files = time.monotonic(), self._stamp(pointer)
        try:
            self._loaded[pointer] = await asyncio.to_thread(self._open, pointer)
        except Exception as error:  # libraries raise anything for a bad file; the versions held must go on serving
            VERSION_LOADS.labels("refused").inc()
            last = self._refused.get(pointer)
            self._refused[pointer] = _Refusal(began, str(error), isinstance(error, CorruptArtifact), files)
            if last is None or last.reason != str(error):  # said once, not at every attempt
                level = logging.ERROR if is_current or not isinstance(error, NotFound) else logging.INFO
                unexpected = not isinstance(error, (TwoTowerError, OSError))
                log.log(level, "version refused: %s", error, extra={"version": pointer.version}, exc_info=unexpected)
            return
        self._refused.pop(pointer, None)
        VERSION_LOADS.labels("loaded").inc()

    def _open(self, pointer: Pointer) -> Snapshot:
        version = open_version(self._layout, pointer.version, pointer.manifest_sha256)
        if self._cache is not None:
            version = self._cache.copy_of(version, pointer.manifest_sha256)
        snapshot = self._load(version)
        _describe(version)
        return snapshot

    @staticmethod
    def _remove_copies(cache: CopyCache, used: Collection[Pointer]) -> None:
        """Removes copies that nobody uses. A failure costs disk, not the service: the next change tries again."""
        try:
            removed = cache.keep({pointer.manifest_sha256 for pointer in used})
        except OSError as error:
            log.error("cannot remove unused copies: %s", error)
            return
        if removed:
            log.info("unused copies removed", extra={"copies": removed})

    def _swap(self, current: Pointer | None, previous: Pointer | None, tested: Sequence[Pointer]) -> bool:
        """Serves the version of CURRENT if it is loaded, else the one served until now, else the one of PREVIOUS."""
        serving = next((p for p in (current, self._serving, previous) if p is not None and p in self._loaded), None)
        if serving is None:
            return False
        if serving != self._serving:
            # requests that began on the last version still need it: it stays until the next change
            self._last = self._serving
            self._serving = serving
        # those of experiments last: without a common version, replicas settle on the first one that all hold
        keep = [p for p in (self._last, previous, serving, *tested) if p is not None and p in self._loaded]
        self._loaded = {pointer: self._loaded[pointer] for pointer in dict.fromkeys(keep)}
        snapshots = {pointer.version: snapshot for pointer, snapshot in self._loaded.items()}
        if serving.version == self._held.current and snapshots == dict(self._held.snapshots):
            return False
        for name in {*self._held.snapshots, *snapshots}:
            MODEL_INFO.labels(name).set(name == serving.version)
        self._held = Held(serving.version, MappingProxyType(snapshots))
        log.info("versions held", extra={"current": serving.version, "held": self.held})
        return True


def _describe(version: Version) -> None:
    """Sets the metrics that say what a version is."""
    name, manifest = version.name, version.manifest
    MODEL_CREATED.labels(name).set(datetime.fromisoformat(manifest.created_at).timestamp())
    if manifest.newest_event_ms is not None:
        MODEL_NEWEST_EVENT.labels(name).set(manifest.newest_event_ms / 1000)
    for metric in _QUALITY:
        if metric in (tested := manifest.metrics.get("model", {})):
            MODEL_QUALITY.labels(name, metric).set(tested[metric])
