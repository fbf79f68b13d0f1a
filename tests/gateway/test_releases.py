"""GET /versions, /map, the report and the publication, through the services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from retrieval_service.releases import project
from tests.helpers.redis_server import RedisServer
from tests.helpers.stack import stack
from tests.helpers.tiny_version import build_version
from twotower.artifact.layout import Layout
from twotower.artifact.pointer import read_pointer


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


async def test_versions_report_and_map(artifacts: Path, redis: RedisServer) -> None:
    build_version(artifacts, "b", seed=1, created_at="2026-02-01T00:00:00+00:00")
    build_version(artifacts, "c", created_at="2026-03-01T00:00:00+00:00", publish=False)
    (artifacts / "versions" / "c" / "metrics.json").write_text("{}")
    async with stack(artifacts, redis) as system:
        answer = await system.answer("/versions")
        assert [(one["version"], one["pointer"]) for one in answer["versions"]] == [
            ("c", None),
            ("b", "CURRENT"),
            ("a", "PREVIOUS"),
        ]
        assert "metrics.json" in answer["versions"][0]["problem"]
        assert (answer["versions"][1]["products"], answer["versions"][1]["problem"]) == (40, None)
        plane = await system.answer("/map")
        assert len(plane["points"]) == 40 and plane["model_version"] == "b"
        assert max(abs(one[axis]) for one in plane["points"] for axis in "xy") == pytest.approx(1)
        assert (await system.get("/versions/none-such/report")).status_code == 404
        assert not answer["versions"][1]["has_report"]
        assert "has no report" in (await system.get("/versions/b/report")).json()["detail"]
        refused = await system.post("/versions/a/publish", None)
        assert refused.status_code == 501 and "MAY_PUBLISH" in refused.json()["detail"]
        current = read_pointer(Layout(artifacts).current)
        assert current is not None and current.version == "b"


def test_the_plane_shows_the_two_widest_directions() -> None:
    # a cross: 3 wide along the second axis, 1 along the third, nothing along the first; centred already
    vectors = np.array([[5, 3, 0], [5, -3, 0], [5, 0, 1], [5, 0, -1]], dtype=np.float32)
    plane, variance = project(vectors)
    assert variance == pytest.approx(1)
    assert np.abs(plane).tolist() == [[1, 0], [1, 0], [0, pytest.approx(1 / 3)], [0, pytest.approx(1 / 3)]]
