"""BuyerService: the vectors of histories, and what it says of those that it cannot encode."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from buyer_service.encoder import Columns, load
from buyer_service.servicer import is_short
from buyer_service.settings import BuyerSettings
from tests.helpers.services import check_process, check_wrong_setting, running
from tests.helpers.tiny_version import HALF_LIFE_DAYS, build_version
from twotower import errors
from twotower.arrays import Float32
from twotower.artifact.layout import Layout
from twotower.artifact.manifest import Fusion
from twotower.artifact.version import Version, open_version
from twotower.errors import CorruptArtifact
from twotower.events import DAY_MS, Interaction
from twotower.pb import buyer_pb2, buyer_pb2_grpc
from twotower.serving import telemetry, wire
from twotower.serving.client import call, connect

Stub = buyer_pb2_grpc.BuyerServiceStub
WEIGHTS = {"View": 1.0, "AddToCart": 5.0, "Purchase": 10.0}
MAX_HISTORY = 20


def opened(artifacts: Path, name: str = "tiny-a") -> Version:
    return open_version(Layout(artifacts), name)


@pytest.fixture
def stored(tiny: Path) -> Float32:
    return np.load(opened(tiny).layout.embeddings)


@pytest.fixture
async def stub(tiny: Path) -> AsyncIterator[Stub]:
    async with (
        running("buyer", tiny, max_batch=300, max_interactions=50) as service,
        connect(service.address) as channel,
    ):
        yield Stub(channel)


def history(*events: tuple[str, str, int]) -> buyer_pb2.History:
    return buyer_pb2.History(
        interactions=[
            buyer_pb2.Interaction(product_id=product, event_type=kind, timestamp_ms=time)
            for product, kind, time in events
        ]
    )


async def encode(stub: Stub, *histories: buyer_pb2.History, version: str = "") -> buyer_pb2.EncodeResponse:
    request = buyer_pb2.EncodeRequest(histories=histories, model_version=version)
    return await call(stub.Encode, request, 30, "buyer service")


def expected(stored: Float32, events: Sequence[tuple[int, str, float]]) -> Float32:
    """The tiny buyer tower by hand: (row, event, age in days) weighted by event weight x 2^(-age / half-life)."""
    total = sum(stored[row] * WEIGHTS[kind] * 2 ** (-age / HALF_LIFE_DAYS) for row, kind, age in events)
    return np.asarray(total / np.linalg.norm(total))


async def test_a_history_is_the_weighted_mean_of_its_items(stub: Stub, stored: Float32) -> None:
    answer = await encode(
        stub,
        history(("p3", "View", 40 * DAY_MS), ("p4", "Purchase", 10 * DAY_MS), ("p5", "AddToCart", 25 * DAY_MS)),
        history(("p39", "View", 0)),
    )
    vectors = wire.unpack(answer.vectors)
    wanted = expected(stored, [(3, "View", 0), (4, "Purchase", 30), (5, "AddToCart", 15)])
    np.testing.assert_allclose(vectors[0], wanted, atol=1e-6)
    np.testing.assert_allclose(vectors[1], stored[39], atol=1e-6)
    assert [buyer.used for buyer in answer.buyers] == [3, 1]
    assert answer.vectors.model_version == "tiny-a"


async def test_the_order_of_the_interactions_does_not_matter(stub: Stub) -> None:
    events = [(f"p{row}", "View", row * DAY_MS) for row in range(30)]
    vectors = wire.unpack((await encode(stub, history(*events), history(*events[::-1]))).vectors)
    np.testing.assert_array_equal(vectors[0], vectors[1])


async def test_only_the_latest_interactions_are_used(stub: Stub) -> None:
    events = [(f"p{row}", "View", row * DAY_MS) for row in range(30)]
    answer = await encode(stub, history(*events), history(*events[-MAX_HISTORY:]))
    vectors = wire.unpack(answer.vectors)
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert [buyer.used for buyer in answer.buyers] == [MAX_HISTORY, MAX_HISTORY]


@pytest.mark.parametrize(
    ("rows", "newest"),
    [
        # the score of the version reads three products, or four if buyers come back to their own
        ([1, 2, 3, 4, 5], {"follows": 3, "returns": 4}),
        ([1, 2], {"follows": 2, "returns": 2}),
        ([1, 2, 99, 3, 4, 99, 99], {"follows": 6, "returns": 7}),
        ([99, 1, 99, 2, 99], {"follows": 5, "returns": 5}),
    ],
)
async def test_the_answer_says_how_many_interactions_a_search_reads(
    tmp_path: Path, rows: list[int], newest: dict[str, int]
) -> None:
    build_version(tmp_path, "follows", fusion=Fusion(neighbour_weight=1, steps=3))
    build_version(tmp_path, "returns", fusion=Fusion(neighbour_weight=1, steps=3, own_weight=1, own_steps=4))
    events = [(f"p{row}", "View", step * DAY_MS) for step, row in enumerate(rows)]
    async with running("buyer", tmp_path) as service, connect(service.address) as channel:
        for version, wanted in newest.items():
            answer = await encode(Stub(channel), history(*events), history(*events[::-1]), version=version)
            assert [buyer.newest for buyer in answer.buyers] == [wanted, wanted]


async def test_unknown_products_are_skipped_named_once_and_take_no_place(stub: Stub) -> None:
    known = [(f"p{row}", "View", row * DAY_MS) for row in range(MAX_HISTORY)]
    strangers = [("x2", "View", 90 * DAY_MS), ("x1", "Purchase", 91 * DAY_MS), ("x2", "View", 92 * DAY_MS)]
    answer = await encode(stub, history(*known, *strangers), history(*known))
    vectors = wire.unpack(answer.vectors)
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert list(answer.buyers[0].unknown_product_ids) == ["x2", "x1"]
    assert answer.buyers[0].used == MAX_HISTORY
    assert not answer.buyers[0].HasField("error")


async def test_a_packed_history_gives_the_vector_of_its_interactions(stub: Stub) -> None:
    events = [("p3", "View", 40 * DAY_MS), ("x", "View", 50 * DAY_MS), ("p4", "Purchase", 10 * DAY_MS)]
    packed = buyer_pb2.History(packed=wire.pack_history([Interaction(*one) for one in events]))
    broken = buyer_pb2.History(packed="p3\0View")
    answer = await encode(stub, history(*events), packed, broken)
    vectors = wire.unpack(answer.vectors)
    np.testing.assert_array_equal(vectors[0], vectors[1])
    assert answer.buyers[0] == answer.buyers[1]
    assert (answer.buyers[2].error.kind, answer.buyers[2].error.field) == ("InvalidInput", "packed")
    assert not vectors[2].any()


async def test_events_of_one_moment_are_ordered_as_in_redis(stub: Stub) -> None:
    # one more than is used, all at one time: the first by product, then event, is left out
    events = [(f"p{10 + row}", "View", DAY_MS) for row in range(MAX_HISTORY + 1)]
    vectors = wire.unpack((await encode(stub, history(*events[::-1]), history(*events[1:]))).vectors)
    np.testing.assert_array_equal(vectors[0], vectors[1])


async def test_a_history_of_unknown_products_is_an_error_of_its_row_alone(stub: Stub, stored: Float32) -> None:
    answer = await encode(stub, history(("p0", "View", 0)), history(("x", "View", 0), ("y", "View", 1)))
    error = answer.buyers[1].error
    assert (error.kind, error.field) == ("NotFound", "product_id")
    assert "none of the history's 2 products is known" in error.message
    assert list(answer.buyers[1].unknown_product_ids) == ["x", "y"]
    assert answer.buyers[1].used == 0
    vectors = wire.unpack(answer.vectors)
    np.testing.assert_allclose(vectors[0], stored[0], atol=1e-6)
    assert not vectors[1].any()


@pytest.mark.parametrize(
    ("bad", "field", "told"),
    [
        (("p0", "Like", 0), "event_type", "event_type 'Like': unknown event name; known: View, AddToCart, Purchase"),
        (("p0", "", 0), "event_type", "event_type ''"),
        (("p0", "view", 0), "event_type", "'view'"),
        (("", "View", 0), "product_id", "must not be empty"),
        (("p\nq", "View", 0), "product_id", r"'p\nq': must not contain control characters"),
        (("ط" * 65, "View", 0), "product_id", "130 bytes long, the limit is 128"),
        (("p0", "View", -1), "timestamp_ms", "timestamp_ms -1: is before 1970-01-01"),
        (("p0", "View", -(2**63)), "timestamp_ms", "before 1970"),
    ],
)
async def test_a_bad_interaction_is_named_and_fails_its_row_alone(
    stub: Stub, bad: tuple[str, str, int], field: str, told: str
) -> None:
    answer = await encode(stub, history(("p1", "View", 5), bad), history(("p1", "View", 5)))
    assert (answer.buyers[0].error.kind, answer.buyers[0].error.field) == ("InvalidInput", field)
    assert told in answer.buyers[0].error.message
    assert not answer.buyers[1].HasField("error")
    np.testing.assert_allclose(np.linalg.norm(wire.unpack(answer.vectors), axis=1), [0, 1], atol=1e-6)


async def test_an_empty_and_an_endless_history_are_errors_of_their_rows(stub: Stub) -> None:
    answer = await encode(stub, history(), history(*[("p0", "View", 0)] * 51), history(*[("p0", "View", 0)] * 50))
    assert [buyer.error.field for buyer in answer.buyers] == ["interactions", "interactions", ""]
    assert "at least one" in answer.buyers[0].error.message
    assert "the limit is 50" in answer.buyers[1].error.message


async def test_a_batch_without_one_good_history_is_answered(stub: Stub) -> None:
    answer = await encode(stub, history(), history(("x", "View", 0)))
    assert [buyer.error.kind for buyer in answer.buyers] == ["InvalidInput", "NotFound"]
    assert not wire.unpack(answer.vectors).any()


async def test_a_time_far_ahead_is_accepted(stub: Stub, stored: Float32) -> None:
    answer = await encode(stub, history(("p0", "View", 0), ("p1", "View", 2**63 - 1)))
    vector = wire.unpack(answer.vectors)[0]
    np.testing.assert_allclose(vector, stored[1], atol=1e-6)  # the older event has decayed to nothing


async def test_rows_keep_their_order_over_more_than_one_chunk(stub: Stub, stored: Float32) -> None:
    histories = [
        history(*[(f"p{place % 40}", "View", step * DAY_MS) for step in range(1 + (place * 7) % 5)])
        for place in range(300)
    ]
    answer = await encode(stub, *histories)
    np.testing.assert_allclose(wire.unpack(answer.vectors), stored[np.arange(300) % 40], atol=1e-5)
    assert [buyer.used for buyer in answer.buyers] == [1 + (place * 7) % 5 for place in range(300)]


async def test_no_histories_and_too_many_are_refused(stub: Stub) -> None:
    for count in (0, 301):
        with pytest.raises(errors.InvalidInput) as caught:
            await encode(stub, *[history(("p0", "View", 0))] * count)
        assert caught.value.field == "histories"


async def test_both_versions_answer_and_an_unknown_one_names_them(artifacts: Path) -> None:
    build_version(artifacts, "b", seed=1)
    async with running("buyer", artifacts) as service, connect(service.address) as channel:
        for asked, name in (("", "b"), ("a", "a")):
            answer = await encode(Stub(channel), history(("p2", "View", 0)), version=asked)
            assert answer.vectors.model_version == name
            wanted = np.load(opened(artifacts, name).layout.embeddings)[2]
            np.testing.assert_allclose(wire.unpack(answer.vectors)[0], wanted, atol=1e-6)
        with pytest.raises(errors.VersionNotHeld) as caught:
            await encode(Stub(channel), history(("p2", "View", 0)), version="c")
        assert caught.value.held == ["b", "a"]


async def test_rows_are_counted(stub: Stub) -> None:
    before = telemetry.CALL_ROWS.labels("Encode")._value.get()
    await encode(stub, history(("p0", "View", 0)), history())
    assert telemetry.CALL_ROWS.labels("Encode")._value.get() == before + 2


@pytest.mark.parametrize(
    ("histories", "interactions", "short"),
    [(1, 1, True), (64, 1, True), (65, 1, False), (16, 50, True), (64, 50, False)],
)
def test_only_few_short_histories_are_encoded_without_a_worker(histories: int, interactions: int, short: bool) -> None:
    rows = [
        buyer_pb2.Interaction(product_id="P000001", event_type="AddToCart", timestamp_ms=1_780_000_000_000)
    ] * interactions
    request = buyer_pb2.EncodeRequest(histories=[buyer_pb2.History(interactions=rows)] * histories)
    assert is_short(request) is short


OPENED = ["buyer_tower.onnx", "buyer_parts.onnx", "product_embeddings.npy", "product_ids.npy"]


@pytest.mark.parametrize("name", OPENED)
def test_a_damaged_file_that_the_service_opens_is_refused(artifacts: Path, name: str) -> None:
    version = opened(artifacts, "a")
    (version.layout.root / name).write_bytes(b"\0")
    with pytest.raises(CorruptArtifact, match=name):
        load(version, BuyerSettings())


def test_a_damaged_file_of_another_service_does_not_matter(artifacts: Path) -> None:
    version = opened(artifacts, "a")
    for path in version.layout.root.iterdir():
        if path.name not in OPENED:
            path.unlink()
    load(version, BuyerSettings())


def test_vectors_of_another_shape_than_the_manifest_says_are_refused(artifacts: Path) -> None:
    version = opened(artifacts, "a")
    for changes in ({"products": 41}, {"dimension": 9}):
        other = Version(version.manifest.model_copy(update=changes), version.layout, version.encoder)
        with pytest.raises(CorruptArtifact, match=r"holds float32 \[40, 8\], wanted float32"):
            load(other, BuyerSettings())


def test_the_vectors_are_mapped_not_copied(tiny: Path) -> None:
    encoder = load(opened(tiny), BuyerSettings())
    assert isinstance(encoder._vectors.base, np.memmap)
    assert encoder.encode([Columns(["p0"], ["View"], [0])]).rows[0].used == 1


async def test_the_process_serves_drains_and_says_what_it_does(tiny: Path) -> None:
    long = history(*[(f"p{row % 40}", "View", row) for row in range(200)])
    request = buyer_pb2.EncodeRequest(histories=[long] * 1000)
    await check_process("buyer", tiny, "twotower.buyer.v1.BuyerService", Stub, "Encode", request)


def test_a_wrong_setting_is_one_line_and_exit_code_2() -> None:
    check_wrong_setting("buyer")


async def test_the_parts_of_a_vector_are_those_of_its_products(stub: Stub, stored: Float32) -> None:
    events = [("p3", "View", 40 * DAY_MS), ("p4", "Purchase", 10 * DAY_MS), ("p4", "View", 40 * DAY_MS)]
    asked, plain = history(*events), history(*events)
    asked.with_parts = True
    answer = await encode(stub, asked, plain)
    vectors = wire.unpack(answer.vectors)
    parts = answer.buyers[0].parts
    assert not answer.buyers[1].HasField("parts")
    assert dict(zip(parts.product_ids, parts.event_types, strict=True)) == {"p3": "View", "p4": "Purchase"}
    rows = dict(zip(parts.product_ids, np.frombuffer(parts.data, "<f4").reshape(3, -1), strict=False))
    total = np.linalg.norm(stored[3] + (10 / 2 + 1) * stored[4])
    np.testing.assert_allclose(rows["p3"], stored[3] / total, atol=1e-6)
    np.testing.assert_allclose(rows["p4"], 6 * stored[4] / total, atol=1e-6)
    np.testing.assert_allclose(sum(rows.values()), vectors[0], atol=1e-6)
