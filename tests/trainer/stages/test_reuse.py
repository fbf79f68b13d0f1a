"""What a run does again and what it does not."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.small_shop import (
    PRODUCT_COLUMNS,
    assert_same_model,
    copy_artifacts,
    current,
    product_rows,
    run_arguments,
    small_run,
    two_runs,
    write_csv,
    write_shop,
)
from trainer.__main__ import main
from trainer.config.loading import load_config
from trainer.stages import prepare
from trainer.stages import publish as publish_stage
from twotower.artifact.layout import Layout
from twotower.artifact.retention import list_versions
from twotower.artifact.version import Version, open_version, verify

Capture = pytest.CaptureFixture[str]


def test_a_second_run_says_that_it_is_up_to_date(tmp_path: Path, capsys: Capture) -> None:
    shop, made = small_run()
    artifacts = copy_artifacts(made, tmp_path / "artifacts")
    before = (artifacts / "CURRENT").read_text()
    assert main(run_arguments(shop, artifacts)) == 0
    assert capsys.readouterr().out.startswith(f"up to date: {before.split()[0]} was trained on this data")
    # the contents count, not the names
    other = write_shop(tmp_path / "elsewhere")
    assert main(run_arguments(other, artifacts)) == 0
    assert "up to date" in capsys.readouterr().out
    assert (artifacts / "CURRENT").read_text() == before
    assert len(list_versions(Layout(artifacts))) == 1


def damage_pointer(version: Version) -> None:
    (version.layout.root.parent.parent / "CURRENT").write_text("rubbish")


def damage_manifest(version: Version) -> None:
    version.layout.manifest.write_text("{}")


def lose_version(version: Version) -> None:
    shutil.rmtree(version.layout.root)


def lose_index(version: Version) -> None:
    version.layout.index.unlink()


def damage_encoder(version: Version) -> None:
    version.encoder.graph.write_bytes(b"x")


@pytest.mark.parametrize("damage", [damage_pointer, damage_manifest, lose_version, lose_index, damage_encoder])
def test_what_is_damaged_is_not_up_to_date_and_a_run_repairs_it(
    tmp_path: Path, capsys: Capture, damage: Callable[[Version], None]
) -> None:
    shop, made = small_run()
    artifacts = copy_artifacts(made, tmp_path / "artifacts")
    damage(current(artifacts))
    assert main(run_arguments(shop, artifacts)) == 0
    output = capsys.readouterr().out
    assert "up to date" not in output and "published" in output
    verify(current(artifacts))


def test_the_command_of_a_version_that_was_rolled_back_from_does_not_undo_that(tmp_path: Path, capsys: Capture) -> None:
    made, settings = two_runs()
    artifacts = copy_artifacts(made, tmp_path / "artifacts")
    good, bad = current(small_run()[1]).name, current(artifacts).name
    command = run_arguments(small_run()[0], artifacts, settings=settings)
    assert main(["publish", good, "--artifacts", str(artifacts)]) == 0
    capsys.readouterr()
    assert main(command) == 0
    message = f"{bad} was trained on this data and configuration, but CURRENT names {good}, which stays"
    assert capsys.readouterr().out == f"{message}: publish {bad}, or --force trains again\n"
    assert current(artifacts).name == good
    # what cannot be published is not advised
    lose_index(open_version(Layout(artifacts), bad))
    assert main(command) == 0
    assert current(artifacts).name not in (good, bad)


def test_a_run_that_died_before_it_published_is_not_one_that_was_rolled_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, settings = two_runs()
    artifacts = copy_artifacts(made, tmp_path / "artifacts")
    before = current(small_run()[1]).name
    # back to the moment before the second run published; its checkpoints are there
    shutil.rmtree(current(artifacts).layout.root)
    shutil.copyfile(small_run()[1] / "CURRENT", artifacts / "CURRENT")
    (artifacts / "PREVIOUS").unlink()
    command = run_arguments(small_run()[0], artifacts, settings=settings)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(publish_stage, "publish_version", die)
        assert main(command) == 130
    assert current(artifacts).name == before and len(list_versions(Layout(artifacts))) == 2
    assert main(command) == 0
    assert current(artifacts).name != before


def test_a_changed_title_encodes_that_text_alone_and_makes_a_new_version(tmp_path: Path, capsys: Capture) -> None:
    shop, made = small_run()
    artifacts = copy_artifacts(made, tmp_path / "artifacts")
    before = (artifacts / "CURRENT").read_text()
    encoder = next((artifacts / "work" / "encoders").iterdir())
    rows = product_rows()
    rows[5][1] = "خاتم جديد"
    products = write_csv(tmp_path / "products.csv", PRODUCT_COLUMNS, rows)
    # the catalogue encoder would be trained anew: a frozen one is used here
    arguments = run_arguments(shop._replace(products=products), artifacts, settings=[f"encoder.name={encoder}"])
    assert main(arguments) == 0
    said = capsys.readouterr().out
    # 60 texts, and the titles of the 40 products that have more text than that; another encoder for the cache
    assert "text vectors: 100 encoded" in said
    assert (artifacts / "CURRENT").read_text() != before
    assert (artifacts / "PREVIOUS").read_text() == before
    rows[6][1] = "خاتم آخر"
    write_csv(products, PRODUCT_COLUMNS, rows)
    # texts are encoded before the first stage; `evaluate` then misses a model
    assert main([{"run": "evaluate"}.get(one, one) for one in arguments]) == 2
    assert "text vectors: 1 encoded, 99 from the cache" in capsys.readouterr().out


def test_force_trains_the_same_model_anew(tmp_path: Path, capsys: Capture) -> None:
    shop, artifacts = write_shop(tmp_path / "shop"), copy_artifacts(small_run()[1], tmp_path / "artifacts")
    assert main(run_arguments(shop, artifacts, "--force")) == 0
    said = capsys.readouterr().out
    assert "epoch 1:" in said
    assert "resuming" not in said
    assert len(list_versions(Layout(artifacts))) == 2
    assert_same_model(current(small_run()[1]), current(artifacts))


@pytest.mark.parametrize(
    ("setting", "is_another"),
    [
        ("again.min_returns=0.5", True),
        ("trending.window_days=3", True),
        ("search.popularity_weight=0.1", True),
        ("searches.min_buyers=5", True),
        ("together.min_groups=4", True),
        ("training.max_epochs=3", True),
        ("threads=1", False),
        ("publish.keep_versions=9", False),
        ("paths.cache=elsewhere", False),
    ],
)
def test_a_setting_that_changes_a_version_makes_another_run(tmp_path: Path, setting: str, is_another: bool) -> None:
    shop = write_shop(tmp_path)
    files = [str(shop.events)], [str(shop.products)]
    changed = prepare.run_fingerprint(load_config(assignments=[setting]), *files)
    assert (changed != prepare.run_fingerprint(load_config(), *files)) is is_another


def test_new_code_makes_a_new_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = write_shop(tmp_path)
    asked = load_config(), [str(shop.events)], [str(shop.products)]
    before = prepare.run_fingerprint(*asked)
    assert prepare.run_fingerprint(*asked) == before
    monkeypatch.setattr(prepare, "code_digest", lambda sources: "of another release")
    assert prepare.run_fingerprint(*asked) != before
