"""Lists by rules without a network: the engine on the index of a tiny version, and what its rules allow, by hand."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gateway.clients.answers import Hits, unpack_hits
from gateway.rules.engine import Asking, Ruled, apply
from gateway.rules.plans import compile_plan
from gateway.schemas.rule import Rules
from retrieval_service.index import ProductIndex
from retrieval_service.loading import load
from retrieval_service.messages import calls
from retrieval_service.messages.hits import pack_product
from retrieval_service.settings import RetrievalSettings
from tests.helpers.retrieval import opened
from tests.helpers.tiny_version import TEXT_DIMENSION
from twotower.artifact.catalogue import Product
from twotower.conditions import language
from twotower.live.records import LiveVectors, State, pack_vectors
from twotower.pb import common_pb2, retrieval_pb2

_OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Shelf:
    """The products of a tiny version, searched as the retrieval service does."""

    def __init__(self, artifacts: Path, name: str = "tiny-a") -> None:
        version = opened(artifacts, name)
        self.index: ProductIndex = load(version, RetrievalSettings())
        self.vectors = np.load(version.layout.embeddings)
        ids = np.load(version.layout.ids).tolist()
        self.products: dict[str, Product] = {one.id: one for one in self.index.lookup(ids) if one is not None}
        self.asked: list[retrieval_pb2.Query] = []
        self.answers: list[Hits] = []

    def change(self, *states: State) -> None:
        """Changes of the live catalogue; a new product gets a vector of its own."""
        rng = np.random.default_rng(7)
        vectors = {}
        live = self.index.live
        live.apply(states, {}, "epoch")
        for one, content in live.missing().items():
            item = rng.normal(size=self.vectors.shape[1]).astype(np.float32)
            text = rng.normal(size=TEXT_DIMENSION).astype(np.float32)
            vectors[one] = pack_vectors(LiveVectors(content.digest(), item / np.linalg.norm(item), text))
        live.apply(states, vectors, "epoch")
        for state in states:
            (found,) = self.index.lookup([state.product_id])
            if found is None:
                self.products.pop(state.product_id, None)
            else:
                self.products[state.product_id] = found

    async def search(self, query: retrieval_pb2.Query) -> Hits:
        """The nearest to the first product's vector."""
        self.asked.append(query)
        vector = self.vectors[:1].astype("<f4")
        vectors = common_pb2.Vectors(data=vector.tobytes(), dimension=vector.shape[1], model_version="tiny-a")
        request = retrieval_pb2.SearchRequest(vectors=vectors, queries=[query], packed=True)
        (hits,) = calls.search(self.index, "tiny-a", request).hits
        return self._answer(hits)

    async def popular(self, query: retrieval_pb2.Query) -> Hits:
        self.asked.append(query)
        (hits,) = calls.popular(self.index, "tiny-a", retrieval_pb2.PopularRequest(queries=[query], packed=True)).hits
        return self._answer(hits)

    async def names(self, ids: Sequence[str]) -> list[retrieval_pb2.Product]:
        return [pack_product(one, product) for one, product in zip(ids, self.index.lookup(ids), strict=True)]

    async def ruled(
        self,
        rules: Sequence[Mapping[str, Any]],
        query: retrieval_pb2.Query,
        *,
        facts: Mapping[str, language.Fact] | None = None,
        shown: Sequence[str] = (),
        popular: bool = False,
    ) -> Ruled:
        """The list of a query under rules, each with its place as its name if it has none."""
        self.asked.clear()
        self.answers.clear()
        ask = self.popular if popular else self.search
        plan = compile_plan(list(numbered(rules).rules), facts or {})
        if plan is None:
            return Ruled(await ask(query))
        return await apply(plan, Asking(query, ask, ask, self.names), [frozenset(shown)] * len(plan.repeats))

    def _answer(self, hits: retrieval_pb2.Hits) -> Hits:
        self.answers.append(unpack_hits(hits, "tiny-a"))
        return self.answers[-1]


def numbered(rules: Sequence[Mapping[str, Any]]) -> Rules:
    return Rules.model_validate({"rules": [{"name": str(place), **one} for place, one in enumerate(rules)]})


def holds(condition: language.Condition, product: Product) -> bool:
    """Whether a condition is true of a product, one comparison at a time."""
    match condition:
        case language.Constant(value):
            return value
        case language.Not(part):
            return not holds(part, product)
        case language.All(parts):
            return all(holds(one, product) for one in parts)
        case language.Any(parts):
            return any(holds(one, product) for one in parts)
        case language.Comparison(field, sign, values):
            value = _value(product, field)
            if value is None:
                return False
            return value in values if sign == "=" else _OPERATORS[sign](value, values[0])
    raise AssertionError(condition)


def _value(product: Product, field: str) -> Any:
    if field == "product_id":
        return product.id
    if field == "age_days":
        if product.row < 0:
            return 0.0
        return None if product.first_seen is None else (time.time() - product.first_seen) / 86_400
    return getattr(product, field)
