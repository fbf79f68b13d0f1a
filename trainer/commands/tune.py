"""The command `tune`."""

from __future__ import annotations

import argparse
import math

from trainer.commands.files import config_files
from trainer.commands.output import fail, log_to_stdout


def run_tune(options: argparse.Namespace) -> int:
    if not (options.minutes > 0 and math.isfinite(options.minutes)):
        return fail(f"--minutes {options.minutes:g}: must be a number above 0", 2)
    if options.trials < 0:
        return fail(f"--trials {options.trials}: must be 0 (no limit) or more", 2)
    if not options.out.absolute().parent.is_dir():
        return fail(f"--out {options.out}: there is no folder {options.out.absolute().parent}", 2)
    if options.out.resolve() in {path.resolve() for path in options.config}:
        return fail(f"--out {options.out} is one of --config: the settings in it would be lost", 2)
    from trainer.config.loading import load_config

    config = load_config(config_files(options), options.set)
    from trainer.release.locks import alone_in_cache, work_folder, working_alone
    from trainer.release.retention import keep_newest
    from trainer.stages.prepare import prepare
    from trainer.tune.deadline import Deadline
    from trainer.tune.overlay import to_yaml
    from trainer.tune.search import Search
    from twotower.artifact.fsync import write_atomically
    from twotower.artifact.layout import Layout

    deadline, layout = Deadline.after(options.minutes), Layout(options.artifacts)
    with working_alone(layout), alone_in_cache(config, layout):
        log_to_stdout()
        run = prepare(config, layout, options.events, options.products)
        outcome = Search(run, deadline, options.trials).search()
        with write_atomically(options.out) as temporary:
            temporary.write_text(to_yaml(outcome), encoding="utf-8")
        keep_newest(work_folder(config, layout) / "tune", config.publish.keep_versions)
    changed = sum(len(stage.settings) for stage in outcome.stages)
    print(
        f"{options.out}: {changed} settings changed, validation {outcome.metric} {outcome.after:.4f}, "
        f"{outcome.before:.4f} with the configuration"
    )
    return 0
