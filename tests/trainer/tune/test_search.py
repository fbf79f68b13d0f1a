"""The command `tune` on a small shop: it looks at no test event, repeats itself, goes on, and writes what gains."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import optuna
import pytest

from tests.helpers.small_shop import (
    EVENT_COLUMNS,
    OFFLINE,
    SMALL,
    Shop,
    copy_artifacts,
    event_rows,
    run_arguments,
    small_run,
    write_csv,
)
from tests.trainer.tune.test_deadline import Clock
from trainer.__main__ import main
from trainer.config.loading import load_config
from trainer.errors import DataError
from trainer.fit.softmax import training
from trainer.fit.softmax.training_state import TrainingState
from trainer.stages.prepare import prepare
from trainer.tune import search
from trainer.tune.deadline import Deadline
from trainer.tune.search import Search
from trainer.tune.trials import open_journal
from twotower.artifact.layout import Layout

Capture = pytest.CaptureFixture[str]
# nobody waits for it: the number of trials is the budget
HOURS = ["--minutes", "600"]


def tune(shop: Shop, artifacts: Path, out: Path, *settings: str, trials: int = 3) -> int:
    extra = [*HOURS, "--trials", str(trials), "--out", str(out)]
    return main(run_arguments(shop, artifacts, *extra, command="tune", settings=settings))


def journal(artifacts: Path) -> Path:
    """The journal that was written last."""
    return max((artifacts / "work" / "tune").glob("*/journal.log"), key=lambda path: path.stat().st_mtime_ns)


def trials_of(artifacts: Path) -> dict[str, list[Any]]:
    """State, values, figure and epochs of each stage's trials that ended."""
    storage = open_journal(journal(artifacts))
    return {
        name: [
            (one.state, one.params, one.value, one.intermediate_values)
            for one in optuna.load_study(study_name=name, storage=storage).trials
            if one.state.is_finished() and one.state != optuna.trial.TrialState.FAIL
        ]
        for name in optuna.get_all_study_names(storage)
    }


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The artifacts of a search of three trials a stage, and its file: read them, never write."""
    folder = tmp_path_factory.mktemp("tuned")
    shop, made = small_run()
    artifacts = copy_artifacts(made, folder / "artifacts")
    assert tune(shop, artifacts, folder / "tuned.yaml") == 0
    return artifacts, folder / "tuned.yaml"


def with_other_tests(shop: Shop, path: Path) -> Shop:
    """The shop with another product and kind in each buyer's last event."""
    with shop.events.open(encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    last = {row[0]: place for place, row in enumerate(rows)}
    for place in last.values():
        buyer, product, kind, moment = rows[place]
        other = f"p{(int(product[1:]) + 29) % 60}"
        rows[place] = [buyer, other, "View" if kind == "Purchase" else "Purchase", moment]
    return shop._replace(events=write_csv(path, EVENT_COLUMNS, rows))


def test_other_test_events_give_the_same_trials(tuned: tuple[Path, Path], tmp_path: Path) -> None:
    shop, made = small_run()
    other = with_other_tests(shop, tmp_path / "events.csv")
    assert other.events.read_bytes() != shop.events.read_bytes()
    artifacts = copy_artifacts(made, tmp_path / "artifacts")
    assert tune(other, artifacts, tmp_path / "tuned.yaml") == 0
    found = trials_of(artifacts)
    assert [(name, len(one)) for name, one in found.items()] == [("neighbours", 3), ("linear", 3), ("softmax", 3)]
    assert found == trials_of(tuned[0])
    assert (tmp_path / "tuned.yaml").read_text() == tuned[1].read_text()


def test_the_test_events_are_gone_before_the_search_begins(tmp_path: Path) -> None:
    shop, made = small_run()
    layout = Layout(copy_artifacts(made, tmp_path / "artifacts"))
    run = prepare(load_config([Path(OFFLINE)], SMALL), layout, [str(shop.events)], [str(shop.products)])
    buyers = Search(run, Deadline.after(600))._buyers
    assert len(buyers.validation.events.buyer) == len(run.events.buyer) - len(run.split.test)
    assert buyers.data.events is buyers.validation.events is buyers.guide.events
    # guides and judges are different buyers
    assert len(buyers.guide.cases) + buyers.judges.sum() == len(buyers.judges)
    assert len(buyers.guide.places()) == len(buyers.guide.cases) > 0


def test_an_interrupted_search_ends_as_an_uninterrupted_one(
    tuned: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    shop, made = small_run()
    artifacts, out = copy_artifacts(made, tmp_path / "artifacts"), tmp_path / "tuned.yaml"
    saved, save = 0, TrainingState.save

    def die_after_an_epoch(state: TrainingState) -> None:
        nonlocal saved
        save(state)
        saved += 1
        if saved == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "save", die_after_an_epoch)
        assert tune(shop, artifacts, out) == 130
    assert not out.exists()
    assert len(trials_of(artifacts)["softmax"]) == 1
    capsys.readouterr()
    assert tune(shop, artifacts, out) == 0
    said = capsys.readouterr().out
    assert "resuming after epoch 1, step 0" in said and "neighbours trial" not in said and "linear trial" not in said
    assert trials_of(artifacts) == trials_of(tuned[0])
    assert out.read_text() == tuned[1].read_text()


def test_a_later_call_goes_on_with_the_last_stage(tuned: tuple[Path, Path], tmp_path: Path) -> None:
    artifacts = copy_artifacts(tuned[0], tmp_path / "artifacts")
    before = trials_of(artifacts)
    assert tune(small_run()[0], artifacts, tmp_path / "tuned.yaml", trials=4) == 0
    after = trials_of(artifacts)
    assert after["softmax"][:3] == before["softmax"] and len(after["softmax"]) == 4
    assert after["neighbours"] == before["neighbours"] and after["linear"] == before["linear"]


def test_a_setting_that_is_far_off_is_found_and_the_file_can_be_laid_over(tmp_path: Path, capsys: Capture) -> None:
    shop, made = small_run()
    # enough buyers that a real gain is more than one standard error
    rows = event_rows(buyers=300, events=3000)
    shop = shop._replace(events=write_csv(tmp_path / "events.csv", EVENT_COLUMNS, rows))
    artifacts, out = copy_artifacts(made, tmp_path / "artifacts"), tmp_path / "tuned.yaml"
    # so much regularisation leaves popularity alone
    off = ["training.start=linear", "linear.l2=100000000", "neighbours.weights=[]", "prior.weights=[]"]
    assert tune(shop, artifacts, out, *off, trials=6) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith(f"{out}: ") and "settings changed" in said and said.endswith(" with the configuration")
    text = out.read_text()
    assert "l2: " in text and "# 1e+08 before; ndcg@10 0." in text
    config = load_config([Path(OFFLINE)], [*SMALL, *off])
    laid = load_config([Path(OFFLINE), out], [*SMALL, *off[:1], *off[2:]])
    assert laid.linear.l2 <= 3000
    rest = {"l2", "trend_half_life_days"}
    assert laid.linear.model_dump(exclude=rest) == config.linear.model_dump(exclude=rest)
    assert laid.training == config.training and laid.neighbours == config.neighbours


def test_a_configuration_that_cannot_be_trained_in_time_is_an_error_and_goes_on_later(tmp_path: Path) -> None:
    shop, made = small_run()
    layout = Layout(copy_artifacts(made, tmp_path / "artifacts"))
    config = load_config([Path(OFFLINE)], [*SMALL, "training.max_epochs=3", "training.patience=3"])
    run = prepare(config, layout, [str(shop.events)], [str(shop.products)])
    clock = Clock()
    searching = Search(run, Deadline.after(1, clock), 2)
    epoch = training._Steps.train_epoch

    def slow(*arguments: Any) -> None:
        epoch(*arguments)
        clock.now += 25

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training._Steps, "train_epoch", slow)
        with pytest.raises(DataError, match="still takes 50 s, --minutes leaves 35 s: give it more minutes"):
            searching.search()
    # an epoch is done; the two others fit
    outcome = Search(run, Deadline.after(600), 2).search()
    assert [stage.trials for stage in outcome.stages] == [2, 2, 2]


def test_a_search_without_time_for_trials_says_so(tmp_path: Path) -> None:
    shop, made = small_run()
    layout = Layout(copy_artifacts(made, tmp_path / "artifacts"))
    run = prepare(load_config([Path(OFFLINE)], SMALL), layout, [str(shop.events)], [str(shop.products)])
    clock = Clock()
    searching = Search(run, Deadline.after(1, clock))
    begin = searching._begin

    def slow(*arguments: Any) -> Any:
        standing = begin(*arguments)
        clock.now += 60
        return standing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(searching, "_begin", slow)
        outcome = searching.search()
    assert [(stage.trials, stage.settings, stage.pruned) for stage in outcome.stages] == [(0, {}, 0)] * 3
    assert outcome.after == outcome.before > 0


def test_a_trial_that_would_take_longer_than_the_time_left_does_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, made = small_run()
    layout = Layout(copy_artifacts(made, tmp_path / "artifacts"))
    config = load_config([Path(OFFLINE)], [*SMALL, "training.start=linear", "neighbours.weights=[]"])
    run = prepare(config, layout, [str(shop.events)], [str(shop.products)])
    clock, measure = Clock(), search.measure_linear

    def slow(*arguments: Any) -> float:
        clock.now += 25
        return measure(*arguments)

    monkeypatch.setattr(search, "measure_linear", slow)
    outcome = Search(run, Deadline.after(1, clock)).search()
    # the configuration and one trial take 50 s of 60 s; another one would end 15 s too late
    assert [(stage.stage, stage.trials) for stage in outcome.stages] == [("linear", 2)]
    assert clock.now == 150


def test_a_stage_that_the_configuration_leaves_out_is_not_searched(tmp_path: Path) -> None:
    shop, made = small_run()
    layout = Layout(copy_artifacts(made, tmp_path / "artifacts"))
    config = load_config([Path(OFFLINE)], [*SMALL, "training.start=softmax", "neighbours.weights=[]"])
    run = prepare(config, layout, [str(shop.events)], [str(shop.products)])
    outcome = Search(run, Deadline.after(600), 2).search()
    assert [stage.stage for stage in outcome.stages] == ["softmax"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--minutes", "0", "--out", "t.yaml"], "--minutes 0: must be a number above 0"),
        (["--minutes", "nan", "--out", "t.yaml"], "--minutes nan: must be a number above 0"),
        (["--minutes", "inf", "--out", "t.yaml"], "--minutes inf: must be a number above 0"),
        (["--minutes", "1", "--trials", "-1", "--out", "t.yaml"], "--trials -1: must be 0 (no limit) or more"),
        (["--minutes", "1", "--out", "gone/t.yaml"], "--out gone/t.yaml: there is no folder"),
        (["--minutes", "1", "--out", OFFLINE, "--config", OFFLINE], "is one of --config: the settings in it would"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_read(
    tmp_path: Path, wrong: list[str], message: str, capsys: Capture
) -> None:
    files = ["--events", "nowhere.csv", "--products", "nowhere.csv", "--artifacts", str(tmp_path / "a")]
    assert main(["tune", *files, *wrong]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
