"""The command `check`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.commands.files import config_files
from trainer.commands.output import fail, log_nothing
from twotower.errors import TwoTowerError

if TYPE_CHECKING:
    from trainer.config.data import Data
    from trainer.stages.check import Findings

_JSON_KEYS = (
    "products",
    "buyers",
    "events",
    "fields",
    "in_stock",
    "first_time",
    "last_time",
    "rejected",
    "dropped",
)


_reason = attrgetter("reason")


def run_check(options: argparse.Namespace) -> int:
    """Prints what a run would make of the files; returns the exit code that reading them would give it."""
    from trainer.stages.check import Findings

    log_nothing()
    try:
        found = _check(options)
    except TwoTowerError as error:
        if not options.json:
            raise
        found = Findings(error=str(error))
    if options.json:
        content = {name: getattr(found, name) for name in _JSON_KEYS}
        advice = [f"this would lose less: {one}" for one in found.advice]
        print(json.dumps(content | {"warnings": [*found.warnings, *advice], "error": found.error}, ensure_ascii=False))
        return 2 if found.error else 0
    for line in _lines(found):
        print(line)
    return fail(found.error, 2) if found.error else 0


def _check(options: argparse.Namespace) -> Findings:
    from trainer.config.loading import PRESETS, load_config
    from trainer.stages.check import check

    def presets() -> dict[str, Data]:
        files = {} if options.format else {path.stem: path for path in sorted(PRESETS.glob("*.yaml"))}
        return {name: load_config([path, *options.config], options.set).data for name, path in files.items()}

    config = load_config(config_files(options), options.set)
    return check(options.events, options.products, config.data, config.seed, presets)


def _lines(found: Findings) -> Iterator[str]:
    yield f"products: {found.products:,} of {found.product_rows:,} rows are read"
    if found.fields:
        yield f"  have: {', '.join(f'{name} {count:,}' for name, count in found.fields.items())}"
        yield f"  in stock: {found.in_stock:,}"
    yield f"events: {found.events:,} of {found.event_rows:,} rows are read, of {found.buyers:,} buyers"
    if found.first_time:
        yield f"  {', '.join(f'{name} {count:,}' for name, count in found.event_kinds.items())}"
        yield f"  {found.first_time} to {found.last_time}"
    for reason, examples in groupby(sorted(found.examples, key=_reason), key=_reason):
        shown = ", ".join(f"{one.value!r} (line {one.line} of {Path(one.file).name})" for one in islice(examples, 3))
        yield f"rejected: {found.rejected[reason]:,} {reason}, as {shown}"
    for reason, count in found.dropped.items():
        yield f"dropped: {count:,} {reason}"
    for sentence in found.warnings:
        yield f"warning: {sentence}"
    for option in found.advice:
        yield f"would lose less: {option}"
