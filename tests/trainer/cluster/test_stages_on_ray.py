"""The stages on a Ray cluster write what they write on one machine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.small_shop import EVENT_COLUMNS, current, event_rows, run_arguments, small_run, write_csv
from trainer.__main__ import main
from trainer.data import gram
from trainer.stages import recommend

pytestmark = pytest.mark.usefixtures("ray_cluster")


# without what each worker draws for itself; one training of the softmax, because workers take many seconds to start
SETTINGS = (
    "model.heads=2",
    "model.vector_dropout=0",
    "training.alignment_products=1000",
    "training.precision=float32",
    "training.start=blend",
    "training.refit=false",
)


def test_a_run_with_two_workers_is_a_run_without_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, artifacts = small_run(*SETTINGS)
    monkeypatch.setattr(gram, "SHARD", 200)  # the linear model, too, is on the cluster
    arguments = run_arguments(shop, tmp_path / "artifacts", settings=[*SETTINGS, "ray_workers=2"])
    assert main([*arguments, "--ray", "local"]) == 0
    one, two = current(artifacts), current(tmp_path / "artifacts")
    first, second = (version.manifest.files | version.manifest.private_files for version in (one, two))
    for name in ("text_embeddings.npy", "products.sqlite", "vocab.json", "recent_interactions.jsonl.gz", "rejects.csv"):
        assert first[name].sha256 == second[name].sha256, name
    here, there = (json.loads(version.layout.metrics.read_text("utf-8")) for version in (one, two))
    assert here["test"] == there["test"]
    training, other = here["training"], there["training"]
    # linear model, softmax, their blend and all baselines
    assert training["candidates"] == other["candidates"]
    assert training["vectors_alone"] == other["vectors_alone"]
    losses = [[record["loss"] for record in facts["curve"]] for facts in (training, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    np.testing.assert_allclose(np.load(one.layout.embeddings), np.load(two.layout.embeddings), atol=1e-5)


def test_the_lists_of_all_buyers_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # more parts than workers, and a last one that is shorter
    monkeypatch.setattr(recommend, "_CHUNK", 7)
    _, artifacts = small_run(*SETTINGS)
    history = write_csv(tmp_path / "history.csv", EVENT_COLUMNS, event_rows(buyers=30, events=300, seed=9))
    command = ["recommend", "--artifacts", str(artifacts), "--events", str(history), "--k", "7", "--diversity", "0.3"]
    here, there = tmp_path / "here.csv", tmp_path / "there.csv"
    assert main([*command, "--out", str(here), "--threads", "1"]) == 0
    assert main([*command, "--out", str(there), "--ray", "auto"]) == 0
    assert here.read_bytes() == there.read_bytes()
    assert len(here.read_text(encoding="utf-8").splitlines()) == 1 + 30 * 7
