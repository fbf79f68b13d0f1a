"""What the services' `python -m` entry points share: settings, thread limits, logging, and the event loop."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop

from twotower.errors import SettingsError
from twotower.serving.command_line import check_arguments
from twotower.serving.settings import Settings, read_settings
from twotower.serving.telemetry import configure_logging


def run(name: str, model: type[Settings], serve: Callable[[Settings], Coroutine[Any, Any, None]]) -> int:
    """Runs the service `name` ("item", ...) until SIGTERM or SIGINT. Returns the exit code: 2 for a wrong setting.

    `--help` lists the settings; other arguments are refused.

    `serve` must import its servicer only when it is called: numpy, FAISS and ONNX Runtime read the thread limits when
    they are imported.
    """
    check_arguments(f"{name}_service", name, model, sys.argv[1:])
    try:
        settings = read_settings(model, name)
    except SettingsError as error:
        print(f"{name}_service: {error}", file=sys.stderr)
        return 2
    # the worker threads run in parallel already: a library's own threads inside one of them would slow the others
    limit_numeric_threads(1)
    configure_logging(name, settings.log_level)
    try:
        uvloop.run(serve(settings))
    except SettingsError as error:
        print(f"{name}_service: {error}", file=sys.stderr)
        return 2
    return 0


def limit_numeric_threads(threads: int) -> None:
    """Sets the thread counts of OpenMP and BLAS, unless the operator has set them already.

    Call it before numpy, FAISS or ONNX Runtime are imported.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, str(threads))
