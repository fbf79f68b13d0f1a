"""Packs answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from retrieval_service.index import ProductIndex
from retrieval_service.lists.together import TogetherAnswer
from retrieval_service.query import Answer, Merge
from retrieval_service.reasons import Reasons
from twotower.artifact.catalogue import Product
from twotower.pb import retrieval_pb2
from twotower.serving import wire
from twotower.sharding import WHOLE


def pack_answers(
    index: ProductIndex, queries: Sequence[retrieval_pb2.Query], answers: Sequence[Answer], packed: bool
) -> list[retrieval_pb2.Hits]:
    """The answers with what each query asks for besides: marks, codes and details."""
    answers = [_with_more(one, query.also) for one, query in zip(answers, queries, strict=True)]
    hits, texts = [_pack(answer, packed) for answer in answers], [one.marks for one in queries]
    coded = (any(one.with_brand_codes for one in queries), any(one.with_category_codes for one in queries))
    if any(texts) or any(coded):
        for one, said in zip(hits, index.marks(texts, answers, coded), strict=True):
            one.marks, one.brand_codes, one.category_codes = said
    for query, one, answer in zip(queries, hits, answers, strict=True):
        if query.with_products:
            one.products.extend(map(pack_product, answer.product_ids, index.lookup(answer.product_ids)))
    return hits


def pack_together(
    index: ProductIndex, queries: Sequence[retrieval_pb2.Query], answers: Sequence[TogetherAnswer], packed: bool
) -> list[retrieval_pb2.TogetherHits]:
    """The completion of each cart."""
    hits = pack_answers(index, queries, [one.answer for one in answers], packed)
    return [
        retrieval_pb2.TogetherHits(
            hits=own, because=one.because, is_known=one.is_known, unknown_product_ids=one.unknown_product_ids
        )
        for own, one in zip(hits, answers, strict=True)
    ]


def pack_product(product_id: str, product: Product | None) -> retrieval_pb2.Product:
    """The details of a product, not found for None."""
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


def shard_of(index: ProductIndex) -> retrieval_pb2.Shard | None:
    """The shard that a replica answers for; None for all products."""
    shard = index.shard
    return None if shard == WHOLE else retrieval_pb2.Shard(number=shard.number, count=shard.count)


def pack_merge(hits: retrieval_pb2.Hits, merge: Merge | None) -> None:
    """Adds to the hits what merging them needs, if anybody merges them."""
    if merge is None:
        return
    hits.orders = merge.orders.astype("<i8").tobytes()
    hits.named = int(bool(merge.named))
    if merge.prices is not None:
        hits.prices = merge.prices.astype("<f8").tobytes()
    if merge.is_follower is not None:
        hits.follower_flags = merge.is_follower.astype(np.uint8).tobytes()
    if merge.vectors is not None:
        hits.vectors = merge.vectors.astype("<f4").tobytes()


def _with_more(answer: Answer, also: str) -> Answer:
    """The products of `also`, and then a named one to be merged, behind the others."""
    merge = answer.merge
    more = [*answer.also, *([merge.named] if merge is not None and merge.named else [])]
    if not more:
        return answer
    count, reasons = len(more), answer.reasons
    if merge is not None:
        places = {one: place for place, one in reversed(list(enumerate(wire.unpack_ids(also))))}
        orders = np.array([places.get(one, 0) for one in more], np.int64)
        merge = merge._replace(
            orders=np.concatenate([merge.orders, orders]),
            prices=None if merge.prices is None else np.concatenate([merge.prices, np.full(count, np.nan)]),
            is_follower=None
            if merge.is_follower is None
            else np.concatenate([merge.is_follower, np.zeros(count, np.bool_)]),
        )
    if reasons is not None:
        # the model adds nothing to them
        nothing = np.zeros((count, reasons.contributions.shape[1]), np.float32)
        reasons = reasons._replace(contributions=np.concatenate([reasons.contributions, nothing]))
    return answer._replace(
        product_ids=[*answer.product_ids, *more],
        scores=np.concatenate([answer.scores, np.zeros(count, np.float32)]),
        rows=np.concatenate([answer.rows, np.full(count, -1)]),
        reasons=reasons,
        merge=merge,
    )


def _pack(answer: Answer, packed: bool) -> retrieval_pb2.Hits:
    hits = retrieval_pb2.Hits(
        product_ids=[] if packed else answer.product_ids,
        packed_product_ids=wire.pack_ids(answer.product_ids) if packed else "",
        scores=wire.pack_scores(answer.scores),
        unknown_filter_values=answer.unknown_filter_values,
        is_below_noise=answer.is_below_noise,
        followers=answer.followers,
        reasons=_reasons(answer.reasons),
        also=len(answer.also),
    )
    pack_merge(hits, answer.merge)
    return hits


def _reasons(reasons: Reasons | None) -> retrieval_pb2.Reasons | None:
    if reasons is None:
        return None
    contributions = reasons.contributions.astype("<f4").tobytes()
    return retrieval_pb2.Reasons(product_ids=reasons.product_ids, contributions=contributions)
