"""The client of the buyer service: batches concurrent calls into one RPC."""

from __future__ import annotations

from typing import Any

from gateway.clients.answers import EncodedBuyer, Vector, row_error, unpack_vectors
from gateway.clients.batching import Batcher, Limits
from gateway.clients.deadline import Deadline
from gateway.clients.hedging import Hedging
from gateway.clients.streams import StreamedCalls
from twotower.pb import buyer_pb2, buyer_pb2_grpc


class BuyerClient:
    """BuyerService."""

    def __init__(self, channel: Any, limits: Limits) -> None:
        self._stub = buyer_pb2_grpc.BuyerServiceStub(channel)  # type: ignore[no-untyped-call]
        name = "buyer service"
        hedging = Hedging(name, limits.hedge_after)
        self._streamed = StreamedCalls(self._stub.EncodeStream, self._stub.Encode, name, hedging, keep=limits.in_flight)
        self._encodes: Batcher[buyer_pb2.History, EncodedBuyer] = Batcher(name, self._encode, limits)

    async def encode(self, history: str, version: str, deadline: Deadline, with_parts: bool = False) -> EncodedBuyer:
        """The vector of one packed history, by `version` or by the current version if it is empty.

        Raises NotFound if the version knows none of the products, and InvalidInput for an event that it does not know.
        """
        return await self._encodes.call(buyer_pb2.History(packed=history, with_parts=with_parts), deadline, version)

    async def close(self) -> None:
        await self._encodes.close()
        self._streamed.close()

    async def _encode(
        self, version: str, histories: list[buyer_pb2.History], timeout: float
    ) -> list[EncodedBuyer | Exception]:
        request = buyer_pb2.EncodeRequest(model_version=version, histories=histories)
        answer = await self._streamed.call(request, timeout)
        vectors = unpack_vectors(answer.vectors, len(answer.buyers))
        return [
            row_error(buyer.error) if buyer.HasField("error") else _encoded(vector, buyer)
            for vector, buyer in zip(vectors, answer.buyers, strict=True)
        ]


def _encoded(vector: Vector, buyer: buyer_pb2.EncodedBuyer) -> EncodedBuyer:
    parts = buyer.parts if buyer.HasField("parts") else None
    return EncodedBuyer(vector, buyer.used, list(buyer.unknown_product_ids), buyer.newest, parts)
