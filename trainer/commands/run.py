"""The commands `run`, `refresh` and the single stages."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from trainer.commands.output import log_to_stdout

if TYPE_CHECKING:
    from trainer.config.schema import Config
    from twotower.artifact.layout import Layout


def run_stage(options: argparse.Namespace) -> int:
    # torch takes seconds to import: wrong options are told before it
    from trainer.config.loading import load_config

    config = load_config(options.config, options.set)
    from trainer.release.locks import alone_in_cache, working_alone
    from twotower.artifact.layout import Layout

    layout = Layout(options.artifacts)
    with working_alone(layout), alone_in_cache(config, layout):
        return _run_stages(options, config, layout)


def _run_stages(options: argparse.Namespace, config: Config, layout: Layout) -> int:
    from trainer.stages import evaluate as pipeline
    from trainer.stages import publish as publishing
    from trainer.stages.embed import embed
    from trainer.stages.index import build_index
    from trainer.stages.prepare import prepare, run_fingerprint
    from trainer.stages.train import train
    from trainer.stages.workspace import Prepared, forget

    log_to_stdout()
    if options.command == "run":
        name = run_fingerprint(config, options.events, options.products)
        if options.force:
            forget(config, layout, name)
        elif (code := _nothing_to_do(config, layout, name)) is not None:
            return code
    run = prepare(config, layout, options.events, options.products)
    stages: dict[str, Callable[[Prepared], object]] = {
        "train": train,
        "evaluate": pipeline.evaluate_run,
        "embed": embed,
        "index": build_index,
        "publish": publishing.publish_run,
    }
    for name in stages if options.command == "run" else [options.command]:
        made = stages[name](run)
        if isinstance(made, publishing.Published) and made.refused:
            return kept_back(layout, made.version.name)
    return 0


def _nothing_to_do(config: Config, layout: Layout, name: str) -> int | None:
    """The exit code of a run whose data and configuration, `name`, have made a version already, which is said; None
    where there is something to do."""
    from trainer.release.retention import current_name
    from trainer.stages.reuse import refused_before, rolled_back, up_to_date

    served = current_name(layout)
    if made := up_to_date(layout, name):
        refreshed = f", {served} is a refresh of it" if served != made else ""
        print(f"up to date: {made} was made from this data and configuration{refreshed} (--force trains again)")
        return 0
    if refused := refused_before(config, layout, name):
        print(f"up to date: {refused} was made from this data and configuration (--force trains again)")
        return kept_back(layout, refused)
    if made := rolled_back(layout, name):
        told = f"{made} was made from this data and configuration, but CURRENT names {served}"
        print(f"{told}: it stays (publish {made}, or --force trains again)")
        return 0
    return None


def run_refresh(options: argparse.Namespace) -> int:
    from trainer.release.locks import working_alone
    from twotower.artifact.layout import Layout

    layout = Layout(options.artifacts)
    with working_alone(layout):
        from trainer.stages.refresh import refresh

        log_to_stdout()
        if not refresh(layout, options.products, options.config, options.set, options.force):
            print("up to date: no product is new, gone or changed (--force makes a version all the same)")
    return 0


def kept_back(layout: Layout, version: str) -> int:
    from trainer.evaluate.gate import force_command

    print(
        f"kept back by the publish gate: {version}. To publish it all the same:\n{force_command(version, layout.root)}"
    )
    return 3
