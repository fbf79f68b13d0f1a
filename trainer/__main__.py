"""Command line of the trainer: `python -m trainer COMMAND --help`."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from trainer.commands.output import fail
from trainer.commands.parser import build_parser
from twotower.errors import TwoTowerError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; an error is one line on standard error."""
    # torch reads it at import: waiting threads that spin would slow down other processes on these cores
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    options = build_parser().parse_args(arguments)
    try:
        # matplotlib's list of fonts, half a second's work, would lie in the home folder: without a folder it uses a
        # temporary one, which it removes, and only commands that draw need room for that
        logging.getLogger("matplotlib").setLevel(logging.ERROR)
        os.environ.setdefault("MPLCONFIGDIR", os.devnull)
        result: int = options.run(options)
        return result
    except TwoTowerError as error:
        return fail(str(error), 2)
    except ValueError as error:
        return fail(str(error), 2)
    except OSError as error:
        return fail(f"{error.strerror or error} ({error.filename or _output(options)})", 1)
    except MemoryError:
        return fail("out of memory", 1)
    except KeyboardInterrupt:
        return fail("interrupted; the same command resumes at the last checkpoint", 130)
    except Exception as error:  # SQLite, FAISS and safetensors each raise their own class, for a full disk too
        if options.traceback:
            raise
        reason = str(error).strip().split("\n", 1)[0]
        hint = f"working in {_output(options)}; `python -m trainer --traceback {options.command} ...` shows the place"
        return fail(f"{type(error).__name__}: {reason} ({hint})", 1)


def _output(options: argparse.Namespace) -> Path:
    """The folder or file that a command writes to; `check` writes none."""
    named = [getattr(options, name) for name in ("artifacts", "out") if getattr(options, name, None)]
    return Path(named[0]) if named else Path(tempfile.gettempdir())


if __name__ == "__main__":
    sys.exit(main())
