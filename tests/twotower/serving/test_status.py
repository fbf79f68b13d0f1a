"""Our errors as gRPC statuses, there and back."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from tests.helpers.gate_cases import RING, Gate
from tests.helpers.services import running
from twotower import errors
from twotower.pb import item_pb2, item_pb2_grpc
from twotower.serving.client import call, connect


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (errors.InvalidInput("title", "خ\n", "is odd"), grpc.StatusCode.INVALID_ARGUMENT),
        (errors.NotFound("لا شيء هنا", field="product_id"), grpc.StatusCode.NOT_FOUND),
        (errors.VersionNotHeld("z", ["b", "a"]), grpc.StatusCode.FAILED_PRECONDITION),
        (errors.Overloaded("too much"), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (errors.DeadlineExceeded("too late"), grpc.StatusCode.DEADLINE_EXCEEDED),
        (errors.CorruptArtifact("a file is bad"), grpc.StatusCode.INTERNAL),
        (ZeroDivisionError("a secret of the inside"), grpc.StatusCode.INTERNAL),
    ],
)
async def test_every_error_has_its_status_and_comes_back_as_itself(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, status: grpc.StatusCode
) -> None:
    gate = Gate(failure)
    gate.open.set()
    gate.install(monkeypatch)
    async with running("item", tiny) as service, connect(service.address) as channel:
        stub = item_pb2_grpc.ItemServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as raw:
            await stub.Encode(RING)
        assert raw.value.code() is status
        assert "secret" not in str(raw.value.details())
        kind = errors.Unavailable if status is grpc.StatusCode.INTERNAL else type(failure)
        with pytest.raises(kind) as caught:
            await call(stub.Encode, RING, 10, "item service")
        if kind in (errors.InvalidInput, errors.NotFound, errors.VersionNotHeld):
            assert str(caught.value) == str(failure)
            assert isinstance(failure, errors.TwoTowerError)
            assert caught.value.detail() == failure.detail()


async def test_a_version_name_of_any_length_is_refused_with_those_held(item: item_pb2_grpc.ItemServiceStub) -> None:
    request = item_pb2.EncodeRequest(items=RING.items, model_version="ن" * 20_000)
    with pytest.raises(errors.VersionNotHeld) as caught:
        await call(item.Encode, request, 10, "item service")
    assert caught.value.held == ["tiny-a"]
