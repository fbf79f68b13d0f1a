"""The command line as a first user meets it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from tests.helpers.small_shop import OFFLINE, SMALL, copy_artifacts, run_arguments, small_run, trainer, write_shop
from trainer.__main__ import main
from trainer.commands import parser

Capture = pytest.CaptureFixture[str]


COMMANDS = ["check", "run", "train", "evaluate", "embed", "index", "publish", "tune", "encoder", "recommend"]


def test_help_names_every_command_with_an_example_and_the_exit_codes() -> None:
    done = trainer("--help")
    assert done.returncode == 0 and done.stderr == ""
    for name in COMMANDS:
        assert f"\n    {name} " in done.stdout
    assert "python -m trainer run --events" in done.stdout
    assert "--config trainer/config/offline.yaml" in done.stdout
    assert "exit codes:" in done.stdout and "3 the publish gate kept the new version back" in done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    assert f"usage: python -m trainer {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "wrong",
    [[], ["fly"], ["run"], ["run", "--events", "x"], ["publish"], ["recommend", "--k", "ten"], ["run", "--nope"]],
)
def test_a_wrong_command_line_is_exit_code_2(wrong: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(wrong)
    assert caught.value.code == 2
    assert "usage: python -m trainer" in capsys.readouterr().err


def test_wrong_settings_are_told_before_anything_is_read(tmp_path: Path) -> None:
    done = trainer(
        "run",
        "--events",
        "nowhere.csv",
        "--products",
        "nowhere.csv",
        "--artifacts",
        str(tmp_path / "a"),
        "--set",
        "model.dimenson=3",
    )
    assert done.returncode == 2
    assert done.stderr == "error: --set model.dimenson=3: unknown key model.dimenson; did you mean model.dimension?\n"
    assert not (tmp_path / "a").exists()


def test_a_run_as_a_process_prints_its_stages_and_no_warnings(tmp_path: Path) -> None:
    shop = write_shop(tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    done = trainer(*run_arguments(shop, tmp_path / "artifacts"), HOME=str(home))
    assert done.returncode == 0
    assert done.stderr == ""
    # no library keeps a cache or an id there
    assert list(home.rglob("*")) == []
    lines = done.stdout.splitlines()
    assert all(line.startswith("[") for line in lines)
    for part in (
        "reading products",
        "training on",
        "popularity: recall@10",
        "item tower: graph and torch agree to",
        "published ",
    ):
        assert any(part in line for line in lines), part


def test_an_encoder_out_of_reach_ends_the_run_and_names_both_ways_out(tmp_path: Path) -> None:
    shop = write_shop(tmp_path)
    done = trainer("run", *shop.arguments, "--artifacts", str(tmp_path / "a"), "--set", *SMALL)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "the encoder 'paraphrase-multilingual-MiniLM-L12-v2' cannot be loaded" in done.stderr
    assert "--config trainer/config/offline.yaml" in done.stderr and "--set encoder.name=PATH" in done.stderr
    assert not (tmp_path / "a" / "versions").exists() and not (tmp_path / "a" / "CURRENT").exists()


def test_the_encoder_command_writes_a_folder_that_a_run_can_use(tmp_path: Path, capsys: Capture) -> None:
    shop = write_shop(tmp_path)
    out = tmp_path / "mine"
    settings = ["--config", OFFLINE, "--set", *SMALL]
    assert main(["encoder", "--products", str(shop.products), "--out", str(out), *settings]) == 0
    said = capsys.readouterr().out
    assert f"--set encoder.name={out}" in said
    vectors = SentenceTransformer(str(out)).encode(["أسـورة <b>ذهب</b> ٢١", "اسوره ذهب 21"])
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
    assert main(run_arguments(shop, tmp_path / "artifacts", settings=[f"encoder.name={out}"])) == 0
    manifest = next((tmp_path / "artifacts" / "versions").iterdir()) / "manifest.json"
    assert str(out) in manifest.read_text()


def test_the_encoder_command_tells_bad_products_in_one_line(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "p.csv").write_text("product_id,title\n")
    assert main(["encoder", "--products", str(tmp_path / "p.csv"), "--out", str(tmp_path / "e")]) == 2
    assert capsys.readouterr().err == f"error: {tmp_path / 'p.csv'} has a header and no rows\n"
    assert not (tmp_path / "e").exists()


def test_an_unexpected_error_is_one_line_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    def fail(options: object) -> int:
        raise RuntimeError("Error in faiss: could not write\nstack of ten lines")

    monkeypatch.setattr(parser, "run_publish", fail)
    assert main(["publish", "--list", "--artifacts", str(tmp_path)]) == 1
    output = capsys.readouterr().err
    assert output.startswith("error: RuntimeError: Error in faiss: could not write") and output.count("\n") == 1
    with pytest.raises(RuntimeError):
        main(["--traceback", "publish", "--list", "--artifacts", str(tmp_path)])


def test_control_c_is_one_line_and_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def interrupt(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(parser, "run_publish", interrupt)
    assert main(["publish", "--list", "--artifacts", "x"]) == 130
    assert capsys.readouterr().err == "error: interrupted; the same command resumes at the last checkpoint\n"


def test_publish_without_any_version(tmp_path: Path, capsys: Capture) -> None:
    assert main(["publish", "--list", "--artifacts", str(tmp_path)]) == 0
    assert capsys.readouterr().out == ""
    assert main(["publish", "x", "--artifacts", str(tmp_path)]) == 2
    assert "there is no version 'x'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--set", "bogus=1"], "--set"),
        (["--config", "/nonexistent.yaml"], "--config"),
        (["--events", "e.csv", "--products", "p.csv"], "--events, --products"),
    ],
)
@pytest.mark.parametrize("command", [["x"], ["--list"]])
def test_a_version_that_exists_is_published_as_it_is(
    tmp_path: Path, capsys: Capture, command: list[str], options: list[str], named: str
) -> None:
    assert main(["publish", *command, "--artifacts", str(tmp_path), *options]) == 2
    said = f"error: publish {'VERSION' if command == ['x'] else '--list'} reads no data and no settings: omit {named}\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("threads", ["-1", "17", "100000"])
def test_no_more_threads_are_started_than_a_machine_has_a_use_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture, threads: str
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    command = ["recommend", "--artifacts", str(tmp_path), "--events", "e.csv", "--out", "r.csv", "--threads"]
    assert main([*command, threads]) == 2
    assert (
        capsys.readouterr().err == f"error: --threads {threads}: must be 0 to 16, eight for each core of this machine\n"
    )
    # as many as may be go on to the next error
    assert main([*command, "16"]) == 2
    assert "has no published version" in capsys.readouterr().err


def test_the_cache_can_lie_elsewhere(tmp_path: Path) -> None:
    shop = write_shop(tmp_path)
    cache = tmp_path / "cache"
    assert main(run_arguments(shop, tmp_path / "a", settings=[f"paths.cache={cache}"])) == 0
    assert sorted(path.name for path in cache.iterdir()) == [".lock", "encoders", "runs", "text_vectors"]
    left = tmp_path / "a" / "work"
    assert [path.name for path in left.rglob("*") if path.is_file()] == [".lock"]


def test_artifacts_are_readable_by_the_services_user(tmp_path: Path) -> None:
    # services run as another user than the trainer, with a read-only mount
    artifacts = copy_artifacts(small_run()[1], tmp_path / "a")
    for path in (*(artifacts / "versions").rglob("*"), *(artifacts / "encoders").rglob("*"), artifacts / "CURRENT"):
        assert os.stat(path).st_mode & 0o004, path  # noqa: PTH116
