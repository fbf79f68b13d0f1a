"""products.sqlite and product_ids.npy."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.tiny_version import catalogue as tiny_catalogue
from tests.helpers.tiny_version import write_object_array
from twotower.artifact.catalogue import Catalogue, Product, read_product_rows, write_catalogue
from twotower.errors import CorruptArtifact


def product(row: int, **changes: object) -> Product:
    base = Product(f"p{row}", row, f"خاتم {row}", "", "لازوردي", "مجوهرات", 5.0, "SAR", True, 0.5)
    return base._replace(**changes)  # type: ignore[arg-type]


def test_products_come_back_as_they_were_written(tmp_path: Path) -> None:
    products = tiny_catalogue(40)
    write_catalogue(tmp_path / "p.sqlite", products)
    assert Catalogue(tmp_path / "p.sqlite").lookup([one.id for one in products]) == products


def test_lookup_keeps_the_order_asked_for_with_repeats_and_unknown_ids(tmp_path: Path) -> None:
    write_catalogue(tmp_path / "p.sqlite", [product(0), product(1, price=None, in_stock=False)])
    found = Catalogue(tmp_path / "p.sqlite").lookup(["p1", "nobody", "p0", "p1", "' OR 1=1 --", ""])
    assert [one.id if one else None for one in found] == ["p1", None, "p0", "p1", None, None]
    assert found[0] is not None
    assert found[0].price is None
    assert found[0].in_stock is False


def test_a_product_is_found_by_its_skus_and_the_first_row_counts(tmp_path: Path) -> None:
    products = [product(1, skus="ab-1\n628"), product(0, skus="AB-1"), product(2)]
    write_catalogue(tmp_path / "p.sqlite", products)
    catalogue = Catalogue(tmp_path / "p.sqlite")
    assert [catalogue.find_sku(one) for one in ("AB-1", "ab-1", "628", "p2", "")] == ["p0", "p0", "p1", None, None]
    assert catalogue.lookup(["p1"]) == [products[0]]


def test_a_catalogue_that_goes_closes_its_file_without_the_garbage_collector(tmp_path: Path) -> None:
    path = tmp_path / "p.sqlite"
    write_catalogue(path, [product(0)])

    def opened() -> int:
        links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return sum(link.readlink() == path for link in links)

    gc.disable()
    try:
        catalogue = Catalogue(path)
        catalogue.lookup(["p0"])
        assert opened() == 1
        # the last reference may be dropped by another thread than the one that opened it
        with ThreadPoolExecutor(1) as pool:
            holder = [catalogue]
            del catalogue
            pool.submit(holder.clear).result()
        assert opened() == 0
    finally:
        gc.enable()


def test_more_ids_than_one_statement_takes_are_all_found(tmp_path: Path) -> None:
    products = [product(row) for row in range(2500)]
    write_catalogue(tmp_path / "p.sqlite", products)
    assert Catalogue(tmp_path / "p.sqlite").lookup([one.id for one in reversed(products)]) == products[::-1]


def test_columns_are_by_row_whatever_the_order_of_the_ids(tmp_path: Path) -> None:
    write_catalogue(
        tmp_path / "p.sqlite",
        [
            product(1, id="a", brand="ب", category="تمور", in_stock=False, popularity=0.25),
            product(0, id="z", brand="أ", category="عطور", popularity=0.75),
        ],
    )
    columns = Catalogue(tmp_path / "p.sqlite").columns()
    assert [columns.brands[code] for code in columns.brand] == ["أ", "ب"]
    assert [columns.categories[code] for code in columns.category] == ["عطور", "تمور"]
    assert columns.in_stock.tolist() == [True, False]
    assert columns.popularity.tolist() == [0.75, 0.25]


def test_rows_with_a_gap_are_corrupt(tmp_path: Path) -> None:
    write_catalogue(tmp_path / "p.sqlite", [product(0), product(2)])
    with pytest.raises(CorruptArtifact, match="rows 0 to 1"):
        Catalogue(tmp_path / "p.sqlite").columns()


def test_several_threads_may_ask_at_once(tmp_path: Path) -> None:
    products = [product(row) for row in range(1000)]
    write_catalogue(tmp_path / "p.sqlite", products)
    one = Catalogue(tmp_path / "p.sqlite")

    def ask(start: int) -> bool:
        wanted = products[start::7]
        return one.lookup([each.id for each in wanted]) == wanted and one.columns().popularity.sum() == 500.0

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, [start % 7 for start in range(80)]))


@pytest.mark.parametrize("content", [None, b"", b"this is not a database, whatever its name says"])
def test_a_file_that_is_no_catalogue_is_corrupt(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "p.sqlite"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CorruptArtifact, match=r"p\.sqlite cannot be read"):
        Catalogue(path)
    assert content is not None or not path.exists()


def test_the_catalogue_is_never_written_to(tmp_path: Path) -> None:
    path = tmp_path / "p.sqlite"
    write_catalogue(path, [product(0)])
    before = path.read_bytes()
    Catalogue(path).lookup(["p0"])
    assert path.read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["p.sqlite"]


def test_product_rows_are_in_the_order_of_the_file(tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", np.array(["z", "خاتم", "a"]))
    assert list(read_product_rows(tmp_path / "ids.npy").items()) == [("z", 0), ("خاتم", 1), ("a", 2)]


@pytest.mark.parametrize(
    ("ids", "problem"),
    [
        (np.array(["a", "b", "a"]), "3 ids, only 2 of them distinct"),
        (np.array([1, 2]), "int64"),
        (np.array([["a"]]), "strings"),
        (np.array([], "U1"), "no ids"),
    ],
)
def test_a_list_of_ids_that_is_not_one_is_corrupt(tmp_path: Path, ids: np.ndarray, problem: str) -> None:
    np.save(tmp_path / "ids.npy", ids, allow_pickle=False)
    with pytest.raises(CorruptArtifact, match=problem):
        read_product_rows(tmp_path / "ids.npy")


def test_a_list_of_ids_that_holds_objects_is_corrupt(tmp_path: Path) -> None:
    write_object_array(tmp_path / "ids.npy")
    with pytest.raises(CorruptArtifact, match="cannot be read"):
        read_product_rows(tmp_path / "ids.npy")
