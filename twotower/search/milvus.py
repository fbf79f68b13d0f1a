"""The product vectors of a version in Milvus: one collection, searched as `ApproximateSearch` searches a FAISS index.

Milvus finds candidates and nothing else: their scores are computed from the mapped vectors, as with every kind.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from twotower.arrays import Float32, Int64, Mask
from twotower.artifact.catalogue import Columns
from twotower.artifact.manifest import IndexSpec
from twotower.caller import caller, check_caller
from twotower.errors import CorruptArtifact, SettingsError, Unavailable
from twotower.search.milvus_address import MilvusAddress

KIND = "milvus"
# the fields of a collection: `row` is the primary key; `brand` and `category` are places in the sorted names, which
# `brand_name` and `category_name` hold for the shop's own queries
ROW, VECTOR, CODED = "row", "vector", ("brand", "category")
# Milvus returns at most this many rows
_MAX_ROWS = 16_384
# queries in one call: each has the same time
_TOGETHER = 16
# the highest `ef`
_MAX_EFFORT = 32_768
# a call that had less time than this, and ran out of it, does not show that Milvus is away
_TELLING_SECONDS = 1.0
# a longer list of codes costs more than it saves
_MAX_CODES = 256

Result = TypeVar("Result")


class Narrowed(NamedTuple):
    """A filter expression that is true of every allowed row, and how many rows it is true of."""

    expression: str
    rows: int


class Payload:
    """Brand and category of each row, as the collection holds them: they narrow a filtered search."""

    def __init__(self, codes: Mapping[str, NDArray[np.int32]]) -> None:
        """`codes`: field -> place of its name [N]."""
        self._codes = codes

    @classmethod
    def of(cls, columns: Columns) -> Payload:
        return cls({"brand": columns.brand, "category": columns.category})

    def narrow(self, allowed: Mask) -> Narrowed:
        """Brands and categories that hold all allowed rows [N]; the mask itself stays the filter."""
        terms, within = list[str](), np.ones(len(allowed), np.bool_)
        for field, codes in self._codes.items():
            held = np.flatnonzero(np.bincount(codes[allowed]))
            if len(held) <= _MAX_CODES:
                terms.append(f"{field} in {held.tolist()}")
                within &= np.isin(codes, held)
        count = int(np.count_nonzero(within))
        return Narrowed(" and ".join(terms), count) if count < len(allowed) else Narrowed("", len(allowed))


class MilvusCollection:
    """The collection of one version. It takes the place of a FAISS index: `ntotal` rows, `d` dimensions, `search`.

    Every method raises Unavailable if Milvus does not answer in time or reports an error. After such an error one
    search at a time asks Milvus, and the others fail at once, until one has an answer. So the threads that wait for a
    Milvus that is away are few.
    """

    def __init__(self, client: Any, name: str, address: MilvusAddress, rows: int, dimension: int) -> None:
        self.name = name
        self.ntotal, self.d = rows, dimension
        self.payload: Payload | None = None
        self._client, self._address = client, address
        self._asking_again = threading.Lock()
        # the error of the last search; empty after one with an answer
        self._problem = ""

    @classmethod
    def open(cls, address: MilvusAddress, spec: IndexSpec) -> MilvusCollection:
        """Connects, and loads the collection that a manifest names.

        Raises CorruptArtifact if there is no such collection, or if it lacks vectors, SettingsError without an address.
        """
        client = connect(address)
        if not ask(address, lambda: client.has_collection(spec.collection, timeout=address.timeout_seconds)):
            raise CorruptArtifact(f"Milvus at {address.uri} has no collection {spec.collection}, which the index is")
        described = ask(address, lambda: client.describe_collection(spec.collection, timeout=address.timeout_seconds))
        ask(address, lambda: client.load_collection(spec.collection, timeout=address.timeout_seconds))
        sizes = [one["params"]["dim"] for one in described["fields"] if one["name"] == VECTOR]
        if len(sizes) != 1:
            raise CorruptArtifact(f"the collection {spec.collection} has no field {VECTOR!r}")
        counted = ask(
            address,
            lambda: client.query(
                spec.collection,
                output_fields=["count(*)"],
                consistency_level="Strong",
                timeout=address.timeout_seconds,
            ),
        )
        return cls(client, spec.collection, address, int(counted[0]["count(*)"]), int(sizes[0]))

    def search(
        self, queries: Float32, count: int, params: int, within: Narrowed | None = None
    ) -> tuple[Float32, Int64]:
        """Scores and rows [B, count] that the graph finds for queries [B, D], best first; -1 fills missing rows.

        `params`: Milvus's `ef`, raised to `count`. `within`: a filter over the payload; as many times more candidates
        are then looked at as there are rows for each one that passes it.
        """
        count, expression, effort = min(count, _MAX_ROWS), "", max(params, count)
        if within is not None and within.expression:
            expression, effort = within.expression, int(np.ceil(effort * self.ntotal / max(within.rows, 1)))
        rows, scores = np.full((len(queries), count), -1, np.int64), np.full((len(queries), count), -np.inf, np.float32)
        for start in range(0, len(queries), _TOGETHER):
            found = self._ask(queries[start : start + _TOGETHER], count, effort, expression)
            for place, hits in enumerate(found, start):
                rows[place, : len(hits)] = hits.ids
                scores[place, : len(hits)] = hits.distances
        return scores, rows

    def _ask(self, queries: Float32, count: int, effort: int, expression: str) -> Any:
        def search() -> Any:
            return self._client.search(
                self.name,
                data=list(queries),
                anns_field=VECTOR,
                limit=count,
                filter=expression,
                output_fields=[ROW],
                search_params={"metric_type": "IP", "params": {"ef": min(effort, _MAX_EFFORT)}},
                # a collection never changes once its version is written
                consistency_level="Eventually",
                timeout=self._seconds(),
            )

        if not self._problem:
            return self._noting(search)
        if not self._asking_again.acquire(blocking=False):
            raise Unavailable(self._problem)
        try:
            # a Milvus that was started again may hold the collection on disk alone
            self._noting(lambda: self._client.load_collection(self.name, timeout=self._seconds()))
            found = self._noting(search)
            self._problem = ""
            return found
        finally:
            self._asking_again.release()

    def _noting(self, call: Callable[[], Result]) -> Result:
        seconds = self._seconds()
        try:
            return ask(self._address, call)
        except Unavailable as error:
            if seconds < _TELLING_SECONDS:
                # the caller was in a hurry: that says nothing of Milvus
                check_caller()
            self._problem = str(error)
            raise

    def _seconds(self) -> float:
        """How long a call may take: no longer than its caller waits."""
        one, limit = caller.get(), self._address.timeout_seconds
        return limit if one is None else max(0.001, min(limit, one.deadline - time.monotonic()))


def connect(address: MilvusAddress) -> Any:
    """A client of Milvus. Raises SettingsError without an address or pymilvus, Unavailable if nobody answers."""
    if not address.uri.startswith(("http://", "https://")):
        wrong = f"is {address.uri!r}" if address.uri else "is not set"
        raise SettingsError(f"TWOTOWER_MILVUS {wrong}: index.kind=milvus needs http(s)://host:port of Milvus")
    if "@" in address.uri:
        raise SettingsError("TWOTOWER_MILVUS holds no credentials: set TWOTOWER_MILVUS_TOKEN to user:password")
    try:
        from pymilvus import MilvusClient
    except ImportError:
        raise SettingsError("index.kind=milvus needs pymilvus: pip install 'twotower[milvus]'") from None
    # it logs each failed call with a traceback; `ask` raises the same as an error of ours
    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
    timeout = address.timeout_seconds
    return ask(address, lambda: MilvusClient(uri=address.uri, token=address.token, timeout=timeout))


def ask(address: MilvusAddress, call: Callable[[], Result]) -> Result:
    """The result of a call of Milvus; any failure of it is Unavailable."""
    from grpc import RpcError
    from pymilvus.exceptions import MilvusException

    try:
        return call()
    except (MilvusException, RpcError) as error:
        raise Unavailable(f"Milvus at {address.uri}: {getattr(error, 'message', error)}") from None
