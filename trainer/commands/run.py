"""The commands `run`, `refresh` and the single stages."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from trainer.commands.files import assignments, config_files
from trainer.commands.output import log_to_stdout
from trainer.native_memory import freeze_imports, limit_caches, release

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from trainer.config.schema import Config
    from twotower.artifact.layout import Layout


def run_stage(options: argparse.Namespace) -> int:
    """Runs all stages, or the one that the command names."""
    limit_caches()
    # torch takes seconds to import: wrong options are reported before that
    from trainer.config.loading import load_config

    config = load_config(config_files(options), assignments(options))
    from trainer.release.locks import alone_in_cache, working_alone
    from twotower.artifact.layout import Layout

    layout = Layout(options.artifacts)
    with working_alone(layout), alone_in_cache(config, layout):
        return _run_stages(options, config, layout)


def _run_stages(options: argparse.Namespace, config: Config, layout: Layout) -> int:
    from trainer.stages.embed import embed
    from trainer.stages.evaluate import evaluate_run
    from trainer.stages.index import build_index
    from trainer.stages.prepare import prepare, run_fingerprint
    from trainer.stages.publish import Published, publish_run
    from trainer.stages.train import train
    from trainer.stages.workspace import Run, forget

    freeze_imports()
    log_to_stdout()
    scratch_reason = ""
    if options.command == "run":
        if options.warm:
            found = _run_warm(options, config, layout)
            if isinstance(found, int):
                return found
            scratch_reason = found
            log.info(f"training from scratch: {scratch_reason}")
        fingerprint = run_fingerprint(config, options.events, options.products)
        if options.force:
            forget(config, layout, fingerprint)
        elif (code := _nothing_to_do(config, layout, fingerprint)) is not None:
            return code
    run = prepare(config, layout, options.events, options.products, scratch_reason=scratch_reason)
    release()
    stages: dict[str, Callable[[Run], object]] = {
        "train": train,
        "evaluate": evaluate_run,
        "embed": embed,
        "index": build_index,
        "publish": publish_run,
    }
    for name in stages if options.command == "run" else [options.command]:
        result = stages[name](run)
        release()
        if isinstance(result, Published) and result.refused:
            return kept_back(layout, result.version.name)
    return 0


def _run_warm(options: argparse.Namespace, config: Config, layout: Layout) -> int | str:
    """The exit code of a warm training, or why a training from scratch is needed."""
    from trainer.errors import NothingNew, NoWarmStart
    from trainer.stages.embed import embed
    from trainer.stages.evaluate import evaluate_run
    from trainer.stages.gate import judge_evaluated
    from trainer.stages.index import build_index
    from trainer.stages.prepare import prepare
    from trainer.stages.publish import publish_run
    from trainer.stages.train import train
    from trainer.stages.warm import read_warm_start

    try:
        warm = read_warm_start(layout, config)
        run = prepare(config, layout, options.events, options.products, warm)
    except NothingNew as error:
        print(f"up to date: {error}")
        return 0
    except NoWarmStart as error:
        return f"no warm start: {error}"
    train(run)
    evaluate_run(run)
    verdict = judge_evaluated(run)
    if verdict.refused:
        return f"the gate refuses the warm training from {warm.version.name}: {'; '.join(verdict.reasons)}"
    release()
    embed(run)
    build_index(run)
    published = publish_run(run)
    return kept_back(layout, published.version.name) if published.refused else 0


def _nothing_to_do(config: Config, layout: Layout, fingerprint: str) -> int | None:
    """The exit code, after a message, if a version with this fingerprint exists already; None if a run is needed."""
    from trainer.release.retention import current_name
    from trainer.stages.reuse import refused_before, rolled_back, up_to_date

    served = current_name(layout)
    if name := up_to_date(layout, fingerprint):
        refreshed = f", {served} is a refresh of it" if served != name else ""
        print(f"up to date: {name} was trained on this data and configuration{refreshed} (--force trains again)")
        return 0
    if name := refused_before(config, layout, fingerprint):
        print(f"up to date: {name} was trained on this data and configuration (--force trains again)")
        return kept_back(layout, name)
    if name := rolled_back(layout, fingerprint):
        print(
            f"{name} was trained on this data and configuration, but CURRENT names {served}, which stays: "
            f"publish {name}, or --force trains again"
        )
        return 0
    return None


def run_refresh(options: argparse.Namespace) -> int:
    """Publishes the served model with today's products."""
    from trainer.release.locks import working_alone
    from twotower.artifact.layout import Layout

    layout = Layout(options.artifacts)
    with working_alone(layout):
        from trainer.stages.refresh import refresh

        log_to_stdout()
        if not refresh(
            layout, options.products, config_files(options), assignments(options), options.force, options.events
        ):
            print("up to date: no product is new, gone or changed (--force writes a version anyway)")
    return 0


def kept_back(layout: Layout, version: str) -> int:
    """Prints how to publish a version that the gate refused; returns the exit code."""
    from trainer.evaluate.gate import force_command

    print(f"kept back by the publish gate: {version}. To publish it anyway:\n{force_command(version, layout.root)}")
    return 3
