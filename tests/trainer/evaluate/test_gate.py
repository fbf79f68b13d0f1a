"""The publish gate: decided by hand-made numbers, and as a shop meets it on the command line."""

from __future__ import annotations

import importlib.util
import json
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.small_shop import (
    DAY,
    EVENT_COLUMNS,
    NOON,
    PRODUCT_COLUMNS,
    ROOT,
    Shop,
    copy_artifacts,
    product_rows,
    run_arguments,
    write_csv,
)
from tests.helpers.tiny_version import build_version
from trainer.__main__ import main
from trainer.data.events import Events
from trainer.data.split import Cases
from trainer.evaluate.gate import judge
from trainer.evaluate.ranking import case_metrics, rank_targets
from trainer.evaluate.served import Served, compare_with_served, find_served, known_history, known_to, newer_cases
from twotower.artifact.layout import Layout
from twotower.artifact.pointer import read_pointer
from twotower.artifact.retention import list_versions
from twotower.artifact.version import Version, open_version
from twotower.events import DAY_MS

Capture = pytest.CaptureFixture[str]


CASES = 400


def spread(mean: float) -> Any:
    """A metric of 400 cases around `mean`, the same ups and downs each time."""
    return mean + np.random.default_rng(0).normal(0, 0.01, CASES)


def noisy(mean: float) -> Any:
    return mean + np.random.default_rng(1).normal(0, 1, CASES)


def beside(difference: float, low: float, high: float, served: float = 0.2) -> dict[str, Any]:
    own = {"version": "old", "compared_on": CASES, "model": served + difference, "served": served}
    return own | {"difference": difference, "low": low, "high": high}


@pytest.mark.parametrize(
    ("rivals", "served", "verdict", "said"),
    [
        ({"popularity": spread(0.1), "item_knn": spread(0.2)}, None, "passed", []),
        # clearly worse than a baseline
        ({"popularity": spread(0.1), "item_knn": spread(0.4)}, None, "warned", ["of item_knn, difference -0.1000"]),
        ({"popularity": spread(0.5)}, {"version": "old", "compared_on": 0}, "refused", ["of popularity"]),
        # worse, but within what chance does
        ({"item_knn": noisy(0.31)}, None, "passed", []),
        # EASE keeps nothing back
        ({"ease": spread(0.9)}, None, "passed", []),
        # the served version: a clear drop above and below the allowed share, and an unclear one
        ({}, beside(-0.02, -0.03, -0.01), "refused", ["of the served version old: a drop of 10.0%"]),
        ({}, beside(-0.009, -0.01, -0.008), "passed", []),
        ({}, beside(-0.05, -0.11, 0.01), "passed", []),
        ({}, beside(0.05, 0.01, 0.09), "passed", []),
        ({"item_knn": spread(0.4)}, beside(-0.02, -0.03, -0.01), "refused", ["of item_knn", "of the served version"]),
    ],
)
def test_verdicts(rivals: dict[str, Any], served: dict[str, Any] | None, verdict: str, said: list[str]) -> None:
    found = judge({"model": spread(0.3), **rivals}, "ndcg@10", served, 0.05, 300, 7)
    assert found.verdict == verdict and len(found.reasons) == len(said)
    for reason, part in zip(found.reasons, said, strict=True):
        assert part in reason and reason.startswith("ndcg@10 ")
    assert found.served == served


def test_no_test_case_refuses_nothing() -> None:
    assert judge({"model": np.empty(0), "popularity": np.empty(0)}, "ndcg@10", None, 0.05, 100, 7).verdict == "passed"


EVENTS = Events(
    np.array([0, 0, 0, 1, 1, 2, 2], np.int32), np.array([0, 1, 2, 3, 4, 5, 0], np.int32),
    np.array([1, 3, 1, 1, 1, 1, 1], np.int8), np.array([1, 2, 9, 1, 4, 8, 9]) * DAY_MS, np.array([0, 3, 5, 7]),
)  # fmt: skip


LAST = Cases(np.arange(3), np.array([0, 3, 5]), np.array([2, 4, 6]), np.array([3, 5, 7]))


IDS = ["p3", "p1", "new", "p0", "p2", "unheard"]


NAMES = ["View", "AddToCart", "Purchase"]


@pytest.fixture
def old(tmp_path: Path) -> Version:
    """A version whose newest event is of day 5."""
    version = build_version(tmp_path, "old")
    return Version(version.manifest.model_copy(update={"newest_event_ms": 5 * DAY_MS}), version.layout, version.encoder)


def test_only_cases_that_the_served_version_has_not_seen_are_compared(old: Version) -> None:
    # the targets are of days 9, 4 and 9; buyer 2's history is one product that the version does not have
    assert newer_cases(EVENTS, LAST, 5 * DAY_MS).tolist() == [True, False, True]
    known = known_to(old, IDS, NAMES)
    assert known.rows.tolist() == [3, 1, -1, 0, 2, -1]
    assert known.kinds.tolist() == [0, 1, 2, 3]
    assert known_history(EVENTS, LAST, known).tolist() == [True, True, False]


def test_the_served_version_is_scored_through_its_own_files(old: Version) -> None:
    found: dict[str, Any] = {}

    def measure(scorer: Any, cases: Cases) -> tuple[Any, Any]:
        found["scores"] = scorer(cases)
        ranks = rank_targets(scorer, EVENTS, cases, np.arange(6).astype(np.uint64), True, lists=False)
        return np.unique(ranks.case), case_metrics(ranks)["recall@10"]

    def compare(least: int, served: Served) -> dict[str, Any]:
        return compare_with_served(
            served, EVENTS, LAST, IDS, NAMES, np.array([1.0, 0.0, 0.0]), measure,
            least=least, draws=100, seed=7, threads=1, ours={"ndcg@10": 0.5}, metric="ndcg@10",
        )  # fmt: skip

    facts = compare(1, Served("old", old, ""))
    # the first buyer alone; the product that the version lacks is among the six all the same
    assert facts["compared_on"] == 1 and facts["model"] == 1.0 and facts["served"] == 1.0
    assert found["scores"].shape == (1, 6)
    assert np.isneginf(found["scores"][0, [2, 5]]).all() and np.isfinite(found["scores"][0, [0, 1, 3, 4]]).all()
    few = compare(2, Served("old", old, ""))
    assert few["compared_on"] == 0 and "only 1 test cases are newer" in few["how"]
    assert few["recorded_model"] == 0.5
    assert "no such file" in compare(1, Served("old", None, "no such file"))["how"]
    unknown = Version(old.manifest.model_copy(update={"newest_event_ms": None}), old.layout, old.encoder)
    assert "does not say how new" in compare(1, Served("old", unknown, ""))["how"]


def test_what_is_served_may_be_nothing_or_damaged(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    assert find_served(layout) is None
    build_version(tmp_path, "old")
    found = find_served(layout)
    assert found is not None and found.name == "old" and found.version is not None
    layout.version("old").embeddings.write_bytes(b"x")
    found = find_served(layout)
    assert found is not None and found.version is None and "product_embeddings.npy has 1 bytes" in found.problem
    layout.current.write_text("rubbish")
    assert find_served(layout) is None


def hidden_groups(folder: Path, extra: bool) -> Shop:
    """A shop in which ten groups of six products go together, and no text says so: buyers take five of one.

    With `extra` each takes the sixth as well, weeks later.
    """
    draw = random.Random(5)
    names = [f"p{row}" for row in range(60)]
    draw.shuffle(names)
    rows = []
    for buyer in range(160):
        group = names[buyer % 10 * 6 :][:6]
        draw.shuffle(group)
        for place, product in enumerate(group[: 6 if extra else 5]):
            moment = NOON - 90 * DAY + buyer * 1000 + place * DAY + (40 * DAY if place == 5 else 0)
            rows.append([f"b{buyer}", product, "Purchase", str(moment)])
    folder.mkdir()
    events = write_csv(folder / "events.csv", EVENT_COLUMNS, rows)
    return Shop(events, write_csv(folder / "products.csv", PRODUCT_COLUMNS, product_rows()))


GOOD = [
    "training.start=softmax",
    "publish.gate=true",
    "training.max_epochs=6",
    "training.learning_rate=0.02",
    "training.patience=6",
]


BAD = [
    "training.start=softmax",
    "publish.gate=true",
    "training.max_epochs=1",
    "training.learning_rate=1e-7",
    "training.warmup_steps=0",
]


def pointed(artifacts: Path) -> Version:
    layout = Layout(artifacts)
    pointer = read_pointer(layout.current)
    assert pointer is not None
    return open_version(layout, pointer.version)


def test_a_bad_model_is_kept_back_and_published_only_by_force(tmp_path: Path, capsys: Capture) -> None:
    artifacts = tmp_path / "artifacts"
    assert main(run_arguments(hidden_groups(tmp_path / "early", False), artifacts, settings=GOOD)) == 0
    good = pointed(artifacts)
    assert good.manifest.newest_event_ms == max(
        int(row.split(",")[3]) * 1000 for row in (tmp_path / "early" / "events.csv").read_text().splitlines()[1:]
    )
    shop = hidden_groups(tmp_path / "late", True)
    capsys.readouterr()

    # 1. kept as a version, not named in CURRENT
    assert main(run_arguments(shop, artifacts, settings=BAD)) == 3
    said = capsys.readouterr().out
    assert pointed(artifacts).name == good.name
    (bad,) = set(list_versions(Layout(artifacts))) - {good.name}
    force = f"python -m trainer publish {bad} --force --artifacts {artifacts}"
    assert said.splitlines()[-1] == force
    manifest = open_version(Layout(artifacts), bad).manifest
    assert manifest.gate == "refused"
    notes = [note for note in manifest.notes if note.startswith("gate: ndcg@10 ")]
    assert len(notes) == 2 and "of item_knn" in notes[0] and f"of the served version {good.name}" in notes[1]
    gate = json.loads((artifacts / "versions" / bad / "metrics.json").read_text())["gate"]
    assert gate["verdict"] == "refused" and gate["metric"] == "ndcg@10"
    assert [f"gate: {reason}" for reason in gate["reasons"]] == notes
    # every buyer's sixth product is newer than anything the good model was trained on
    assert gate["served"]["version"] == good.name and gate["served"]["compared_on"] == 160
    assert gate["served"]["high"] < 0

    # 2. asked again: nothing is trained, and the answer stays
    assert main(run_arguments(shop, artifacts, settings=BAD)) == 3
    said = capsys.readouterr().out
    assert said.startswith(f"up to date: {bad}") and said.splitlines()[-1] == force
    assert len(list_versions(Layout(artifacts))) == 2

    # 3. publish by name is refused without --force
    assert main(["publish", "--list", "--artifacts", str(artifacts)]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{good.name} CURRENT", f"{bad} kept back by the gate"]
    assert main(["publish", bad, "--artifacts", str(artifacts)]) == 3
    told = capsys.readouterr()
    assert told.err.startswith(f"error: {bad} was kept back (gate: ndcg@10 ") and told.out.splitlines()[-1] == force
    assert pointed(artifacts).name == good.name

    assert main(["publish", "--force", *shop.arguments, "--artifacts", str(artifacts)]) == 2
    assert "publish --force needs a VERSION" in capsys.readouterr().err

    # 4. where nothing is served it is published, with the warning
    fresh = copy_artifacts(artifacts, tmp_path / "fresh")
    (fresh / "CURRENT").unlink()
    assert main(run_arguments(shop, fresh, command="publish", settings=BAD)) == 0
    assert "warning: ndcg@10" in capsys.readouterr().out
    assert pointed(fresh).manifest.gate == "warned" and len(pointed(fresh).manifest.notes) == 2

    # 5. with the gate off it is published; by force the kept one is named as it is
    without = copy_artifacts(artifacts, tmp_path / "without")
    assert main(run_arguments(shop, without, command="publish", settings=[*BAD, "publish.gate=false"])) == 0
    assert pointed(without).manifest.gate == "off"
    assert main(["publish", bad, "--force", "--artifacts", str(artifacts)]) == 0
    assert pointed(artifacts).name == bad


def test_a_demo_goes_on_with_what_is_served_where_the_new_model_is_kept_back(tmp_path: Path) -> None:
    import demo.__main__ as demo

    kept_back = [sys.executable, "-c", "import sys; sys.exit(3)"]
    assert demo._run("training", kept_back, accepted=(0, 3)) == 3
    with pytest.raises(demo.StepFailed, match="training failed with exit code 3"):
        demo._run("training", kept_back)


def test_a_container_that_nobody_asked_for_anything_does_not_hold_up_the_services() -> None:
    spec = importlib.util.spec_from_file_location("container", ROOT / "docker" / "train.py")
    assert spec is not None and spec.loader is not None
    container = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(container)
    assert [container.exit_code(code, requested=False) for code in (0, 1, 2, 3)] == [0, 1, 2, 0]
    assert [container.exit_code(code, requested=True) for code in (0, 1, 2, 3)] == [0, 1, 2, 3]
