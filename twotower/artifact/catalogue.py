"""products.sqlite: every product's fields, for display, filters and the popular list. Opened read-only."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from twotower.arrays import Float64, Mask
from twotower.errors import CorruptArtifact

_COLUMNS = (
    "id, row, title, description, brand, category, price, currency, in_stock, popularity, skus, image, first_seen"
)
_SCHEMA = """
CREATE TABLE products (
  id TEXT PRIMARY KEY,
  row INTEGER NOT NULL UNIQUE,
  title TEXT NOT NULL,
  description TEXT NOT NULL,
  brand TEXT NOT NULL,
  category TEXT NOT NULL,
  price REAL,
  currency TEXT NOT NULL,
  in_stock INTEGER NOT NULL,
  popularity REAL NOT NULL,
  skus TEXT NOT NULL,
  image TEXT NOT NULL,
  first_seen REAL
) WITHOUT ROWID
"""
# a SKU may be of several products: the first row counts
_SKUS = "CREATE TABLE skus (sku TEXT COLLATE NOCASE, row INTEGER, id TEXT, PRIMARY KEY (sku, row)) WITHOUT ROWID"
# SQLite's default limit on host parameters is 32,766 since 3.32, 999 before
_MAX_PARAMETERS = 900


class Product(NamedTuple):
    """One product. `row`: its row in the vectors; `popularity`: its share of the weight of all events, 0 to 1; `skus`:
    its further ids, one a line; `image`: the URL of a picture, or empty; `first_seen`: seconds since 1970, of its first
    event or of the refresh that brought it.
    """

    id: str
    row: int
    title: str
    description: str
    brand: str
    category: str
    price: float | None
    currency: str
    in_stock: bool
    popularity: float
    skus: str = ""
    image: str = ""
    first_seen: float | None = None


class Columns(NamedTuple):
    """The fields for filters and the popular list, arrays [N]; brand and category are places in the lists of names.

    `price` and `first_seen`: NaN for a product without one.
    """

    brands: list[str]
    categories: list[str]
    brand: NDArray[np.int32]
    category: NDArray[np.int32]
    in_stock: Mask
    popularity: Float64
    price: Float64
    first_seen: Float64


def write_catalogue(path: Path, products: Iterable[Product]) -> None:
    """Writes all products into a new file."""
    connection = sqlite3.connect(path)
    try:
        with connection:
            connection.execute(_SCHEMA)
            connection.execute(_SKUS)
            marks = ",".join("?" * len(Product._fields))
            for product in products:
                connection.execute(f"INSERT INTO products ({_COLUMNS}) VALUES ({marks})", product)
                named = [(sku, product.row, product.id) for sku in product.skus.splitlines()]
                connection.executemany("INSERT OR IGNORE INTO skus VALUES (?, ?, ?)", named)
    finally:
        connection.close()


class Catalogue:
    """The products of one version, read-only. Threads may share it: they take turns."""

    def __init__(self, path: Path) -> None:
        self._uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        self._path = path
        self._turn = threading.Lock()
        self._connection = self._open()
        # a connection is part of a reference cycle, which the collector skips after gc.freeze(): without this, each
        # version that a service drops would keep its file open
        weakref.finalize(self, self._connection.close)

    def _open(self) -> sqlite3.Connection:
        try:
            connection = sqlite3.connect(self._uri, uri=True, check_same_thread=False)
            connection.execute("SELECT row FROM products LIMIT 1").fetchone()
            return connection
        except sqlite3.Error as error:
            raise CorruptArtifact(f"{self._path} cannot be read: {error}") from error

    def _all(self, query: str, values: Sequence[str] = ()) -> list[tuple[Any, ...]]:
        try:
            with self._turn:
                return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise CorruptArtifact(f"{self._path} cannot be read: {error}") from error

    def lookup(self, ids: Sequence[str]) -> list[Product | None]:
        """One product per id, None for an unknown id."""
        by_id: dict[str, Product] = {}
        wanted = list(dict.fromkeys(ids))
        for start in range(0, len(wanted), _MAX_PARAMETERS):
            part = wanted[start : start + _MAX_PARAMETERS]
            marks = ",".join("?" * len(part))
            for record in self._all(f"SELECT {_COLUMNS} FROM products WHERE id IN ({marks})", part):
                product = Product(*record)
                by_id[product.id] = product._replace(in_stock=bool(product.in_stock))
        return [by_id.get(one) for one in ids]

    def find_sku(self, sku: str) -> str | None:
        """The id of the first product with this SKU, in capital letters or not; None if no product has it."""
        found = self._all("SELECT id FROM skus WHERE sku = ? ORDER BY row LIMIT 1", [sku])
        return str(found[0][0]) if found else None

    def columns(self) -> Columns:
        """Brand, category, stock, popularity, price and first moment of every row."""
        records = self._all(
            "SELECT brand, category, in_stock, popularity, price, first_seen, row FROM products ORDER BY row"
        )
        if any(record[6] != row for row, record in enumerate(records)):
            raise CorruptArtifact(f"{self._path} does not hold the rows 0 to {len(records) - 1}")
        brands = sorted({record[0] for record in records})
        categories = sorted({record[1] for record in records})
        brand_code, category_code = _codes(brands), _codes(categories)
        return Columns(
            brands,
            categories,
            np.array([brand_code[record[0]] for record in records], np.int32),
            np.array([category_code[record[1]] for record in records], np.int32),
            np.array([bool(record[2]) for record in records], np.bool_),
            np.array([record[3] for record in records], np.float64),
            *(np.array([np.nan if one[at] is None else one[at] for one in records], np.float64) for at in (4, 5)),
        )


def read_product_rows(path: Path) -> dict[str, int]:
    """Reads product_ids.npy as product id → row, in the order of the rows.

    Raises CorruptArtifact if the file is no list of distinct ids.
    """
    try:
        ids = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CorruptArtifact(f"{path} cannot be read: {error}") from error
    if ids.ndim != 1 or ids.dtype.kind != "U":
        raise CorruptArtifact(f"{path} holds {ids.dtype} {list(ids.shape)}, expected strings [N]")
    if not len(ids):
        raise CorruptArtifact(f"{path} holds no ids")
    rows = {product: row for row, product in enumerate(ids.tolist())}
    if len(rows) != len(ids):
        raise CorruptArtifact(f"{path} holds {len(ids)} ids, only {len(rows)} of them distinct")
    return rows


def _codes(names: Sequence[str]) -> dict[str, int]:
    return {name: code for code, name in enumerate(names)}
