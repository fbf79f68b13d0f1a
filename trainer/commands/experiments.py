"""The commands `experiment` and `online`."""

from __future__ import annotations

import argparse
import json

from trainer.commands.output import fail


def run_experiment(options: argparse.Namespace) -> int:
    from twotower.artifact.layout import Layout
    from twotower.artifact.pointer import Pointer, pointers_locked, write_experiment_pointers
    from twotower.artifact.version import describe, open_version
    from twotower.experiments import read_experiments

    layout, names = Layout(options.artifacts), read_experiments(options.file).versions()
    with pointers_locked(layout):
        versions = [open_version(layout, name) for name in names]
        write_experiment_pointers(layout, [Pointer(one.name, describe(one.layout.manifest).sha256) for one in versions])
    print(f"{layout.experiments}: {', '.join(names) or 'no version'}")
    return 0


def run_online(options: argparse.Namespace) -> int:
    from trainer.online.page import write_page
    from trainer.online.summary import summarise
    from trainer.online.wording import lines
    from twotower.experiments import Experiments, read_experiments

    if options.planned_lists < 1:
        return fail(f"--planned-lists {options.planned_lists}: must be at least 1", 2)
    experiments = read_experiments(options.experiments) if options.experiments else Experiments()
    found = summarise(options.log, experiments, options.planned_lists)
    if options.out:
        write_page(options.out, found)
    if options.json:
        print(json.dumps(found, ensure_ascii=False))
        return 0
    for line in lines(found):
        print(line)
    return 0
