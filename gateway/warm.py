"""`python -m gateway.warm`: copies each buyer's newest interactions from a model version into Redis.

With `--watch` it goes on and loads them again whenever Redis has lost them, and those of each new version.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from gateway.history.breaker import Breaker
from gateway.history.codec import Addition
from gateway.history.connection import connect_redis
from gateway.history.redis_history import RedisHistory
from gateway.settings import GatewaySettings
from twotower.artifact.layout import Layout
from twotower.artifact.pointer import Pointer, read_pointer
from twotower.artifact.version import Version, open_version
from twotower.errors import CorruptArtifact, InvalidInput, NotFound, SettingsError, TwoTowerError
from twotower.events import check_id
from twotower.forgotten import ForgottenBuyers
from twotower.history import read_recent
from twotower.serving.settings import read_settings

# buyers per transaction; Redis serves nobody else while it runs one
_BATCH_BUYERS = 100
# between two looks, and how long a loader that has died keeps others from loading
_WATCH_SECONDS, _LEASE_SECONDS = 0.5, 30


class Warmed(NamedTuple):
    """How much was copied into Redis."""

    version: str
    buyers: int
    interactions: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, 1 if Redis fails, 2 for a wrong setting or missing version, 3 for a corrupt version."""
    parser = argparse.ArgumentParser(prog="python -m gateway.warm", description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=os.environ.get("TWOTOWER_ARTIFACTS", "artifacts"))
    parser.add_argument("--redis", metavar="URL", help="default: TWOTOWER_GATEWAY_REDIS_URL, else the local Redis")
    parser.add_argument("--version", metavar="NAME", help="default: the version that CURRENT names")
    parser.add_argument("--replace", action="store_true", help="drop what Redis has of the version's buyers first")
    parser.add_argument("--watch", action="store_true", help="load whenever Redis has lost the histories")
    options = parser.parse_args(arguments)
    try:
        settings, layout = _read_settings(options.redis), Layout(Path(options.artifacts))
        if options.watch:
            asyncio.run(_watch(settings, layout))
            return 0
        warmed = asyncio.run(warm(settings, find_version(layout, options.version), replace=options.replace))
    except (NotFound, SettingsError) as error:
        return _print_problem(error, 2)
    except CorruptArtifact as error:
        return _print_problem(error, 3)
    except TwoTowerError as error:
        return _print_problem(f"{error} (tried {_without_password(settings.redis_url)})", 1)
    print(_describe(warmed))
    return 0


async def _watch(settings: GatewaySettings, layout: Layout) -> None:
    """Loads histories whenever Redis has lost them or another version is served, until SIGTERM or SIGINT."""
    problem, stop, history = "", asyncio.Event(), _open_history(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    while not stop.is_set():
        try:
            if await _is_due(history, layout):
                print(_describe(await warm(settings, find_version(layout, None))), flush=True)
            problem = ""
        except TwoTowerError as error:
            # Redis or the version comes back: what lasts is said once
            if str(error) != problem:
                _print_problem(error, 1)
            problem = str(error)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), _WATCH_SECONDS)
    await history.close()


async def _is_due(history: RedisHistory, layout: Layout) -> bool:
    """Whether Redis lacks the histories of the served version and nobody else is loading them; opens no version."""
    served = _read_current(layout).version
    return await history.loaded_version() != served and await history.may_load(_LEASE_SECONDS)


def _describe(warmed: Warmed) -> str:
    return f"warmed {warmed.buyers} buyers with {warmed.interactions} interactions of version {warmed.version}"


def _open_history(settings: GatewaySettings) -> RedisHistory:
    breaker = Breaker("Redis", settings.redis_retry_seconds)
    return RedisHistory(connect_redis(settings), settings.history_size, settings.history_ttl_days, breaker)


def find_version(layout: Layout, name: str | None) -> Version:
    """The version `name`, or the one that CURRENT names, with its interactions verified by hash.

    Raises NotFound or CorruptArtifact.
    """
    if name:
        version = open_version(layout, name)
    else:
        pointer = _read_current(layout)
        version = open_version(layout, pointer.version, pointer.manifest_sha256)
    version.check(version.layout.recent)
    return version


def _read_current(layout: Layout) -> Pointer:
    pointer = read_pointer(layout.current)
    if pointer is None:
        raise NotFound(f"there is no {layout.current}: publish a version first")
    return pointer


async def warm(settings: GatewaySettings, version: Version, *, replace: bool = False) -> Warmed:
    """Merges the version's interactions into Redis and keeps newer ones there; skips forgotten buyers.

    With `replace`, what Redis has of the version's buyers is dropped first.

    Raises Unavailable if Redis fails, and CorruptArtifact if the list of forgotten buyers cannot be read.
    """
    forgotten = ForgottenBuyers.read(settings.forgotten_file or version.layout.artifacts.forgotten)
    history = _open_history(settings)
    buyers = interactions = 0
    try:
        additions = (one for one in read_additions(version.layout.recent) if one.buyer_id not in forgotten)
        for batch in _batches(additions, _BATCH_BUYERS):
            if replace:
                await history.remove([one.buyer_id for one in batch])
            for count in await history.add(batch):
                if isinstance(count, Exception):
                    raise count
                buyers += 1
                interactions += count
            # a buyer who is forgotten while this runs must not come back by it
            forgotten.refresh()
            if late := [one.buyer_id for one in batch if one.buyer_id in forgotten]:
                await history.remove(late)
        await history.mark_loaded(version.name)
    finally:
        await history.close()
    return Warmed(version.name, buyers, interactions)


def read_additions(path: Path) -> Iterator[Addition]:
    """The interactions of a file, buyer by buyer. Raises CorruptArtifact for an id that Redis cannot store."""
    for buyer_id, interactions in read_recent(path):
        try:
            check_id(buyer_id, "buyer_id")
            for interaction in interactions:
                check_id(interaction.product_id, "product_id")
                check_id(interaction.event_type, "event_type")
        except (InvalidInput, TypeError) as error:
            raise CorruptArtifact(f"{path} holds an unusable interaction of buyer {buyer_id!r}: {error}") from None
        if interactions:
            yield Addition(buyer_id, interactions)


def _batches(additions: Iterable[Addition], size: int) -> Iterator[list[Addition]]:
    iterator = iter(additions)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


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
