"""`python -m explorer`: reads the settings and serves the pages until SIGTERM."""

from __future__ import annotations

import signal
import sys

import uvicorn

from explorer.app import create_app
from explorer.settings import ExplorerSettings
from twotower.errors import SettingsError
from twotower.serving import telemetry
from twotower.serving.command_line import check_arguments
from twotower.serving.settings import read_settings


def main() -> int:
    """Returns 0 after SIGTERM or SIGINT, 2 for a wrong setting."""
    try:
        settings = read_settings(ExplorerSettings, "explorer")
    except SettingsError as error:
        print(f"explorer: {error}", file=sys.stderr)
        return 2
    telemetry.configure_logging("explorer", settings.log_level)
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal again once it has stopped: the process then ends with 0, not by the signal
        signal.signal(number, lambda *_: None)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
    )
    return 0


if __name__ == "__main__":
    check_arguments("explorer", "explorer", ExplorerSettings, sys.argv[1:])
    sys.exit(main())
