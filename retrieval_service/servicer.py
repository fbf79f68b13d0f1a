"""RetrievalService over gRPC: decodes a request, calls the index, packs its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from retrieval_service.index import ProductIndex
from retrieval_service.lists.together import TogetherAnswer
from retrieval_service.loading import load
from retrieval_service.messages import lists
from retrieval_service.named import Named, named_first
from retrieval_service.query import NO_FILTER, Answer, Filter, Query, Sort
from retrieval_service.reasons import Parts, Reasons
from retrieval_service.releases import ReleaseServicer
from retrieval_service.settings import RetrievalSettings
from twotower.artifact.catalogue import Product
from twotower.artifact.layout import Layout
from twotower.artifact.private_copy import CopyCache
from twotower.errors import InvalidInput
from twotower.live.start import following, open_follower
from twotower.pb import releases_pb2_grpc, retrieval_pb2, retrieval_pb2_grpc
from twotower.search.diversity import candidates
from twotower.search.word_index import Word
from twotower.serving import server, wire
from twotower.serving.model_versions import Versions
from twotower.serving.rpc_method import RpcMethod
from twotower.serving.server import GrpcService
from twotower.serving.telemetry import CALL_ROWS
from twotower.serving.workers import Workers

# a short request: at most this many products wanted and excluded by a query, this many queries, and this many
# characters of histories, which take 4 ms if most of their products are unknown
_FEW, _FEW_QUERIES, _FEW_CHARACTERS = 200, 64, 512 << 10
# milliseconds that a search may take on the event loop
_SHORT_MS = 8
# an expensive request: more comparisons of a candidate with a product chosen than this, which take about 5 ms
_MANY_COMPARISONS = 150_000
_SORTS: dict[int, Sort] = {
    retrieval_pb2.RELEVANCE: "relevance",
    retrieval_pb2.PRICE_ASC: "price_asc",
    retrieval_pb2.PRICE_DESC: "price_desc",
}


class RetrievalServicer:
    """Answers the calls of protos/retrieval.proto with the versions held."""

    def __init__(
        self, versions: Versions[ProductIndex], workers: Workers, expensive: Workers, settings: RetrievalSettings
    ) -> None:
        """`expensive` runs what takes long, so that nothing else waits for it."""
        self._versions = versions
        self._workers = workers
        self._expensive = expensive
        self._settings = settings
        # what gRPC calls, by the names in protos/retrieval.proto
        search = RpcMethod("Search", self.search)
        self.Search, self.SearchStream = search.unary, search.stream
        self.Popular = RpcMethod("Popular", self.popular).unary
        self.Again = RpcMethod("Again", self.again).unary
        self.Trending = RpcMethod("Trending", self.trending).unary
        self.Together = RpcMethod("Together", self.together).unary
        self.Lookup = RpcMethod("Lookup", self.lookup).unary
        self.Vectors = RpcMethod("Vectors", self.vectors).unary

    async def search(self, request: retrieval_pb2.SearchRequest) -> retrieval_pb2.SearchResponse:
        wire.check_batch(len(request.queries), self._settings.max_batch, "queries")
        version, index = self._versions.get(_version_of(request))
        if is_expensive(request):
            return await self._expensive.run(_search, index, version, request)
        short = index.milliseconds(len(request.queries)) <= _SHORT_MS and is_short(request)
        run = self._workers.run_short if short else self._workers.run
        return await run(_search, index, version, request)

    async def popular(self, request: retrieval_pb2.PopularRequest) -> retrieval_pb2.PopularResponse:
        wire.check_batch(len(request.queries), self._settings.max_batch, "queries")
        version, index = self._versions.get(request.model_version)
        return await self._workers.run(_popular, index, version, request)

    async def again(self, request: retrieval_pb2.AgainRequest) -> retrieval_pb2.AgainResponse:
        wire.check_batch(len(request.queries), self._settings.max_batch, "queries")
        version, index = self._versions.get(request.model_version)
        queries, times = _queries(one.query for one in request.queries), [one.now_ms for one in request.queries]
        return await self._workers.run(lists.again, index, version, queries, times)

    async def trending(self, request: retrieval_pb2.TrendingRequest) -> retrieval_pb2.TrendingResponse:
        wire.check_batch(len(request.queries), self._settings.max_batch, "queries")
        version, index = self._versions.get(request.model_version)
        rising = request.rising if request.HasField("rising") else None
        return await self._workers.run(lists.trending, index, version, _queries(request.queries), rising)

    async def together(self, request: retrieval_pb2.TogetherRequest) -> retrieval_pb2.TogetherResponse:
        wire.check_batch(len(request.queries), self._settings.max_batch, "queries")
        version, index = self._versions.get(request.model_version)
        return await self._workers.run(_together, index, version, request)

    async def lookup(self, request: retrieval_pb2.LookupRequest) -> retrieval_pb2.LookupResponse:
        wire.check_batch(len(request.product_ids), self._settings.max_lookup, "product_ids", minimum=0)
        version, index = self._versions.get(request.model_version)
        return await self._workers.run(_lookup, index, version, request)

    async def vectors(self, request: retrieval_pb2.VectorsRequest) -> retrieval_pb2.VectorsResponse:
        maximum = self._settings.max_lookup if request.unknown_only else self._settings.max_batch
        wire.check_batch(len(request.product_ids), maximum, "product_ids", minimum=0)
        version, index = self._versions.get(request.model_version)
        if request.unknown_only:
            # a millisecond for ten thousand
            return retrieval_pb2.VectorsResponse(unknown_product_ids=index.unknown(request.product_ids))
        return await self._workers.run(_vectors, index, version, request)


async def serve(
    settings: RetrievalSettings, stop: asyncio.Event | None = None, on_ready: Callable[[int], None] = lambda port: None
) -> None:
    """Runs the service until a signal or `stop`; `on_ready` gets the port."""
    cache = CopyCache(settings.cache) if settings.cache else None
    follower = open_follower(settings, "retrieval")
    versions = Versions(Layout(settings.artifacts), partial(load, settings=settings, follower=follower), cache)
    workers = Workers(settings.threads, settings.queue)
    expensive = Workers(1, settings.queue, pool="expensive")
    servicer = RetrievalServicer(versions, workers, expensive, settings)
    service = GrpcService(
        "retrieval_service",
        retrieval_pb2.DESCRIPTOR.services_by_name["RetrievalService"].full_name,
        servicer,
        partial(_register, ReleaseServicer(settings)),
    )
    async with following(follower, versions):
        await server.serve(service, settings, versions, stop, on_ready)
    workers.close()
    expensive.close()


def _register(releases: ReleaseServicer, servicer: RetrievalServicer, target: Any) -> None:
    retrieval_pb2_grpc.add_RetrievalServiceServicer_to_server(servicer, target)
    releases_pb2_grpc.add_ReleaseServiceServicer_to_server(releases, target)


def _version_of(request: retrieval_pb2.SearchRequest) -> str:
    version = request.vectors.model_version
    if not version:
        raise InvalidInput(
            "vectors.model_version", version, "must name the version whose vector space the vectors lie in"
        )
    return version


def is_expensive(request: retrieval_pb2.SearchRequest) -> bool:
    """True for long lists with diversity."""
    diverse = (one for one in request.queries if one.diversity)
    return sum(one.k * candidates(one.k, one.diversity) for one in diverse) > _MANY_COMPARISONS


def is_short(request: retrieval_pb2.SearchRequest) -> bool:
    """True for few queries without filter, diversity and details, each for few products, and no long histories.

    For more products, an approximate index may have to scan all of them.
    """
    if len(request.queries) > _FEW_QUERIES or sum(len(one.history) for one in request.queries) > _FEW_CHARACTERS:
        return False
    return all(
        one.k + len(one.excluded_ids) <= _FEW
        and _filter(one) == NO_FILTER
        and not one.diversity
        and not one.with_products
        for one in request.queries
    )


def _search(index: ProductIndex, version: str, request: retrieval_pb2.SearchRequest) -> retrieval_pb2.SearchResponse:
    _check_named(request)
    search = index.search_texts if request.by_text else index.search
    answers = search(wire.unpack(request.vectors), _queries(request.queries))
    CALL_ROWS.labels("Search").inc(len(answers))
    if index.best_scores is not None:
        index.best_scores.count(_best_scores(request.queries, answers))
    answers = [_with_named(index, one, answer) for one, answer in zip(request.queries, answers, strict=True)]
    hits = _all_hits(index, request.queries, answers, request.packed)
    return retrieval_pb2.SearchResponse(hits=hits, model_version=version)


def _best_scores(queries: Iterable[retrieval_pb2.Query], answers: Iterable[Answer]) -> list[float]:
    """The best scores of the lists for a buyer that may hold any product: those that the training has figures of."""
    return [
        float(answer.scores[0])
        for query, answer in zip(queries, answers, strict=True)
        if query.history and not query.HasField("filter") and not query.sort and len(answer.scores)
    ]


def _popular(index: ProductIndex, version: str, request: retrieval_pb2.PopularRequest) -> retrieval_pb2.PopularResponse:
    answers = index.popular(_queries(request.queries))
    CALL_ROWS.labels("Popular").inc(len(answers))
    hits = _all_hits(index, request.queries, answers, request.packed)
    return retrieval_pb2.PopularResponse(hits=hits, model_version=version)


def _together(
    index: ProductIndex, version: str, request: retrieval_pb2.TogetherRequest
) -> retrieval_pb2.TogetherResponse:
    carts = [list(one.product_ids) for one in request.queries]
    answers = index.together(_queries(one.query for one in request.queries), carts)
    CALL_ROWS.labels("Together").inc(len(answers))
    hits = [_together_hits(answer, request.packed) for answer in answers]
    return retrieval_pb2.TogetherResponse(hits=hits, model_version=version)


def _together_hits(answer: TogetherAnswer, packed: bool) -> retrieval_pb2.TogetherHits:
    return retrieval_pb2.TogetherHits(
        hits=_hits(answer.answer, packed),
        because=answer.because,
        is_known=answer.is_known,
        unknown_product_ids=answer.unknown_product_ids,
    )


def _lookup(index: ProductIndex, version: str, request: retrieval_pb2.LookupRequest) -> retrieval_pb2.LookupResponse:
    products = index.lookup(request.product_ids)
    CALL_ROWS.labels("Lookup").inc(len(products))
    return retrieval_pb2.LookupResponse(products=map(_product, request.product_ids, products), model_version=version)


def _vectors(index: ProductIndex, version: str, request: retrieval_pb2.VectorsRequest) -> retrieval_pb2.VectorsResponse:
    stored = index.vectors(request.product_ids)
    CALL_ROWS.labels("Vectors").inc(len(stored.vectors))
    return retrieval_pb2.VectorsResponse(
        vectors=wire.pack(stored.vectors, version), unknown_product_ids=stored.unknown_product_ids
    )


def _queries(messages: Iterable[retrieval_pb2.Query]) -> list[Query]:
    return [
        Query(
            one.k,
            one.excluded_ids,
            _filter(one),
            one.diversity,
            one.history,
            one.follows,
            [Word(word.text, word.weight, word.is_number, word.group) for word in one.words],
            _sort(one.sort),
            Parts(list(one.parts.product_ids), one.parts.data) if one.HasField("parts") else None,
            one.also,
        )
        for one in messages
    ]


def _check_named(request: retrieval_pb2.SearchRequest) -> None:
    if request.by_text:
        return
    for place, one in enumerate(request.queries):
        if one.HasField("named"):
            raise InvalidInput(
                f"queries[{place}].named", list(one.named.ids), "has an effect on a search by text alone"
            )


def _with_named(index: ProductIndex, query: retrieval_pb2.Query, answer: Answer) -> Answer:
    if not query.HasField("named"):
        return answer
    named = Named(query.named.ids, _filter(query.named))
    return named_first(index, named, query.excluded_ids, query.k, answer)


def _sort(value: int) -> Sort:
    if value not in _SORTS:
        raise InvalidInput("sort", value, "is no order that this service knows")
    return _SORTS[value]


def _filter(query: retrieval_pb2.Query | retrieval_pb2.Named) -> Filter:
    if not query.HasField("filter"):
        return NO_FILTER
    message = query.filter
    return Filter(
        tuple(message.categories),
        tuple(message.brands),
        message.in_stock if message.HasField("in_stock") else None,
        message.price_min if message.HasField("price_min") else None,
        message.price_max if message.HasField("price_max") else None,
        tuple(message.excluded_words),
        message.where,
    )


def _all_hits(
    index: ProductIndex, queries: Sequence[retrieval_pb2.Query], answers: Sequence[Answer], packed: bool
) -> list[retrieval_pb2.Hits]:
    answers = [_with_also(one) if one.also else one for one in answers]
    hits, texts = [_hits(answer, packed) for answer in answers], [one.marks for one in queries]
    coded = (any(one.with_brand_codes for one in queries), any(one.with_category_codes for one in queries))
    if any(texts) or any(coded):
        ids = [answer.product_ids for answer in answers]
        for one, said in zip(hits, index.marks(texts, ids, coded), strict=True):
            one.marks, one.brand_codes, one.category_codes = said
    for query, one, answer in zip(queries, hits, answers, strict=True):
        if query.with_products:
            one.products.extend(map(_product, answer.product_ids, index.lookup(answer.product_ids)))
    return hits


def _with_also(answer: Answer) -> Answer:
    count, reasons = len(answer.also), answer.reasons
    if reasons is not None:
        # the model adds nothing to them
        nothing = np.zeros((count, reasons.contributions.shape[1]), np.float32)
        reasons = reasons._replace(contributions=np.concatenate([reasons.contributions, nothing]))
    return answer._replace(
        product_ids=[*answer.product_ids, *answer.also],
        scores=np.concatenate([answer.scores, np.zeros(count, np.float32)]),
        reasons=reasons,
    )


def _hits(answer: Answer, packed: bool) -> retrieval_pb2.Hits:
    return retrieval_pb2.Hits(
        product_ids=[] if packed else answer.product_ids,
        packed_product_ids=wire.pack_ids(answer.product_ids) if packed else "",
        scores=wire.pack_scores(answer.scores),
        unknown_filter_values=answer.unknown_filter_values,
        is_below_noise=answer.is_below_noise,
        followers=answer.followers,
        reasons=_reasons(answer.reasons),
        also=len(answer.also),
    )


def _reasons(reasons: Reasons | None) -> retrieval_pb2.Reasons | None:
    if reasons is None:
        return None
    contributions = reasons.contributions.astype("<f4").tobytes()
    return retrieval_pb2.Reasons(product_ids=reasons.product_ids, contributions=contributions)


def _product(product_id: str, product: Product | None) -> retrieval_pb2.Product:
    if product is None:
        return retrieval_pb2.Product(product_id=product_id)
    return retrieval_pb2.Product(
        product_id=product_id,
        found=True,
        title=product.title,
        brand=product.brand,
        category=product.category,
        price=product.price,
        currency=product.currency,
        image=product.image,
        in_stock=product.in_stock,
    )
