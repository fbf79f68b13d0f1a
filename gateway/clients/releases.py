"""ReleaseService of the retrieval service, whole or in shards: what people ask about versions, one call at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from gateway.clients.deadline import Deadline
from gateway.clients.sharded import ShardMissing, name_shards
from twotower.errors import Conflict, DeadlineExceeded, NotConfigured, NotFound, TwoTowerError, Unavailable
from twotower.pb import releases_pb2, releases_pb2_grpc
from twotower.serving import client

Result = TypeVar("Result")


class ReleaseClient:
    """ReleaseService."""

    def __init__(self, channel: Any, name: str = "retrieval service") -> None:
        """Errors call the service `name`."""
        self._stub = releases_pb2_grpc.ReleaseServiceStub(channel)  # type: ignore[no-untyped-call]
        self._name = name

    async def list(self, deadline: Deadline) -> releases_pb2.ListResponse:
        """Every version on disk, newest first."""
        return await client.call(self._stub.List, releases_pb2.ListRequest(), deadline.remaining(), self._name)

    async def report(self, version: str, deadline: Deadline) -> bytes:
        """The report of a version, as HTML. Raises NotFound for an unknown version."""
        request = releases_pb2.ReportRequest(version=version)
        html: bytes = (await client.call(self._stub.Report, request, deadline.remaining(), self._name)).html
        return html

    async def map(self, products: int, deadline: Deadline) -> releases_pb2.MapResponse:
        """The most popular products of the served version, on a plane."""
        request = releases_pb2.MapRequest(products=products)
        return await client.call(self._stub.Map, request, deadline.remaining(), self._name)

    async def publish(self, version: str, deadline: Deadline, *, check_only: bool = False) -> str:
        """Publishes a version; with `check_only` it is only refused as a publication would be.

        Raises NotConfigured where the service may not, and Conflict if the gate kept it or it cannot be loaded.
        """
        request = releases_pb2.PublishRequest(version=version, check_only=check_only)
        answer = await client.call(self._stub.Publish, request, deadline.remaining(), self._name)
        return str(answer.version)


class ShardedReleases:
    """ReleaseService of every shard, with the methods of ReleaseClient: a version counts if every shard can load it.

    The shards may read one artifact folder or a folder each.
    """

    def __init__(self, shards: Sequence[ReleaseClient]) -> None:
        """`shards`: one client each, in order."""
        self._shards = shards

    async def list(self, deadline: Deadline) -> releases_pb2.ListResponse:
        """Every version that some shard has on disk, newest first; its `problem` names the shards that cannot load it.

        Raises ShardMissing if no shard can be reached.
        """
        lists = await self._ask_all(lambda shard: shard.list(deadline))
        found = [one for one in lists if isinstance(one, releases_pb2.ListResponse)]
        if not found:
            raise ShardMissing(range(len(lists)), len(lists))
        names = dict.fromkeys(release.version for one in found for release in one.releases)
        releases = sorted((self._merge(name, lists) for name in names), key=lambda one: one.created_at, reverse=True)
        return releases_pb2.ListResponse(releases=releases, may_publish=all(one.may_publish for one in found))

    async def report(self, version: str, deadline: Deadline) -> bytes:
        """As ReleaseClient.report, of the first shard that can be reached."""
        return await self._ask_one(lambda shard: shard.report(version, deadline))

    async def map(self, products: int, deadline: Deadline) -> releases_pb2.MapResponse:
        """As ReleaseClient.map, of the first shard that can be reached."""
        return await self._ask_one(lambda shard: shard.map(products, deadline))

    async def publish(self, version: str, deadline: Deadline) -> str:
        """Publishes a version that every shard can load, in every artifact folder.

        Raises what ReleaseClient.publish raises, with the shards that refuse it, or ShardMissing; nothing is published
        then. Lists are of the new version when every shard has loaded it.
        """
        checks = await self._ask_all(lambda shard: shard.publish(version, deadline, check_only=True))
        refused = {number: one for number, one in enumerate(checks) if isinstance(one, TwoTowerError)}
        if refused:
            raise self._refusal(refused)
        for shard in self._shards:
            # of shards with one folder only the first one publishes
            listed = (await shard.list(deadline)).releases
            if not any(one.version == version and one.pointer == "CURRENT" for one in listed):
                await shard.publish(version, deadline)
        return version

    async def _ask_all(self, call: Callable[[ReleaseClient], Awaitable[Result]]) -> Sequence[Result | TwoTowerError]:
        """The answer or the error of each shard."""
        answers = await asyncio.gather(*(call(shard) for shard in self._shards), return_exceptions=True)
        found = list[Result | TwoTowerError]()
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, TwoTowerError):
                raise answer
            found.append(answer)
        return found

    async def _ask_one(self, call: Callable[[ReleaseClient], Awaitable[Result]]) -> Result:
        for shard in self._shards:
            try:
                return await call(shard)
            except Unavailable:
                continue
        raise ShardMissing(range(len(self._shards)), len(self._shards))

    def _refusal(self, errors: dict[int, TwoTowerError]) -> TwoTowerError:
        """One error for those of the shards; it names them."""
        missing = [number for number, one in errors.items() if isinstance(one, (Unavailable, DeadlineExceeded))]
        if missing:
            return ShardMissing(missing, len(self._shards))
        words = "; ".join(f"{self._named(number)}: {error}" for number, error in errors.items())
        kinds = {type(error) for error in errors.values()}
        if kinds == {NotFound} and len(errors) == len(self._shards):
            return NotFound(words, field="version")
        return NotConfigured(words) if kinds == {NotConfigured} else Conflict(words)

    def _merge(self, name: str, lists: Sequence[releases_pb2.ListResponse | TwoTowerError]) -> releases_pb2.Release:
        """One version as all shards have it."""
        releases, problems, pointers = [], [], set()
        for number, one in enumerate(lists):
            if isinstance(one, TwoTowerError):
                problems.append(str(one))
                continue
            release = next((each for each in one.releases if each.version == name), None)
            pointers.add(release.pointer if release is not None else "")
            if release is None:
                problems.append(f"{self._named(number)}: there is no version {name!r}")
                continue
            releases.append(release)
            if release.problem:
                problems.append(f"{self._named(number)}: {release.problem}")
        merged = releases_pb2.Release()
        merged.CopyFrom(next((one for one in releases if not one.problem), releases[0]))
        if len(pointers) > 1:
            # shards with a folder each: another version may be published in some folders
            merged.pointer = "" if "" in pointers else "PREVIOUS"
        merged.problem = "; ".join(problems)
        return merged

    def _named(self, number: int) -> str:
        return name_shards([number], len(self._shards))


Releases = ReleaseClient | ShardedReleases


def connect_releases(channels: Sequence[Any]) -> Releases:
    """A client of ReleaseService, by one channel for each shard."""
    if len(channels) == 1:
        return ReleaseClient(channels[0])
    return ShardedReleases(
        [
            ReleaseClient(channel, f"{name_shards([number], len(channels))} of the retrieval service")
            for number, channel in enumerate(channels)
        ]
    )
