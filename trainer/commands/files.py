"""The settings that a command line names."""

from __future__ import annotations

import argparse
from pathlib import Path


def config_files(options: argparse.Namespace) -> list[Path]:
    """The preset of --format, and what --config lays over it."""
    from trainer.config.loading import preset_file

    return [*([preset_file(options.format)] if options.format else []), *options.config]


def assignments(options: argparse.Namespace) -> list[str]:
    """What --set and --ray say; --ray is the setting `ray`."""
    return [*options.set, *([f"ray={options.ray}"] if options.ray else [])]
