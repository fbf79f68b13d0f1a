"""Vectors and histories to what travels, and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tests.helpers.histories import unpack_history
from twotower.errors import InvalidInput, NotFound
from twotower.events import Interaction
from twotower.history import latest
from twotower.pb import common_pb2
from twotower.serving import wire


def test_vectors_travel_as_row_major_little_endian_floats() -> None:
    message = wire.pack(np.array([[1.0, -2.0], [0.5, 0.0]], np.float32), "v1")
    assert message.data == bytes.fromhex("0000803f 000000c0 0000003f 00000000")
    assert message.dimension == 2
    assert message.model_version == "v1"


@given(arrays(np.float32, st.tuples(st.integers(0, 5), st.integers(1, 9))))
def test_vectors_come_back_as_they_were_sent(vectors: np.ndarray) -> None:
    back = wire.unpack(wire.pack(vectors, "v"))
    assert back.shape == vectors.shape
    assert back.tobytes() == vectors.tobytes()


def test_a_transposed_or_double_array_travels_by_its_values() -> None:
    vectors = np.arange(6, dtype=np.float64).reshape(3, 2).T
    np.testing.assert_array_equal(wire.unpack(wire.pack(vectors, "v")), vectors)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, 3, 4, 7, 9])
def test_bytes_that_are_no_whole_number_of_rows_are_refused(size: int) -> None:
    with pytest.raises(InvalidInput, match="2-float rows") as caught:
        wire.unpack(common_pb2.Vectors(data=b"\0" * size, dimension=2))
    assert caught.value.field == "vectors.data"


def test_a_dimension_of_zero_is_refused() -> None:
    with pytest.raises(InvalidInput, match="at least 1") as caught:
        wire.unpack(common_pb2.Vectors(data=b"", dimension=0))
    assert caught.value.field == "vectors.dimension"


def test_no_bytes_are_no_rows_whatever_the_dimension() -> None:
    assert wire.unpack(common_pb2.Vectors(dimension=2**32 - 1)).shape == (0, 2**32 - 1)


def test_scores_come_back_as_they_were_sent() -> None:
    scores = np.array([0.25, -1.0, 3e-9], np.float32)
    np.testing.assert_array_equal(wire.unpack_scores(wire.pack_scores(scores)), scores)


def test_a_row_error_says_which_kind_which_field_and_why() -> None:
    error = wire.row_error(InvalidInput("title", "", "holds no text"))
    assert error == common_pb2.RowError(
        kind="InvalidInput", field="title", message="title '': holds no text", value="''", problem="holds no text"
    )
    missing = wire.row_error(NotFound("no such product", field="product_id"))
    assert missing == common_pb2.RowError(kind="NotFound", field="product_id", message="no such product")
    assert wire.row_error(None) is None


def test_a_batch_must_hold_a_row_and_no_more_than_the_limit() -> None:
    wire.check_batch(1, 2, "items")
    wire.check_batch(2, 2, "items")
    wire.check_batch(0, 2, "items", minimum=0)
    with pytest.raises(InvalidInput, match="items 0: rows in one call, the minimum is 1"):
        wire.check_batch(0, 2, "items")
    with pytest.raises(InvalidInput, match="items 3: rows in one call, the limit is 2"):
        wire.check_batch(3, 2, "items")


NAMES = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1, max_size=8)


def test_a_packed_history_is_text_with_nul_and_record_separators() -> None:
    history = [Interaction("p1", "View", 5), Interaction("خاتم", "Purchase", 70)]
    assert wire.pack_history(history) == "p1\0View\x005\x1eخاتم\0Purchase\x0070"
    assert wire.unpack_columns(wire.pack_history(history)) == (["p1", "خاتم"], ["View", "Purchase"], [5, 70])


@given(st.lists(st.builds(Interaction, NAMES, NAMES, st.integers(0, 10**15)), max_size=5))
def test_histories_come_back_as_they_were_packed(history: list[Interaction]) -> None:
    packed = wire.pack_history(history)
    assert wire.is_history(packed)
    assert unpack_history(packed) == history


@pytest.mark.parametrize("text", ["p", "p\0View", "p\0View\0soon", "p\0View\x001\x1e", "p\0View\x001\x002"])
def test_what_is_no_packed_history_is_refused(text: str) -> None:
    assert not wire.is_history(text)
    with pytest.raises(InvalidInput, match="packed"):
        wire.unpack_columns(text)


@given(st.lists(st.builds(Interaction, NAMES, NAMES, st.integers(0, 10**15)), max_size=5), st.integers(1, 7))
def test_the_newest_products_of_an_ordered_history_come_first(history: list[Interaction], count: int) -> None:
    ordered = latest(history, len(history))
    found = wire.newest_products(wire.pack_history(ordered), count, "history")
    assert found == [one.product_id for one in ordered[::-1]][:count]


@given(st.lists(st.builds(Interaction, NAMES, NAMES, st.integers(0, 10**15)), max_size=5), st.integers(1, 7))
def test_the_newest_interactions_are_the_last(history: list[Interaction], count: int) -> None:
    assert unpack_history(wire.newest_interactions(wire.pack_history(history), count)) == history[-count:]


@pytest.mark.parametrize(
    "text", ["p", "p\0View", "p\0View\0soon", "p\0View\x001\x1e", "a\x1e" + 2 * "p\0View\x001\x1e"]
)
@pytest.mark.parametrize("count", [1, 9])
def test_newest_products_of_no_packed_history_are_refused(text: str, count: int) -> None:
    with pytest.raises(InvalidInput, match="is not a packed history") as caught:
        wire.newest_products(text, count, "queries[3].history")
    assert (caught.value.field, caught.value.value) == ("queries[3].history", repr(text))


def test_newest_products_out_of_order_are_refused() -> None:
    out_of_time = [Interaction("p", "View", 1), Interaction("p", "View", 9), Interaction("p", "View", 8)]
    out_of_name = [Interaction("p", "View", 1), Interaction("p", "AddToCart", 1)]
    for history in (out_of_time, out_of_name):
        with pytest.raises(InvalidInput, match="does not hold its interactions in their order"):
            wire.newest_products(wire.pack_history(history), 2, "history")
    # those that are not read may be in any order
    assert wire.newest_products(wire.pack_history(out_of_time[::-1][:2]), 1, "history") == ["p"]
