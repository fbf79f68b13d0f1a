"""The publish gate on the command line."""

from __future__ import annotations

import importlib.util
import json
import random
import sys
from pathlib import Path

import pytest

from tests.helpers.small_shop import (
    DAY,
    EVENT_COLUMNS,
    NOON,
    PRODUCT_COLUMNS,
    ROOT,
    Shop,
    copy_artifacts,
    current,
    product_rows,
    run_arguments,
    small_run,
    write_csv,
)
from trainer.__main__ import main
from twotower.artifact.layout import Layout
from twotower.artifact.retention import list_versions
from twotower.artifact.version import Version, open_version

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def version() -> Version:
    return current(small_run()[1])


def test_the_verdict_is_in_the_version_and_not_in_the_files_of_evaluate(version: Version) -> None:
    (run,) = (small_run()[1] / "work" / "runs").iterdir()
    measured, published = (
        json.loads(path.read_text()) for path in (run / "version" / "metrics.json", version.layout.metrics)
    )
    # searches are counted where the index of words is written, and so is what is bought together
    added = {"gate", "searches", "together"}
    assert not added & measured.keys()
    assert published == measured | {name: published[name] for name in added}


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
    # the terms alone would be good
    "neighbours.weights=[]",
    "prior.weights=[]",
]


def test_a_bad_model_is_kept_back_and_published_only_by_force(tmp_path: Path, capsys: Capture) -> None:
    artifacts = tmp_path / "artifacts"
    assert main(run_arguments(hidden_groups(tmp_path / "early", False), artifacts, settings=GOOD)) == 0
    good = current(artifacts)
    assert good.manifest.newest_event_ms == max(
        int(row.split(",")[3]) * 1000 for row in (tmp_path / "early" / "events.csv").read_text().splitlines()[1:]
    )
    shop = hidden_groups(tmp_path / "late", True)
    capsys.readouterr()

    # 1. kept as a version, not named in CURRENT
    assert main(run_arguments(shop, artifacts, settings=BAD)) == 3
    said = capsys.readouterr().out
    assert current(artifacts).name == good.name
    (bad,) = set(list_versions(Layout(artifacts))) - {good.name}
    force = f"python -m trainer publish {bad} --force --artifacts {artifacts}"
    assert said.splitlines()[-1] == force
    manifest = open_version(Layout(artifacts), bad).manifest
    assert manifest.gate == "refused"
    notes = [note for note in manifest.notes if note.startswith("gate: ndcg@10 ")]
    assert any("of item_knn" in note for note in notes[:-1]) and f"of the served version {good.name}" in notes[-1]
    gate = json.loads((artifacts / "versions" / bad / "metrics.json").read_text())["gate"]
    assert gate["verdict"] == "refused" and gate["metric"] == "ndcg@10"
    assert [f"gate: {reason}" for reason in gate["reasons"]] == notes
    # every buyer's sixth product is newer than anything the good model was trained on
    assert gate["served"]["version"] == good.name and gate["served"]["compared_cases"] == 160
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
    output = capsys.readouterr()
    assert output.err.startswith(f"error: {bad} was kept back (gate: ndcg@10 ") and output.out.splitlines()[-1] == force
    assert current(artifacts).name == good.name

    assert main(["publish", "--force", *shop.arguments, "--artifacts", str(artifacts)]) == 2
    assert "publish --force needs a VERSION" in capsys.readouterr().err

    # 4. where nothing is served it is published, with the warning
    fresh = copy_artifacts(artifacts, tmp_path / "fresh")
    (fresh / "CURRENT").unlink()
    assert main(run_arguments(shop, fresh, command="publish", settings=BAD)) == 0
    assert "warning: ndcg@10" in capsys.readouterr().out
    manifest = current(fresh).manifest
    # few pairs, item-kNN and transitions; no served version
    assert manifest.gate == "warned" and len(manifest.notes) == 3

    # 5. with the gate off it is published; by force the kept one is named as it is
    without = copy_artifacts(artifacts, tmp_path / "without")
    assert main(run_arguments(shop, without, command="publish", settings=[*BAD, "publish.gate=false"])) == 0
    assert current(without).manifest.gate == "off"
    assert main(["publish", bad, "--force", "--artifacts", str(artifacts)]) == 0
    assert current(artifacts).name == bad


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
