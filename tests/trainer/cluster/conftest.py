"""A Ray cluster of two workers on this machine, started once for the tests of a folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import ray


@pytest.fixture(scope="package")
def ray_cluster() -> Iterator[None]:
    # Ray gives its processes a low priority: beside other tests they would wait for long
    options = {"worker_niceness": 0}
    ray.init(
        "local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=128 << 20,
        _system_config=options,
    )
    yield
    ray.shutdown()
