"""Real service processes whose artifact folder is damaged in place while they serve."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.processes import Process, is_log, process
from tests.helpers.services import cache_of, serving
from tests.helpers.tiny_version import build_version
from twotower.artifact.layout import Layout
from twotower.artifact.version import open_version
from twotower.errors import Unavailable
from twotower.pb import buyer_pb2, buyer_pb2_grpc, item_pb2, item_pb2_grpc, retrieval_pb2, retrieval_pb2_grpc
from twotower.serving import wire
from twotower.serving.client import call, connect

# files larger than a page, with parts that no request has touched
PRODUCTS = 3000
ALL = [f"p{row}" for row in range(PRODUCTS)]
Ask = Callable[[Any], Any]


def truncate(path: Path) -> None:
    os.truncate(path, 0)


def zero(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))


def damage(artifacts: Path, how: Callable[[Path], None]) -> dict[Path, bytes]:
    """Damages every file of the versions and encoders in place; returns what they held."""
    files = [path for top in ("versions", "encoders") for path in (artifacts / top).rglob("*") if path.is_file()]
    whole = {path: path.read_bytes() for path in files}
    for path in files:
        how(path)
    return whole


async def ask_item(channel: Any) -> list[Any]:
    items = [item_pb2.Item(title="خاتم ذهب", product_id=one) for one in ALL[:1024]]
    stub = item_pb2_grpc.ItemServiceStub(channel)
    answer = await call(stub.Encode, item_pb2.EncodeRequest(items=items), 30, "item service")
    return [wire.unpack(answer.vectors).tolist()]


async def ask_buyer(channel: Any) -> list[Any]:
    histories = [
        buyer_pb2.History(interactions=[buyer_pb2.Interaction(product_id=one, event_type="View", timestamp_ms=1)])
        for one in ALL[-1024:]
    ]
    stub = buyer_pb2_grpc.BuyerServiceStub(channel)
    answer = await call(stub.Encode, buyer_pb2.EncodeRequest(histories=histories), 30, "buyer service")
    return [wire.unpack(answer.vectors).tolist()]


async def ask_retrieval(channel: Any) -> list[Any]:
    stub = retrieval_pb2_grpc.RetrievalServiceStub(channel)
    stored = await call(stub.Vectors, retrieval_pb2.VectorsRequest(product_ids=ALL[-1024:]), 30, "retrieval service")
    vectors = wire.unpack(stored.vectors)
    queries = [retrieval_pb2.Query(k=1000)] * 2
    request = retrieval_pb2.SearchRequest(
        vectors=wire.pack(vectors[[7, -1]], stored.vectors.model_version), queries=queries
    )
    found = await call(stub.Search, request, 30, "retrieval service")
    products = await call(stub.Lookup, retrieval_pb2.LookupRequest(product_ids=ALL), 30, "retrieval service")
    hits = [(list(one.product_ids), one.scores) for one in found.hits]
    return [vectors.tolist(), hits, [one.title for one in products.products]]


ASK: dict[str, Ask] = {"item": ask_item, "buyer": ask_buyer, "retrieval": ask_retrieval}


@asynccontextmanager
async def started(service: str, artifacts: Path, cache: str) -> AsyncIterator[tuple[Process, Any]]:
    """A service's process that serves, and a channel to it."""
    environ = {"TWOTOWER_ARTIFACTS": str(artifacts), "TWOTOWER_CACHE": cache}
    with process("-m", f"{service}_service", environ=environ) as running:
        line = await asyncio.to_thread(running.wait_for, lambda line: is_log(line, "listening"))
        address = f"127.0.0.1:{json.loads(line)['port']}"
        await serving(address)
        async with connect(address) as channel:
            yield running, channel


@pytest.mark.parametrize("service", ["item", "buyer", "retrieval"])
async def test_files_that_are_truncated_or_zeroed_in_place_change_no_answer(artifacts: Path, service: str) -> None:
    build_version(artifacts, "b", products=PRODUCTS)
    async with started(service, artifacts, str(cache_of(artifacts))) as (running, channel):
        wanted = await ASK[service](channel)
        for how in (zero, truncate):
            whole = damage(artifacts, how)
            assert await ASK[service](channel) == wanted
            for path, content in whole.items():
                path.write_bytes(content)
        assert running.popen.poll() is None


async def test_with_an_empty_setting_the_files_are_mapped_in_place(artifacts: Path) -> None:
    """Today's way, for those whose folder nobody changes in place: a truncated file ends the process."""
    build_version(artifacts, "b", products=PRODUCTS)
    async with started("buyer", artifacts, "") as (running, channel):
        await ask_buyer(channel)
        truncate(open_version(Layout(artifacts), "b").layout.embeddings)
        with pytest.raises(Unavailable):
            await ask_buyer(channel)
        assert await asyncio.to_thread(running.popen.wait, 30) == -signal.SIGBUS
    assert not cache_of(artifacts).exists()


async def test_a_repaired_version_is_loaded_without_a_restart(artifacts: Path) -> None:
    """The folder is damaged before the start and repaired while the service waits: nothing was served before."""
    whole = damage(artifacts, zero)
    environ = {"TWOTOWER_ARTIFACTS": str(artifacts), "TWOTOWER_CACHE": str(cache_of(artifacts))}
    with process("-m", "retrieval_service", environ=environ) as running:
        line = await asyncio.to_thread(running.wait_for, lambda line: "version refused" in line)
        assert json.loads(line)["level"] == "ERROR"
        for path, content in whole.items():
            path.write_bytes(content)
        await asyncio.to_thread(running.wait_for, lambda line: is_log(line, "versions held"))


async def test_replicas_of_a_host_share_one_copy_and_the_last_one_leaves_it(artifacts: Path) -> None:
    cache = cache_of(artifacts)
    async with started("buyer", artifacts, str(cache)), started("retrieval", artifacts, str(cache)):
        (copy,) = cache.glob("version-*[!k]")
        inode = (copy / "product_embeddings.npy").stat().st_ino
        async with started("retrieval", artifacts, str(cache)):
            assert (copy / "product_embeddings.npy").stat().st_ino == inode
        # nobody has a use for these: neither the buyers' interactions nor the trainer's weights leave their folder
        assert not {"recent_interactions.jsonl.gz", "model.safetensors"} & {path.name for path in copy.iterdir()}


async def test_a_service_without_a_place_for_copies_says_so_and_ends(artifacts: Path) -> None:
    environ = {"TWOTOWER_ARTIFACTS": str(artifacts), "TWOTOWER_CACHE": "/proc/none"}
    with process("-m", "buyer_service", environ=environ) as running:
        assert await asyncio.to_thread(running.finish) == 2
    assert running.lines[-1].startswith("buyer_service: TWOTOWER_CACHE=/proc/none: No such file or directory; ")


def test_the_tiny_files_are_larger_than_a_page(tmp_path: Path) -> None:
    version = build_version(tmp_path, "b", products=PRODUCTS)
    assert np.load(version.layout.embeddings).nbytes > 4096
