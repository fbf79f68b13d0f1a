"""The client of the item service: batches concurrent queries into one RPC."""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

from gateway.clients.answers import EncodedContent, EncodedQuery, Suggestions, row_error, unpack_vectors
from gateway.clients.batching import Batcher, Limits
from gateway.clients.deadline import Deadline
from gateway.clients.hedging import Hedging
from gateway.clients.streams import StreamedCalls
from twotower.live.records import Content
from twotower.pb import item_pb2, item_pb2_grpc
from twotower.serving import client


class ItemClient:
    """ItemService."""

    def __init__(self, channel: Any, limits: Limits) -> None:
        self._stub = item_pb2_grpc.ItemServiceStub(channel)  # type: ignore[no-untyped-call]
        name = "item service"
        hedging = Hedging(name, limits.hedge_after)
        self._streamed = StreamedCalls(self._stub.EncodeStream, self._stub.Encode, name, hedging, keep=limits.in_flight)
        self._name, self._hedging = name, hedging
        self._encodes: Batcher[item_pb2.Query, EncodedQuery] = Batcher(name, self._encode, limits)

    async def encode_query(self, query: item_pb2.Query, version: str, deadline: Deadline) -> EncodedQuery:
        """The vector of what a shopper typed, and how it was understood."""
        return await self._encodes.call(query, deadline, version)

    async def encode_contents(
        self, contents: Sequence[tuple[str, Content]], version: str, deadline: Deadline
    ) -> list[EncodedContent]:
        """The vectors of products by their ids and contents, in order. Raises VersionNotHeld."""
        items = [item_pb2.Item(product_id=one, **content._asdict()) for one, content in contents]
        request = item_pb2.EncodeRequest(items=items, model_version=version, with_text=True)
        answer = await client.call(self._stub.Encode, request, deadline.remaining(), self._name)
        vectors, texts = unpack_vectors(answer.vectors, len(items)), unpack_vectors(answer.text_vectors, len(items))
        return [
            EncodedContent(vector.data, text.data, row.error.problem)
            for vector, text, row in zip(vectors, texts, answer.items, strict=True)
        ]

    async def suggest(self, text: str, k: int, deadline: Deadline) -> Suggestions:
        """The k best completions of what is typed so far."""
        request = item_pb2.SuggestRequest(text=text, k=k)

        def attempt() -> Coroutine[Any, Any, Any]:
            return client.call(self._stub.Suggest, request, deadline.remaining(), self._name)

        answer = await self._hedging.call(attempt, deadline.remaining())
        return Suggestions(list(answer.suggestions), answer.model_version)

    async def close(self) -> None:
        await self._encodes.close()
        self._streamed.close()

    async def _encode(
        self, version: str, queries: list[item_pb2.Query], timeout: float
    ) -> list[EncodedQuery | Exception]:
        request = item_pb2.EncodeRequest(queries=queries, model_version=version)
        answer = await self._streamed.call(request, timeout)
        vectors = unpack_vectors(answer.text_vectors, len(answer.queries))
        return [
            row_error(query.error) if query.HasField("error") else EncodedQuery(vector, query.understood)
            for vector, query in zip(vectors, answer.queries, strict=True)
        ]
