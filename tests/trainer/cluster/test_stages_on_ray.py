"""The stages on a Ray cluster write what they write on one machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.helpers.small_shop import (
    EVENT_COLUMNS,
    assert_same_model,
    current,
    event_rows,
    run_arguments,
    small_run,
    write_csv,
)
from trainer.__main__ import main
from trainer.stages import recommend

pytestmark = pytest.mark.usefixtures("ray_cluster")


def test_a_run_gives_the_same_model(tmp_path: Path) -> None:
    shop, artifacts = small_run()
    assert main([*run_arguments(shop, tmp_path / "artifacts"), "--ray", "auto"]) == 0
    one, two = current(artifacts), current(tmp_path / "artifacts")
    assert_same_model(one, two)
    np.testing.assert_allclose(np.load(one.layout.embeddings), np.load(two.layout.embeddings), atol=1e-5)


def test_the_lists_of_all_buyers_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # more parts than workers, and a last one that is shorter
    monkeypatch.setattr(recommend, "_CHUNK", 7)
    _, artifacts = small_run()
    history = write_csv(tmp_path / "history.csv", EVENT_COLUMNS, event_rows(buyers=30, events=300, seed=9))
    command = ["recommend", "--artifacts", str(artifacts), "--events", str(history), "--k", "7", "--diversity", "0.3"]
    here, there = tmp_path / "here.csv", tmp_path / "there.csv"
    assert main([*command, "--out", str(here), "--threads", "1"]) == 0
    assert main([*command, "--out", str(there), "--ray", "auto"]) == 0
    assert here.read_bytes() == there.read_bytes()
    assert len(here.read_text(encoding="utf-8").splitlines()) == 1 + 30 * 7
