"""What an extra brings is imported where it is used: nothing else needs it."""

from __future__ import annotations

import subprocess
import sys

import pytest

EXTRAS = ("ray", "pymilvus", "aiokafka", "boto3")


@pytest.mark.parametrize(
    "modules",
    [
        "trainer.commands.run, trainer.stages.prepare, trainer.stages.train, trainer.stages.embed, "
        "trainer.stages.evaluate, trainer.stages.index, trainer.stages.publish, trainer.stages.refresh, "
        "trainer.stages.recommend",
        "gateway.app, gateway.warm",
        "recorder.__main__, recorder.kafka_source",
        "retrieval_service.__main__, retrieval_service.servicer, retrieval_service.loading",
    ],
)
def test_what_is_not_an_extra_runs_without_them(modules: str) -> None:
    # the recorder writes Parquet with it, for the others it comes with `ray`
    missing = EXTRAS if "recorder" in modules else (*EXTRAS, "pyarrow")
    # an import of a module that is None fails as if it were not installed
    code = f"import sys; sys.modules.update(dict.fromkeys({missing})); import {modules}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
