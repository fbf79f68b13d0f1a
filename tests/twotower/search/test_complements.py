"""The table of complements: lists of one product, sums over a cart, other catalogues, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from twotower.artifact.layout import VersionLayout
from twotower.errors import CorruptArtifact
from twotower.search.complements import ComplementTable, complement_files

# product 0: 2 and 3 of its own, 1 by category; product 1: 3 and 2; product 2: 0; product 3: none
TABLE = ComplementTable(
    np.array([0, 3, 5, 6, 6], np.int64),
    np.array([2, 2, 1, 0], np.int32),
    np.array([2, 3, 1, 3, 2, 0], np.int32),
    np.array([5.0, 2.0, 0.5, 4.0, 3.0, 5.0], np.float32),
    np.array([0.25, 0.5, 0.125, 0.5, 0.75, 0.0], np.float32),
)


def test_one_product_has_its_list_as_it_stands() -> None:
    found = TABLE.complete([0])
    assert found.rows.tolist() == [2, 3, 1]
    assert found.scores.tolist() == [5.0, 2.0, 0.5]
    assert found.because.tolist() == [0, 0, 0]
    assert found.is_known.tolist() == [True, True, False]


def test_the_weights_of_a_cart_are_summed_and_the_cart_itself_is_left_out() -> None:
    found = TABLE.complete([0, 1])
    # 2: 0.25 + 0.75, above all by product 1; 3: 0.5 + 0.5, the first of two equal parts; 1 is in the cart
    assert found.rows.tolist() == [2, 3]
    assert found.scores.tolist() == [1.0, 1.0]
    assert found.because.tolist() == [1, 0]
    assert found.is_known.tolist() == [True, True]


def test_a_complement_without_weight_completes_no_cart() -> None:
    assert TABLE.complete([2]).rows.tolist() == [0]
    assert TABLE.complete([2, 3]).rows.tolist() == []
    assert TABLE.complete([3]).rows.tolist() == []
    assert TABLE.complete([]).rows.tolist() == []


def test_another_catalogue_keeps_what_both_have() -> None:
    # product 3 is gone, product 2 comes first, row 1 is new
    moved = TABLE.moved(np.array([2, -1, 0, 1], np.int64))
    moved.check(4)
    assert moved.complete([2]).rows.tolist() == [0, 3]
    assert moved.complete([2]).is_known.tolist() == [True, False]
    assert moved.complete([3]).rows.tolist() == [0]
    assert moved.complete([0]).scores.tolist() == [5.0]
    assert moved.complete([1]).rows.tolist() == []


def test_a_table_comes_back_from_its_files(tmp_path: Path) -> None:
    files = VersionLayout(tmp_path)
    TABLE.save(files)
    loaded = ComplementTable.load(files)
    loaded.check(4)
    assert all(
        (getattr(loaded, name) == getattr(TABLE, name)).all()
        for name in ("offsets", "known", "rows", "scores", "weights")
    )
    complement_files(files)[2].write_bytes(b"nothing")
    with pytest.raises(CorruptArtifact, match="table of complements"):
        ComplementTable.load(files)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"rows": TABLE.rows.astype(np.int64)}, "complement_rows is int64"),
        ({"rows": np.where(TABLE.rows == 3, 4, TABLE.rows).astype(np.int32)}, "holds 4, which is no row of 4 products"),
        ({"scores": TABLE.scores - 0.5}, "holds 0.0, which is no finite number above 0"),
        ({"weights": TABLE.weights - 0.5}, "holds -0.25, which is no finite number from 0"),
        ({"known": np.array([4, 0, 0, 0], np.int32)}, "holds 4, which is more than the product has"),
        ({"offsets": np.array([0, 3, 2, 6, 6], np.int64)}, "does not rise from 0"),
        ({"offsets": np.array([0, 3, 5, 6, 7], np.int64)}, "ends with 7, there are 6 rows"),
        ({"offsets": np.array([0, 6], np.int64)}, "2 numbers and complement_known 4 for 4 products"),
    ],
)
def test_a_damaged_table_is_refused(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(CorruptArtifact, match=why):
        replace(TABLE, **changed).check(4)
