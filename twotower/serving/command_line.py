"""The command line of a process without options: `--help` lists its settings, anything else is refused."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from twotower.serving.settings import PREFIX, SHARED, ProcessSettings


def check_arguments(
    module: str, service: str, model: type[ProcessSettings], arguments: Sequence[str], description: str = ""
) -> None:
    """Exits with 0 after `--help`, and with 2 for any other argument, which would otherwise have no effect."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=description,
        epilog=f"settings, read once from the environment:\n{list_settings(service, model)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(f"{' '.join(unknown)}: there are no options; --help lists the environment variables")


def list_settings(service: str, model: type[ProcessSettings]) -> str:
    """Every setting of a process with its default, and below it what it means."""
    lines = []
    for name, field in model.model_fields.items():
        default = ",".join(field.default) if isinstance(field.default, tuple) else field.default
        shared = f"{PREFIX}{name.upper()}"
        other = f"  (or {shared})" if shared in SHARED else ""
        lines.append(f"  {PREFIX}{service.upper()}_{name.upper()}={'' if default is None else default}{other}")
        if field.description:
            lines.append(f"      {field.description}")
    return "\n".join(lines)
