"""How a process starts: it lists its settings, refuses options, and says what it waits for."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from pydantic import Field

from tests.helpers.processes import is_log, process
from twotower.serving.command_line import check_arguments, list_settings
from twotower.serving.settings import ProcessSettings


class _Settings(ProcessSettings):
    artifacts: Path = Field(Path("artifacts"), description="where versions lie")
    names: tuple[str, ...] = ("a", "b")
    file: Path | None = None


def test_every_setting_has_its_name_its_default_and_its_meaning() -> None:
    assert list_settings("item", _Settings).splitlines() == [
        "  TWOTOWER_ITEM_LOG_LEVEL=INFO  (or TWOTOWER_LOG_LEVEL)",
        "  TWOTOWER_ITEM_ARTIFACTS=artifacts  (or TWOTOWER_ARTIFACTS)",
        "      where versions lie",
        "  TWOTOWER_ITEM_NAMES=a,b",
        "  TWOTOWER_ITEM_FILE=",
    ]


def test_help_shows_them_and_an_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    check_arguments("item_service", "item", _Settings, [])
    with pytest.raises(SystemExit, match="0"):
        check_arguments("item_service", "item", _Settings, ["--help"])
    assert "TWOTOWER_ITEM_NAMES=a,b" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        check_arguments("item_service", "item", _Settings, ["--port", "9000"])
    assert "--port 9000: there are no options" in capsys.readouterr().err


def test_a_service_says_that_it_waits_for_a_version(tmp_path: Path) -> None:
    with process("-m", "buyer_service", environ={"TWOTOWER_ARTIFACTS": str(tmp_path)}) as started:
        said = started.wait_for(lambda line: is_log(line, "no version is published yet, waiting for one"))
        assert json.loads(said)["file"] == str(tmp_path / "CURRENT")
        started.popen.send_signal(signal.SIGTERM)
        assert started.finish() == 0


@pytest.mark.parametrize("module", ["item_service", "recorder", "explorer", "gateway"])
def test_a_process_starts_with_no_option(module: str) -> None:
    with process("-m", module, "--port", "9000") as started:
        assert started.finish() == 2
    assert "--help lists the environment variables" in "\n".join(started.lines)
