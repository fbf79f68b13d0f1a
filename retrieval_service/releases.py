"""ReleaseService over gRPC: the versions on disk with figures, report and map, and their publication."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np

from retrieval_service.loading import check_shard
from retrieval_service.settings import RetrievalSettings
from twotower.arrays import Float32
from twotower.artifact.catalogue import Catalogue
from twotower.artifact.layout import Layout
from twotower.artifact.pointer import read_pointer
from twotower.artifact.retention import list_versions
from twotower.artifact.version import Version, check_size, open_version, verify
from twotower.errors import Conflict, CorruptArtifact, InvalidInput, NotConfigured, NotFound, Unavailable
from twotower.pb import releases_pb2
from twotower.search.milvus_release import publish_version
from twotower.serving.rpc_method import RpcMethod
from twotower.sharding import Shard

_SECTIONS = ("test", "intervals", "differences", "data", "gate", "protocol")
_MAX_POINTS = 2000


class ReleaseServicer:
    """Answers the calls of protos/releases.proto, each in a thread: they read files."""

    def __init__(self, settings: RetrievalSettings) -> None:
        self._layout, self._may_publish = Layout(settings.artifacts), settings.may_publish
        self._milvus, self._shard = settings.milvus_address, settings.shard
        # what gRPC calls, by the names in protos/releases.proto
        self.List = RpcMethod("List", self.list).unary
        self.Report = RpcMethod("Report", self.report).unary
        self.Map = RpcMethod("Map", self.map).unary
        self.Publish = RpcMethod("Publish", self.publish).unary

    async def list(self, request: releases_pb2.ListRequest) -> releases_pb2.ListResponse:
        found = await asyncio.to_thread(_releases, self._layout, self._shard)
        return releases_pb2.ListResponse(releases=found, may_publish=self._may_publish)

    async def report(self, request: releases_pb2.ReportRequest) -> releases_pb2.ReportResponse:
        version = open_version(self._layout, request.version)
        if version.layout.report.name not in version.manifest.files:
            raise NotFound(f"version {version.name} has no report", field="version")
        return releases_pb2.ReportResponse(html=await asyncio.to_thread(_checked, version, "report.html"))

    async def map(self, request: releases_pb2.MapRequest) -> releases_pb2.MapResponse:
        if not 1 <= request.products <= _MAX_POINTS:
            raise InvalidInput("products", request.products, f"must be 1 to {_MAX_POINTS}")
        return await asyncio.to_thread(_map, self._layout, request.products)

    async def publish(self, request: releases_pb2.PublishRequest) -> releases_pb2.PublishResponse:
        if not self._may_publish:
            raise NotConfigured(
                "this retrieval service may not publish: set TWOTOWER_RETRIEVAL_MAY_PUBLISH=true where it may write "
                f"to the artifacts, or run: python -m trainer publish {request.version}"
            )
        try:
            await asyncio.to_thread(self._publish, request.version, request.check_only)
        except CorruptArtifact as error:
            raise Conflict(str(error)) from None
        return releases_pb2.PublishResponse(version=request.version)

    def _publish(self, name: str, check_only: bool) -> None:
        """Raises CorruptArtifact for a version that this service cannot load, Conflict for one that the gate kept."""
        version = open_version(self._layout, name)
        if version.manifest.gate == "refused":
            reasons = "; ".join(note for note in version.manifest.notes if note.startswith("gate: "))
            raise Conflict(f"{name} was kept back ({reasons}); only `trainer publish --force` publishes it")
        check_shard(version, self._shard)
        if check_only:
            verify(version)
        else:
            publish_version(self._layout, name, self._milvus)


def _releases(layout: Layout, shard: Shard) -> list[releases_pb2.Release]:
    pointers = {
        pointer.version: path.name for path in (layout.previous, layout.current) if (pointer := read_pointer(path))
    }
    return [_release(layout, shard, name, pointers.get(name, "")) for name in reversed(list_versions(layout))]


def _release(layout: Layout, shard: Shard, name: str, pointer: str) -> releases_pb2.Release:
    try:
        version = open_version(layout, name)
    except CorruptArtifact as error:
        return releases_pb2.Release(version=name, pointer=pointer, problem=str(error))
    metrics, problem = dict[str, Any](), ""
    try:
        metrics = json.loads(_checked(version, "metrics.json"))
        check_shard(version, shard)
        for file, entry in version.manifest.files.items():
            check_size(version.layout.root / file, entry)
    except CorruptArtifact as error:
        problem = str(error)
    manifest = version.manifest
    return releases_pb2.Release(
        version=name,
        created_at=manifest.created_at,
        pointer=pointer,
        gate=manifest.gate,
        notes=manifest.notes,
        products=manifest.products,
        buyers=manifest.buyers,
        events=manifest.events,
        encoder=manifest.encoder,
        metrics_json=json.dumps({one: metrics[one] for one in _SECTIONS if one in metrics}, ensure_ascii=False),
        problem=problem,
        has_report=version.layout.report.name in manifest.files,
    )


def _checked(version: Version, name: str) -> bytes:
    """The content of a file of the version. Raises CorruptArtifact if the manifest says otherwise."""
    path = version.layout.root / name
    version.check(path)
    return path.read_bytes()


def _map(layout: Layout, size: int) -> releases_pb2.MapResponse:
    """The most popular products on the first two principal components of their vectors."""
    pointer = read_pointer(layout.current)
    if pointer is None:
        raise Unavailable("no version is published")
    files = open_version(layout, pointer.version).layout
    ids: list[str] = np.load(files.ids).tolist()
    products = [one for one in Catalogue(files.products).lookup(ids) if one is not None]
    products = sorted(products, key=lambda one: -one.popularity)[:size]
    vectors = np.load(files.embeddings, mmap_mode="r")[[one.row for one in products]]  # [P, D]
    plane, variance = project(vectors)
    points = [
        releases_pb2.Point(product_id=one.id, title=one.title, category=one.category, x=x, y=y)
        for one, (x, y) in zip(products, plane.tolist(), strict=True)
    ]
    return releases_pb2.MapResponse(points=points, model_version=pointer.version, variance=variance)


def project(vectors: Float32) -> tuple[Float32, float]:
    """The vectors [P, D] on their first two principal components, scaled to -1..1, and the share of variance kept."""
    centred = vectors - vectors.mean(axis=0)
    values, axes = np.linalg.eigh(centred.T @ centred)
    plane = centred @ axes[:, -2:][:, ::-1]  # [P, 2], the larger first
    largest, total = float(np.abs(plane).max()), float(values.sum())
    if not largest:
        return np.zeros((len(vectors), 2), dtype=np.float32), 1.0
    return (plane / largest).astype(np.float32), float(values[-2:].sum()) / total
