"""`python -m gateway.warm`: copies each buyer's newest interactions from a model version into Redis.

With `--watch` it stays, and does so whenever Redis has lost its histories or a version with others is published.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from gateway.history import loader
from gateway.history.breaker import Breaker
from gateway.history.clock import SharedClock
from gateway.history.connect import connect_redis
from gateway.history.loader import Loaded, LoadingElsewhere, Mark
from gateway.history.redis_client import RedisClient
from gateway.history.redis_history import RedisHistory
from gateway.settings import GatewaySettings
from twotower.artifact.layout import Layout
from twotower.artifact.pointer import Pointer, read_pointer
from twotower.artifact.version import Version, open_version
from twotower.errors import CorruptArtifact, NotFound, SettingsError, TwoTowerError, Unavailable
from twotower.forgotten import ForgottenBuyers
from twotower.serving import telemetry
from twotower.serving.settings import read_settings

log = logging.getLogger(__name__)

# how often `--watch` looks at CURRENT and at Redis, and how long it waits after a damaged version
_WATCH_SECONDS = 0.25
_RETRY_SECONDS = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, 1 if Redis fails, 2 for a wrong setting or missing version, 3 for a corrupt version."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.watch and options.replace:
        parser.error("--watch only merges: run --replace as a command of its own")
    try:
        settings = _read_settings(options.redis)
        layout = Layout(Path(options.artifacts))
        if options.watch:
            telemetry.configure_logging("warm", settings.log_level)
            asyncio.run(_watch_until_signal(settings, layout, options.ready_file))
            return 0
        version = find_version(layout, options.version)
        loaded = asyncio.run(warm(settings, version, replace=options.replace))
    except (NotFound, SettingsError) as error:
        return _print_problem(error, 2)
    except CorruptArtifact as error:
        return _print_problem(error, 3)
    except TwoTowerError as error:
        return _print_problem(f"{error} (tried {_without_password(settings.redis_url)})", 1)
    print(_describe(loaded))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gateway.warm", description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=os.environ.get("TWOTOWER_ARTIFACTS", "artifacts"))
    parser.add_argument("--redis", metavar="URL", help="default: TWOTOWER_GATEWAY_REDIS_URL, else the local Redis")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--version", metavar="NAME", help="default: the version that CURRENT names")
    what.add_argument("--watch", action="store_true", help="stay, and load again whenever that is needed")
    parser.add_argument(
        "--replace",
        action="store_true",
        help="replace the histories of the version's buyers, also what was stored since, instead of merging",
    )
    parser.add_argument("--ready-file", type=Path, metavar="PATH", help="with --watch: exists while all is loaded")
    return parser


def find_version(layout: Layout, name: str | None) -> Version:
    """The version `name`, or the one that CURRENT names. Raises NotFound or CorruptArtifact."""
    if name:
        return open_version(layout, name)
    pointer = read_pointer(layout.current)
    if pointer is None:
        raise NotFound(f"there is no {layout.current}: publish a version first")
    return open_version(layout, pointer.version, pointer.manifest_sha256)


async def warm(settings: GatewaySettings, version: Version, *, replace: bool = False) -> Loaded:
    """Loads the version once. If another process is loading, waits for its end first. Raises as `loader.load` does."""
    forgotten = ForgottenBuyers.read(settings.forgotten_file or version.layout.artifacts.forgotten)
    async with _connect(settings) as history:
        while True:
            try:
                return await loader.load(history, version, forgotten, replace=replace)
            except LoadingElsewhere:
                await asyncio.sleep(_WATCH_SECONDS)


class HistoryWatch:
    """Loads the published version's histories whenever Redis has none, and those of each newly published version."""

    def __init__(self, history: RedisHistory, layout: Layout, forgotten_file: Path | None = None) -> None:
        self._history = history
        self._forgotten_file = forgotten_file or layout.forgotten
        self._layout = layout
        self._pointer: Pointer | None = None
        self._version: Version | None = None
        self._loaded: Mark | None = None

    async def look(self) -> Loaded | None:
        """Returns what was loaded, None if nothing had to be. Raises NotFound without a version, or as `load` does."""
        version = self._current()
        wanted, found = loader.mark_of(version), await loader.read_mark(self._history)
        # another process may load another version over this one: two of them must not take turns for ever
        if found is not None and wanted in (found, self._loaded):
            self._loaded = wanted
            return None
        if found is not None and found.recent_sha256 == wanted.recent_sha256:
            loaded = await loader.adopt(self._history, version)
        else:
            loaded = await loader.load(self._history, version, ForgottenBuyers.read(self._forgotten_file))
        self._loaded = wanted
        return loaded

    def _current(self) -> Version:
        pointer = read_pointer(self._layout.current)
        if pointer is None:
            raise NotFound(f"there is no {self._layout.current} yet")
        if self._version is None or pointer != self._pointer:
            self._version = open_version(self._layout, pointer.version, pointer.manifest_sha256)
            self._pointer = pointer
        return self._version


async def watch(settings: GatewaySettings, layout: Layout, ready_file: Path | None, stop: asyncio.Event) -> None:
    """Looks until `stop` is set; no fault ends it. `ready_file` exists while the histories are loaded."""
    problem, redis_failed = "", False
    async with _connect(settings) as history:
        watching = HistoryWatch(history, layout, settings.forgotten_file)
        while not stop.is_set():
            pause, before, problem = _WATCH_SECONDS, problem, ""
            failed_before, redis_failed = redis_failed, False
            try:
                if loaded := await watching.look():
                    log.info(_describe(loaded))
            except LoadingElsewhere as error:
                problem = str(error)
            except NotFound as error:
                problem = str(error)
            except Unavailable as error:
                problem, redis_failed = str(error), True
            except CorruptArtifact as error:
                problem, pause = str(error), _RETRY_SECONDS
            # while Redis is down, its problems alternate: no answer, and not asked again yet
            if problem not in ("", before) and not (redis_failed and failed_before):
                log.warning("histories are not loaded: %s", problem)
            if ready_file is not None:
                _show(ready_file, is_ready=not problem)
            await _wait(stop, pause)


async def _watch_until_signal(settings: GatewaySettings, layout: Layout, ready_file: Path | None) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    task = asyncio.create_task(watch(settings, layout, ready_file, stop))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not task.done():
        # a load may take minutes, and the next process begins it again
        task.cancel()
    with suppress(asyncio.CancelledError):
        await task


@asynccontextmanager
async def _connect(settings: GatewaySettings) -> AsyncIterator[RedisHistory]:
    breaker, clock = Breaker("Redis", settings.redis_retry_seconds), SharedClock()
    history = RedisHistory(RedisClient(connect_redis(settings), breaker), settings.history_size, clock)
    try:
        yield history
    finally:
        await history.close()


def _show(ready_file: Path, *, is_ready: bool) -> None:
    if is_ready:
        ready_file.touch()
    else:
        ready_file.unlink(missing_ok=True)


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


def _describe(loaded: Loaded) -> str:
    text = f"warmed {loaded.buyers} buyers with {loaded.interactions} interactions of version {loaded.version}"
    return f"{text}, and {loaded.adopted} that were kept apart" if loaded.adopted else text


def _read_settings(redis_url: str | None) -> GatewaySettings:
    settings = read_settings(GatewaySettings, "gateway")
    if redis_url is None:
        return settings
    environ = {**os.environ, "TWOTOWER_GATEWAY_REDIS_URL": redis_url}
    return read_settings(GatewaySettings, "gateway", environ)


def _without_password(url: str) -> str:
    """The URL without user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _print_problem(error: object, code: int) -> int:
    print(f"gateway.warm: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
