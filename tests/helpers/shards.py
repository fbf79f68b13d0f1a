"""Versions for shards, a gateway over them, and the merge of their answers as protos/retrieval.proto describes it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import faiss
import httpx
import numpy as np

from retrieval_service.index import ProductIndex
from retrieval_service.loading import load
from retrieval_service.settings import RetrievalSettings
from tests.helpers.redis_server import RedisServer
from tests.helpers.services import Running, running
from tests.helpers.stack import as_json, event, gateway
from tests.helpers.tiny_version import build_version
from trainer.index.build import BuiltIndex, train_index, write
from trainer.index.shards import write_shards
from twotower.arrays import Float32, Int64
from twotower.artifact.layout import VersionLayout
from twotower.artifact.manifest import IndexSpec, IndexStep, Manifest
from twotower.artifact.store import publish, write_version
from twotower.artifact.version import Version
from twotower.merging import best_of, by_price, choose_diverse, named_score
from twotower.pb import retrieval_pb2
from twotower.search.diversity import candidates
from twotower.search.vector_index import FLAT
from twotower.serving import wire

_HISTORY = [event("p4", "View", 30), event("p8", "AddToCart", 20), event("p12", "Purchase", 10)]
_PER_PRODUCT = ("scores", "orders", "prices", "follower_flags", "marks", "brand_codes", "category_codes")


def ivf(nprobe: int, factor: float) -> IndexSpec:
    """16 lists; the parameters are the same for every depth."""
    steps = [
        IndexStep(depth=depth, parameter=nprobe, factor=factor, recall=0.9, microseconds=1) for depth in (10, 100, 2000)
    ]
    return IndexSpec(kind="ivf", factory="IVF16,PQ4x4fsr", knob="nprobe", steps=steps, exact_rows=20)


def publish_sharded(version: Version, name: str, shards: int, spec: IndexSpec = FLAT) -> Version:
    """Publishes a version once more as `name`, for so many shards, with product and text indexes of this kind."""
    layout = version.layout.artifacts

    def fill(files: VersionLayout) -> Manifest:
        for listed in version.manifest.files:
            shutil.copyfile(version.layout.root / listed, files.root / listed)
        for listed in version.manifest.private_files:
            shutil.copyfile(version.layout.private / listed, files.private / listed)
        text_spec = spec.model_copy(update={"factory": spec.factory.replace("PQ4x4", "PQ6x4")})
        _write(files, files.embeddings, files.index, spec, shards, files.index_of)
        _write(files, files.text_embeddings, files.text_index, text_spec, shards, files.text_index_of)
        search = version.manifest.text_search.model_copy(update={"index": text_spec})
        if spec.factory != FLAT.factory:
            files.nearest.unlink()
        return version.manifest.model_copy(
            update={"version": name, "shards": shards, "index": spec, "text_search": search, "files": {}}
        )

    made = write_version(layout, name, fill)
    publish(layout, name)
    return made


def _write(files: VersionLayout, stored: Path, path: Path, spec: IndexSpec, shards: int, path_of: Any) -> None:
    vectors = np.load(stored)
    if spec.factory == FLAT.factory:
        return
    faiss.omp_set_num_threads(1)
    built = BuiltIndex(train_index(spec.factory, vectors, 0), spec)
    write(built, path)
    write_shards(built, vectors, shards, path_of, 2)


def build_sharded(folder: Path, *names: str, shards: int = 2) -> Path:
    """Versions for shards, of different towers, published one after the other."""
    for name in names:
        seed = ord(name)
        base = build_version(folder, f"base-{name}", seed=seed, encoder_seed=seed, publish=False)
        publish_sharded(base, name, shards)
    return folder


@asynccontextmanager
async def shops(
    folders: list[Path], redis: RedisServer, may_publish: bool = False, **settings: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, list[Running]]]:
    """A gateway with one shard on each folder, buyer and item services on the first one, and the shards.

    It knows the history of the buyer "b".
    """
    async with AsyncExitStack() as exits:
        shards = [
            await exits.enter_async_context(
                running(
                    "retrieval",
                    folder,
                    shard_index=number,
                    shard_count=len(folders),
                    drain_seconds=0.1,
                    may_publish=may_publish,
                )
            )
            for number, folder in enumerate(folders)
        ]
        addresses = {"retrieval_address": ";".join(one.address for one in shards)}
        for name in ("item", "buyer"):
            addresses[f"{name}_address"] = (await exits.enter_async_context(running(name, folders[0]))).address
        client = await exits.enter_async_context(gateway(redis_url=redis.url, **addresses, **settings))
        body = {"buyer_id": "b", "recent_interactions": as_json(_HISTORY)}
        assert (await client.post("/encode_buyer", json=body)).status_code == 200
        yield client, shards


def open_shards(version: Version) -> list[ProductIndex]:
    """Every shard of a version, as the services hold them."""
    count = version.manifest.shards
    return [load(version, RetrievalSettings(shard_index=one, shard_count=count)) for one in range(count)]


def merge(
    query: retrieval_pb2.Query, answers: Sequence[retrieval_pb2.Hits], *, diversity: float = 0.0
) -> retrieval_pb2.Hits:
    """One answer of those of all shards, as a whole service would give it, with packed ids."""
    ids, owner, lists = list[str](), list[int](), list[str]()
    for shard, one in enumerate(answers):
        own = list(one.product_ids) or wire.unpack_ids(one.packed_product_ids)
        ids += own
        owner += [shard] * len(own)
        lists += ["proper"] * (len(own) - one.also - one.named) + ["also"] * one.also + ["named"] * one.named
    columns = {name: _column(name, answers) for name in _PER_PRODUCT}
    scores, orders = columns["scores"].view("<f4").ravel(), columns["orders"].view("<i8").ravel()
    proper = np.flatnonzero(np.array(lists) == "proper")
    best = proper[best_of(scores[proper], orders[proper], candidates(query.k, diversity))]
    is_below = bool(len(best)) and answers[owner[best[0]]].is_below_noise
    chosen = best[: query.k]
    if diversity:
        chosen = best[choose_diverse(scores[best], _vectors(answers, proper, len(ids))[best], query.k, diversity)]
    if query.sort:
        prices = columns["prices"].view("<f8").ravel()[chosen]
        chosen = chosen[by_price(prices, descending=query.sort == retrieval_pb2.PRICE_DESC)]
    followers = int(columns["follower_flags"][chosen].sum()) if query.follows else 0
    shown = scores.copy()
    named = [place for place, kind in enumerate(lists) if kind == "named"]
    if named:
        others = [place for place in chosen.tolist() if ids[place] != ids[named[0]]][: query.k - 1]
        shown[named[0]] = named_score(scores[others])
        chosen, is_below = np.array([named[0], *others]), False
    also = np.flatnonzero(np.array(lists) == "also")
    also = also[np.argsort(orders[also])]
    listed: Int64 = np.concatenate([chosen, also]).astype(np.int64)
    merged = retrieval_pb2.Hits(
        packed_product_ids=wire.pack_ids([ids[place] for place in listed]),
        scores=shown[listed].astype("<f4").tobytes(),
        unknown_filter_values=answers[0].unknown_filter_values,
        is_below_noise=is_below,
        followers=followers,
        also=len(also),
        reasons=_reasons(answers, listed),
    )
    for name in ("marks", "brand_codes", "category_codes"):
        setattr(merged, name, columns[name][listed].tobytes() if columns[name].shape[1] else b"")
    products = [product for one in answers for product in one.products]
    merged.products.extend(products[place] for place in listed if products)
    return merged


def _column(name: str, answers: Sequence[retrieval_pb2.Hits]) -> np.ndarray:
    """The bytes [products, width] of a field; zeros for a shard that has left them out."""
    counts = [len(one.scores) // 4 for one in answers]
    parts = [np.frombuffer(getattr(one, name), np.uint8) for one in answers]
    width = max((len(part) // count for part, count in zip(parts, counts, strict=True) if count), default=0)
    return np.concatenate(
        [
            part.reshape(count, width) if len(part) else np.zeros((count, width), np.uint8)
            for part, count in zip(parts, counts, strict=True)
        ]
    )


def _vectors(answers: Sequence[retrieval_pb2.Hits], proper: Int64, count: int) -> Float32:
    rows = [
        np.frombuffer(one.vectors, "<f4").reshape(len(one.scores) // 4 - one.also - one.named, -1)
        for one in answers
        if one.vectors
    ]
    stacked = np.concatenate(rows)
    vectors = np.zeros((count, stacked.shape[1]), np.float32)
    vectors[proper] = stacked
    return vectors


def _reasons(answers: Sequence[retrieval_pb2.Hits], listed: Int64) -> retrieval_pb2.Reasons | None:
    if not answers[0].HasField("reasons"):
        return None
    products = answers[0].reasons.product_ids
    assert all(one.reasons.product_ids == products for one in answers)
    rows = np.concatenate(
        [np.frombuffer(one.reasons.contributions, "<f4").reshape(-1, len(products) + 2) for one in answers]
    )
    return retrieval_pb2.Reasons(product_ids=products, contributions=rows[listed].tobytes())
