"""`python -m item_service`: reads the settings and serves until SIGTERM."""

from __future__ import annotations

import sys

from item_service.settings import ItemSettings
from twotower.errors import SettingsError
from twotower.serving.server import limit_numeric_threads
from twotower.serving.settings import read_settings
from twotower.serving.telemetry import configure_logging


def main() -> int:
    """Serves until a signal; 2 where a setting is wrong."""
    try:
        settings = read_settings(ItemSettings, "item")
    except SettingsError as error:
        print(f"item_service: {error}", file=sys.stderr)
        return 2
    # the worker threads are the parallelism: within one of them a library's own threads would only get in the way
    limit_numeric_threads(1)
    import uvloop

    from item_service.servicer import serve  # imports numpy, so only now

    configure_logging("item", settings.log_level)
    uvloop.run(serve(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
