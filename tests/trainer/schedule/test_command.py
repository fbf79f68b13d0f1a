"""`python -m trainer schedule` as a process: it trains what is not served yet, and SIGTERM ends it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.small_shop import OFFLINE, ROOT, SMALL, write_shop
from trainer.__main__ import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to do: give at least one of --train, --scratch and --refresh"),
        (["--train", "25:00"], "'25:00': must be a time as 03:00 or Sun 03:00, every N events, or every N changes"),
        (["--train", "every 10 events"], "every N events counts those of an event log: give one as --events log:PATH"),
        (["--refresh", "every 10 events"], "--refresh takes times and changes: it reads the products, and no events"),
        (["--train", "03:00", "--zone", "Mars/North"], "--zone 'Mars/North': no such time zone"),
    ],
)
def test_wrong_settings_are_refused_at_the_start(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shop = write_shop(tmp_path)
    assert main(["schedule", *shop.arguments, "--artifacts", str(tmp_path / "artifacts"), *arguments]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_sigterm_ends_it_in_the_midst_of_a_training(tmp_path: Path) -> None:
    shop, artifacts = write_shop(tmp_path), tmp_path / "artifacts"
    command = [sys.executable, "-m", "trainer", "schedule", *shop.arguments, "--artifacts", str(artifacts)]
    # so many steps that it cannot end before the signal
    settings = [*SMALL, "training.max_epochs=100000", "training.start=softmax"]
    command += ["--config", OFFLINE, "--train", "03:00", "--set", *settings]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "epoch 1: loss" in line:
                break
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    text = "".join(lines) + rest
    assert "train: started" in text
    assert "train: interrupted; it resumes when the scheduler starts again" in text
    assert text.endswith("stopped\n")
    assert "error: interrupted; the same command resumes at the last checkpoint" in errors
    assert list((artifacts / "work").glob("runs/*/checkpoints/*"))
