"""Lists for a product or a cart, and the details of products."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from gateway import reasons
from gateway.clients.answers import Hits, Together, Vector
from gateway.clients.deadline import Deadline
from gateway.pipeline.answers import ProductList, Source
from gateway.pipeline.parts import Pipeline, explained
from gateway.pipeline.queries import list_query, needs_details
from gateway.pipeline.versions import on_one_version
from gateway.rules.facts import BuyerFacts, request_facts
from gateway.rules.serving import Facts
from gateway.schemas.requests import (
    CompleteBody,
    SimilarQuery,
    TogetherQuery,
)
from twotower.errors import (
    NotFound,
)
from twotower.pb import retrieval_pb2
from twotower.serving import wire


async def similar(pipeline: Pipeline, query: SimilarQuery, deadline: Deadline) -> ProductList:
    """The products nearest to a product, or those that buyers take after it; never itpipeline.

    Raises NotFound if the model does not know it.
    """
    follows = query.product_id if query.by == "sequence" else ""

    async def attempt(version: str) -> ProductList:
        vector = await pipeline.retrieval.vector(query.product_id, version, deadline)
        if vector is None:
            raise NotFound(f"product {query.product_id!r} is not known", field="product_id")

        async def ask(one: retrieval_pb2.Query) -> Hits:
            return await pipeline.retrieval.search(vector, one, deadline)

        asked = list_query(query, {query.product_id}, follows=follows)
        asked.with_products = needs_details(query)
        ruled = await pipeline.ruled(query, asked, ask, ask, lambda: request_facts(query), deadline)
        ruled = await pipeline.detailed(ruled, deadline) if needs_details(query) else ruled
        found = pipeline.product_list(query, ruled, "model", _doubts(query, vector, ruled.hits), deadline)
        why = partial(reasons.of_product, pipeline.retrieval, query.product_id, ruled.hits, ruled.followers(), deadline)
        return await explained(query, found, why)

    return await on_one_version(attempt)


async def together(pipeline: Pipeline, query: TogetherQuery | CompleteBody, deadline: Deadline) -> ProductList:
    """What is bought together with a product, or completes a cart; never a product of the cart.

    Popular products fill a list that has too few. Raises NotFound if the model knows no product of the cart.
    """
    dismissed, failed = set[str](), list[str]()
    facts: Facts = partial(request_facts, query)
    if isinstance(query, CompleteBody) and query.buyer_id is not None:
        known = await pipeline.read_history(query.buyer_id, deadline)
        dismissed, facts = set(known.dismissed), partial(BuyerFacts, query, known.history)
        if known.failure:
            failed = [f"the products that the buyer dismissed cannot be read: {known.failure}"]

    async def attempt(version: str) -> ProductList:
        pairs, unknown = dict[str, tuple[int, bool]](), list[str]()

        async def ask(one: retrieval_pb2.Query) -> Hits:
            # further questions are about the version that has answered the first
            nonlocal version
            found = await pipeline.retrieval.together(query.cart, one, version, deadline)
            version, unknown[:] = found.hits.version, found.unknown
            if len(unknown) == len(query.cart):
                raise _unknown_cart(query)
            pairs.update(
                zip(
                    wire.unpack_ids(found.hits.packed_ids), zip(found.because, found.is_known, strict=True), strict=True
                )
            )
            return found.hits

        asked = list_query(query, dismissed)
        asked.with_products = False
        # popular products fill the list: it holds any product, but does not say which ones it was asked for besides
        ruled = await pipeline.ruled(query, asked, ask, ask, facts, deadline, ask)
        found = _completion(ruled.hits, pairs, unknown)
        goes_with = sum(place >= 0 for place in found.because)
        warnings = [*failed, *_missing_complements(query, found.unknown, goes_with, len(found.because))]
        source: Source = "together" if goes_with else "popular"
        listed = pipeline.product_list(query, ruled, source, warnings, deadline)
        why = partial(reasons.of_cart, pipeline.retrieval, query.cart, found, deadline)
        return await explained(query, listed, why)

    return await on_one_version(attempt)


async def products(pipeline: Pipeline, product_ids: Sequence[str], deadline: Deadline) -> list[retrieval_pb2.Product]:
    """The details of each product, in order; `found` is false for one that the version does not hold."""
    return await pipeline.retrieval.lookup(product_ids, "", deadline)


def _completion(hits: Hits, pairs: Mapping[str, tuple[int, bool]], unknown: list[str]) -> Together:
    """The hits with what each goes with best."""
    listed = [pairs[one] for one in wire.unpack_ids(hits.packed_ids)]
    return Together(hits, [place for place, _ in listed], [is_known for _, is_known in listed], unknown)


def _doubts(query: SimilarQuery, vector: Vector, hits: Hits) -> list[str]:
    """Why a list is not what was asked for: products without a sequence, or without a vector."""
    count, warnings = len(hits.scores), []
    if query.by == "sequence" and hits.followers < count:
        known = f"only {hits.followers} of these products are" if hits.followers else "none of these products is"
        warnings.append(f"{known} known to follow {query.product_id!r}; the nearest by vector fill the list")
    # a product without text, brand, category and events has a vector of zeros
    if not vector.floats().any() and (query.by == "vector" or hits.followers < count):
        warnings.append(f"product {query.product_id!r} has no content and no events to compare")
    return warnings


def _unknown_cart(query: TogetherQuery | CompleteBody) -> NotFound:
    if isinstance(query, TogetherQuery):
        return NotFound(f"product {query.product_id!r} is not known", field="product_id")
    return NotFound(f"none of the {len(query.cart)} products of the cart is known", field="product_ids")


def _missing_complements(
    query: TogetherQuery | CompleteBody, unknown: Sequence[str], goes_with: int, count: int
) -> list[str]:
    """Why a list is not what was asked for."""
    warnings = [f"product {one!r} is not known" for one in unknown]
    if goes_with < count:
        known = f"only {goes_with} of these products are" if goes_with else "none of these products is"
        what = repr(query.cart[0]) if len(query.cart) == 1 else "the cart"
        warnings.append(f"{known} known to go with {what}; popular products fill the list")
    if query.diversity:
        warnings.append("diversity has no effect on products that are bought together")
    return warnings
