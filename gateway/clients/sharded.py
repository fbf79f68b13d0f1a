"""The retrieval service in shards: asks all of them at once, and answers as one service that holds every product."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from gateway import metrics
from gateway.clients import merging
from gateway.clients.answers import Hits, RegularHits, RisingHits, Together, Vector
from gateway.clients.deadline import Deadline
from gateway.clients.retrieval_client import RetrievalClient
from twotower.errors import DeadlineExceeded, Unavailable, VersionNotHeld
from twotower.pb import retrieval_pb2

Result = TypeVar("Result")


class ShardMissing(Unavailable):
    """No replica of a shard answers; `shards` are the numbers of all such shards."""

    def __init__(self, shards: Sequence[int], count: int) -> None:
        self.shards = list(shards)
        super().__init__(f"{name_shards(shards, count)} of the retrieval service cannot be reached")

    def detail(self) -> dict[str, object]:
        return {"missing_shards": self.shards}


def name_shards(numbers: Sequence[int], count: int) -> str:
    """These shards in words: "shard 1 of 2", "shards 0, 2 of 3"."""
    return f"shard{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))} of {count}"


# how long the shards count as agreed on a version
_AGREED_SECONDS = 0.5
# how long they may take to name their versions
_AGREE_SECONDS = 1.5
_ONE = retrieval_pb2.Query(k=1)
_Call = Callable[[RetrievalClient, str], Awaitable[Result]]


class _Answers(NamedTuple, Generic[Result]):
    """The answer of each shard that can be reached, in order, and the numbers of the others."""

    found: list[Result]
    missing: tuple[int, ...]


class ShardedRetrieval:
    """RetrievalService in shards, with the methods of RetrievalClient.

    Answers that are merged are of one version: for a call that names none, of the newest that every shard holds, also
    while the shards change to another one after the other. If no replica of a shard answers, the call raises
    ShardMissing, or with `degrades` it is answered by the other shards, and its hits name the missing ones.
    """

    def __init__(
        self, shards: Sequence[RetrievalClient], degrades: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`shards`: one client each, in order."""
        self._shards = shards
        self._degrades = degrades
        self._clock = clock
        # version -> its place among those seen, oldest first
        self._seen: dict[str, int] = {}
        self._agreed, self._agreed_until = "", -math.inf
        self._agreeing: asyncio.Task[str] | None = None

    async def search(self, vector: Vector, query: retrieval_pb2.Query, deadline: Deadline) -> Hits:
        """As RetrievalClient.search."""
        asked = _for_merge(query)
        answers = await self._ask(lambda shard, _: shard.search(vector, asked, deadline), vector.version, deadline)
        return _with_missing(await _merged(query, answers.found), answers)

    async def search_texts(self, vector: Vector, query: retrieval_pb2.Query, deadline: Deadline) -> Hits:
        """As RetrievalClient.search_texts."""
        asked = _for_merge(query)
        answers = await self._ask(
            lambda shard, _: shard.search_texts(vector, asked, deadline), vector.version, deadline
        )
        return _with_missing(await _merged(query, answers.found), answers)

    async def popular(self, query: retrieval_pb2.Query, version: str, deadline: Deadline) -> Hits:
        """As RetrievalClient.popular."""
        asked = _for_merge(query)
        answers = await self._ask(lambda shard, one: shard.popular(asked, one, deadline), version, deadline)
        return _with_missing(merging.merge_hits(query, answers.found), answers)

    async def again(self, query: retrieval_pb2.AgainQuery, version: str, deadline: Deadline) -> RegularHits:
        """As RetrievalClient.again."""
        asked = retrieval_pb2.AgainQuery(query=_for_merge(query.query), now_ms=query.now_ms)
        answers = await self._ask(lambda shard, one: shard.again(asked, one, deadline), version, deadline)
        merged = merging.merge_regular(query.query, answers.found)
        return merged._replace(hits=_with_missing(merged.hits, answers))

    async def trending(
        self, query: retrieval_pb2.Query, table: retrieval_pb2.RisingTable | None, version: str, deadline: Deadline
    ) -> RisingHits:
        """As RetrievalClient.trending."""
        asked = _for_merge(query)
        answers = await self._ask(lambda shard, one: shard.trending(asked, table, one, deadline), version, deadline)
        merged = merging.merge_rising(query, answers.found)
        return merged._replace(hits=_with_missing(merged.hits, answers))

    async def together(
        self, cart: Sequence[str], query: retrieval_pb2.Query, version: str, deadline: Deadline
    ) -> Together:
        """As RetrievalClient.together."""
        asked = _for_merge(query)
        answers = await self._ask(lambda shard, one: shard.together(cart, asked, one, deadline), version, deadline)
        merged = merging.merge_together(query, answers.found)
        return merged._replace(hits=_with_missing(merged.hits, answers))

    async def vector(self, product_id: str, version: str, deadline: Deadline) -> Vector | None:
        """As RetrievalClient.vector. Raises ShardMissing if only a missing shard can hold the product."""
        answers = await self._ask(lambda shard, one: shard.vector(product_id, one, deadline), version, deadline)
        found = next((one for one in answers.found if one is not None), None)
        if answers.missing and found is None:
            raise ShardMissing(answers.missing, len(self._shards))
        return found

    async def find_unknown(self, product_ids: Sequence[str], deadline: Deadline) -> set[str]:
        """As RetrievalClient.find_unknown. Raises ShardMissing if only a missing shard can know some of them."""
        if not product_ids:
            return set()
        answers = await self._ask(lambda shard, one: shard.find_unknown(product_ids, deadline, one), "", deadline)
        unknown = set.intersection(*answers.found)
        if answers.missing and unknown:
            raise ShardMissing(answers.missing, len(self._shards))
        return unknown

    async def lookup(self, product_ids: Sequence[str], version: str, deadline: Deadline) -> list[retrieval_pb2.Product]:
        """As RetrievalClient.lookup. Raises ShardMissing if only a missing shard can hold some of them."""
        found, missing = await self._lookup(product_ids, version, deadline)
        if missing and not all(one.found for one in found):
            raise ShardMissing(missing, len(self._shards))
        return found

    async def lookup_reachable(
        self, product_ids: Sequence[str], version: str, deadline: Deadline
    ) -> list[retrieval_pb2.Product]:
        """As `lookup`, without an error: a product of a missing shard is as one that the version does not hold."""
        return (await self._lookup(product_ids, version, deadline))[0]

    async def close(self) -> None:
        if self._agreeing is not None:
            self._agreeing.cancel()
        for shard in self._shards:
            await shard.close()

    async def _lookup(
        self, product_ids: Sequence[str], version: str, deadline: Deadline
    ) -> tuple[list[retrieval_pb2.Product], tuple[int, ...]]:
        if not product_ids:
            return [], ()
        answers = await self._ask(lambda shard, one: shard.lookup(product_ids, one, deadline), version, deadline)
        return merging.merge_found(answers.found), answers.missing

    async def _ask(self, call: _Call[Result], version: str, deadline: Deadline) -> _Answers[Result]:
        """The answers of all shards to `call(shard, version)`; "" stands for the current version.

        Raises VersionNotHeld if some shard does not hold a version that was named.
        """
        if version:
            return await self._fan_out(call, version)
        version, held = await self._current(deadline), list[str]()
        while True:
            try:
                return await self._fan_out(call, version)
            except VersionNotHeld as error:
                # a replica changes its version just now; what others hold is in `held`, newest first
                self._agreed_until = -math.inf
                held = [one for one in held or error.held if one in error.held and one != version]
                if not held:
                    raise
                version = held[0]

    async def _current(self, deadline: Deadline) -> str:
        """The newest version that every shard holds, asked for again after half a second.

        A version that was agreed on is held for longer than that: as PREVIOUS, after a swap.
        """
        if self._clock() < self._agreed_until:
            return self._agreed
        if self._agreeing is None:
            self._agreeing = asyncio.create_task(self._agree(Deadline.after(_AGREE_SECONDS)))
            self._agreeing.add_done_callback(self._note_agreed)
        try:
            # one question for all calls that wait for it; it goes on if one of them ends
            return await asyncio.wait_for(asyncio.shield(self._agreeing), deadline.remaining())
        except TimeoutError:
            raise DeadlineExceeded("the shards did not name their version in time") from None

    def _note_agreed(self, task: asyncio.Task[str]) -> None:
        self._agreeing = None
        if not task.cancelled() and task.exception() is None:
            self._agreed, self._agreed_until = task.result(), self._clock() + _AGREED_SECONDS

    async def _agree(self, deadline: Deadline) -> str:
        """Asks every shard for its current version and, while they differ, which of these all of them hold.

        Raises VersionNotHeld if they hold none of these in common.
        """

        async def ask(shard: RetrievalClient, version: str) -> str:
            return (await shard.popular(_ONE, version, deadline)).version

        versions = dict.fromkeys((await self._fan_out(ask, "")).found)
        for one in versions:
            self._seen.setdefault(one, len(self._seen))
        refused: list[VersionNotHeld] = []
        for version in sorted(versions, key=self._seen.__getitem__, reverse=True):
            if len(versions) == 1:
                return version
            try:
                await self._fan_out(ask, version)
                return version
            except VersionNotHeld as error:
                refused.append(error)
        raise _refusal(refused, "by every shard")

    async def _fan_out(self, call: _Call[Result], version: str) -> _Answers[Result]:
        """The answers of all shards, or of those that can be reached if that is enough.

        Raises the first error that is more than a missing shard or version, then VersionNotHeld, then ShardMissing.
        """
        # a shard that is away is not asked: lists of the others would wait for its retries
        asked = [number for number, shard in enumerate(self._shards) if not shard.is_away()]
        answers: list[Result | BaseException] = [Unavailable("no replica can be reached") for _ in self._shards]
        given = await asyncio.gather(*(call(self._shards[one], version) for one in asked), return_exceptions=True)
        for number, answer in zip(asked, given, strict=True):
            answers[number] = answer
        found, refused, missing = list[Result](), dict[int, VersionNotHeld](), list[int]()
        for number, answer in enumerate(answers):
            if isinstance(answer, VersionNotHeld):
                refused[number] = answer
            elif isinstance(answer, Unavailable):
                missing.append(number)
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found.append(answer)
        if refused:
            raise _refusal(list(refused.values()), f"by {name_shards(list(refused), len(self._shards))}")
        for number in missing:
            metrics.SHARDS_MISSING.labels(str(number)).inc()
        if missing and not (self._degrades and found):
            raise ShardMissing(missing, len(self._shards))
        return _Answers(found, tuple(missing))


def _refusal(errors: Sequence[VersionNotHeld], where: str) -> VersionNotHeld:
    """One refusal for those of several shards; it names what all of them hold."""
    first = errors[0]
    held = [one for one in first.held if all(one in other.held for other in errors)]
    return VersionNotHeld(first.wanted, held, where)


def _for_merge(query: retrieval_pb2.Query) -> retrieval_pb2.Query:
    asked = retrieval_pb2.Query()
    asked.CopyFrom(query)
    asked.for_merge = True
    return asked


async def _merged(query: retrieval_pb2.Query, parts: Sequence[Hits]) -> Hits:
    if not query.diversity:
        return merging.merge_hits(query, parts)
    # to choose a thousand diverse products takes long, outside of Python for the most part
    return await asyncio.to_thread(merging.merge_hits, query, parts, query.diversity)


def _with_missing(hits: Hits, answers: _Answers[Result]) -> Hits:
    return hits._replace(missing_shards=answers.missing) if answers.missing else hits
