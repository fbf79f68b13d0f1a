"""A stage shows how far it is: lines without a terminal, a bar on one."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from trainer import progress

ROOT = Path(__file__).resolve().parents[2]


def test_lines_give_done_total_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 4))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    assert list(progress.track(range(8), "stage", unit="row")) == list(range(8))
    # the clock moves 4 s an item: a line when 10 s have passed since the last one
    assert capsys.readouterr().err.splitlines() == [
        "stage: 3 of 8 row, 0.2/s, 20 s left",
        "stage: 6 of 8 row, 0.2/s, 8 s left",
    ]


def test_a_total_that_only_the_caller_knows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(clock)))
    assert list(progress.track(iter("ab"), "stage", total=2)) == ["a", "b"]
    assert list(progress.track(iter("ab"), "unknown")) == ["a", "b"]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "stage: 1 of 2 it, 0.1/s, 20 s left"
    assert lines[2] == "unknown: 1 it, 0.1/s"


def test_a_short_stage_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.track(range(3), "stage")) == [0, 1, 2]
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar() -> None:
    code = (
        "import time; from trainer.progress import track\n"
        "for _ in track(range(30), 'stage', unit='row'): time.sleep(0.1)"
    )
    terminal, other = pty.openpty()
    termios.tcsetwinsize(terminal, (25, 100))
    with subprocess.Popen([sys.executable, "-c", code], stderr=other, cwd=ROOT) as process:
        os.close(other)
        shown = b""
        try:
            while part := os.read(terminal, 4096):
                shown += part
        except OSError:  # the other end is closed
            pass
        assert process.wait() == 0
    os.close(terminal)
    text = shown.decode()
    assert "stage:" in text and "row/s" in text and "/30" in text
