"""The commands `publish` and `report`."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from trainer.commands.output import fail
from trainer.commands.run import kept_back, run_stage

if TYPE_CHECKING:
    from twotower.artifact.layout import Layout
    from twotower.artifact.version import Version


def run_publish(options: argparse.Namespace) -> int:
    from twotower.artifact.layout import Layout
    from twotower.artifact.retention import list_versions

    layout = Layout(options.artifacts)
    given = [f"--{name}" for name in ("events", "products", "config", "set") if getattr(options, name)]
    if given and (options.list or options.version):
        what = "--list" if options.list else "VERSION"
        return fail(f"publish {what} reads no data and no settings: omit {', '.join(given)}", 2)
    if options.list:
        for name in list_versions(layout):
            print(f"{name} {_mark(layout, name)}".rstrip())
        return 0
    if options.version:
        return _publish_existing(layout, options.version, options.force)
    if options.force:
        return fail("publish --force needs a VERSION that the gate kept back", 2)
    if not options.events or not options.products:
        return fail("publish needs a VERSION, or --events and --products to find the result of the stages", 2)
    return run_stage(options)


def _publish_existing(layout: Layout, name: str, force: bool) -> int:
    from twotower.artifact.version import open_version
    from twotower.search.milvus_address import MilvusAddress
    from twotower.search.milvus_release import publish_version

    manifest = open_version(layout, name).manifest
    if manifest.gate == "refused" and not force:
        reasons = "; ".join(note for note in manifest.notes if note.startswith("gate: "))
        print(f"error: {name} was kept back ({reasons})", file=sys.stderr)
        return kept_back(layout, name)
    publish_version(layout, name, MilvusAddress.from_environment())
    print(f"published {name}")
    return 0


def _mark(layout: Layout, name: str) -> str:
    """What `publish --list` shows after a version's name."""
    from twotower.artifact.pointer import read_pointer
    from twotower.artifact.version import open_version
    from twotower.errors import CorruptArtifact

    for path in (layout.current, layout.previous):
        if (pointer := read_pointer(path)) and pointer.version == name:
            return path.name
    try:
        return "kept back by the gate" if open_version(layout, name).manifest.gate == "refused" else ""
    except CorruptArtifact:
        return "damaged"


def run_report(options: argparse.Namespace) -> int:
    from twotower.artifact.layout import Layout
    from twotower.artifact.pointer import read_pointer
    from twotower.artifact.version import open_version

    layout = Layout(options.artifacts)
    pointer = None if options.version else read_pointer(layout.current)
    name = pointer.version if pointer else options.version
    if not name:
        return fail(f"{layout.root} has no published version: name a VERSION", 2)
    version = open_version(layout, name)
    if options.log or options.out:
        return _write_with_online(options, version)
    version.check(version.layout.report)
    print(version.layout.report)
    return 0


def _write_with_online(options: argparse.Namespace, version: Version) -> int:
    """Writes the report again with what happened online: the one in the version's folder never changes."""
    from trainer.online.page import section
    from trainer.online.summary import PLANNED_LISTS, summarise
    from trainer.report.page import render
    from twotower.artifact.fsync import write_atomically
    from twotower.experiments import Experiments, read_experiments

    if not options.log or not options.out:
        return fail("report: --log and --out go together", 2)
    experiments = read_experiments(options.experiments) if options.experiments else Experiments()
    online = section(summarise(options.log, experiments, PLANNED_LISTS))
    with write_atomically(options.out) as temporary:
        temporary.write_text(render(version.layout, version.manifest, online), encoding="utf-8")
    print(options.out)
    return 0
