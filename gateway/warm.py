"""`python -m gateway.warm`: puts each buyer's last interactions of a model version into Redis, once."""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from gateway.history.breaker import Breaker
from gateway.history.codec import Addition
from gateway.history.connection import connect_redis
from gateway.history.redis_history import RedisHistory
from gateway.settings import GatewaySettings
from twotower.artifact.layout import Layout
from twotower.artifact.pointer import read_pointer
from twotower.artifact.version import Version, open_version
from twotower.errors import CorruptArtifact, InvalidInput, NotFound, SettingsError, TwoTowerError
from twotower.events import check_id
from twotower.history import read_recent
from twotower.serving.settings import read_settings

# buyers in one transaction: Redis does nothing else while it runs one
_BATCH = 100


class Warmed(NamedTuple):
    """What was put into Redis."""

    version: str
    buyers: int
    interactions: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0; 1 where Redis fails; 2 for a setting or a version that is not there; 3 for a corrupt one."""
    parser = argparse.ArgumentParser(prog="python -m gateway.warm", description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=os.environ.get("TWOTOWER_ARTIFACTS", "artifacts"))
    parser.add_argument("--redis", metavar="URL", help="default: TWOTOWER_GATEWAY_REDIS_URL, or the local one")
    parser.add_argument("--version", metavar="NAME", help="default: the one that CURRENT names")
    options = parser.parse_args(arguments)
    try:
        settings = _settings(options.redis)
        version = find_version(Layout(Path(options.artifacts)), options.version)
        warmed = asyncio.run(warm(settings, version))
    except (NotFound, SettingsError) as error:
        return _complain(error, 2)
    except CorruptArtifact as error:
        return _complain(error, 3)
    except TwoTowerError as error:
        return _complain(f"{error} (tried {_shown(settings.redis_url)})", 1)
    print(f"warmed {warmed.buyers} buyers with {warmed.interactions} interactions of version {warmed.version}")
    return 0


def find_version(layout: Layout, name: str | None) -> Version:
    """The version `name`, or the one that CURRENT names; its interactions are hashed. NotFound or CorruptArtifact."""
    if name:
        version = open_version(layout, name)
    else:
        pointer = read_pointer(layout.current)
        if pointer is None:
            raise NotFound(f"there is no {layout.current}: no version has been published yet")
        version = open_version(layout, pointer.version, pointer.manifest_sha256)
    version.check(version.layout.recent)
    return version


async def warm(settings: GatewaySettings, version: Version) -> Warmed:
    """Merges the version's interactions into Redis: newer ones that are there stay. Unavailable without Redis."""
    pipelines = connect_redis(settings)
    breaker = Breaker("Redis", settings.redis_retry_seconds)
    history = RedisHistory(pipelines, settings.history_size, settings.history_ttl_days, breaker)
    buyers = interactions = 0
    try:
        for batch in _batches(read_additions(version.layout.recent), _BATCH):
            for count in await history.add(batch):
                if isinstance(count, Exception):
                    raise count
                buyers += 1
                interactions += count
    finally:
        await history.close()
    return Warmed(version.name, buyers, interactions)


def read_additions(path: Path) -> Iterator[Addition]:
    """What the file holds, buyer by buyer. CorruptArtifact for an id that Redis could not keep."""
    for buyer_id, interactions in read_recent(path):
        try:
            check_id(buyer_id, "buyer_id")
            for one in interactions:
                check_id(one.product_id, "product_id")
                check_id(one.event_type, "event_type")
        except (InvalidInput, TypeError) as error:
            raise CorruptArtifact(f"{path} holds an unusable interaction of buyer {buyer_id!r}: {error}") from None
        if interactions:
            yield Addition(buyer_id, interactions)


def _batches(additions: Iterable[Addition], size: int) -> Iterator[list[Addition]]:
    iterator = iter(additions)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _settings(redis_url: str | None) -> GatewaySettings:
    settings = read_settings(GatewaySettings, "gateway")
    if redis_url is None:
        return settings
    environ = {**os.environ, "TWOTOWER_GATEWAY_REDIS_URL": redis_url}
    return read_settings(GatewaySettings, "gateway", environ)


def _shown(url: str) -> str:
    """A URL without user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _complain(error: object, code: int) -> int:
    print(f"gateway.warm: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
