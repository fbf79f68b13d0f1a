"""Command line of the trainer: `python -m trainer COMMAND --help`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.commands.output import fail
from trainer.commands.parser import build_parser
from twotower.errors import TwoTowerError

if TYPE_CHECKING:
    pass


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; errors are one line on standard error."""
    # read when torch is imported: threads that spin while they wait slow down whatever shares the cores
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    options = build_parser().parse_args(arguments)
    try:
        result: int = options.run(options)
        return result
    except TwoTowerError as error:
        return fail(str(error), 2)
    except ValueError as error:
        return fail(str(error), 2)
    except OSError as error:
        return fail(f"{error.strerror or error} ({error.filename or _place(options)})", 1)
    except MemoryError:
        return fail("out of memory", 1)
    except KeyboardInterrupt:
        return fail("interrupted; the same command goes on from the last checkpoint", 130)
    except Exception as error:  # a full disk alone comes as a dozen classes: SQLite's, FAISS's, safetensors'
        if options.traceback:
            raise
        reason = str(error).strip().split("\n", 1)[0]
        hint = f"working in {_place(options)}; `python -m trainer --traceback {options.command} ...` shows where"
        return fail(f"{type(error).__name__}: {reason} ({hint})", 1)


def _place(options: argparse.Namespace) -> Path:
    """The folder that a command writes to."""
    folder: Path = getattr(options, "artifacts", None) or options.out
    return folder


if __name__ == "__main__":
    sys.exit(main())
