"""The command `schedule`."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from trainer.commands.files import config_files
from twotower.artifact.layout import Layout
from twotower.errors import SettingsError

if TYPE_CHECKING:
    from trainer.schedule.scheduler import Job

log = logging.getLogger("trainer.schedule")


def run_schedule(options: argparse.Namespace) -> int:
    """Runs refreshes and trainings until SIGTERM or SIGINT."""
    from trainer.config.loading import load_config
    from trainer.data.changes import find_products
    from trainer.data.event_log.sources import count_logged, find_events
    from trainer.schedule.changes import ChangeCounter, no_changes
    from trainer.schedule.scheduler import Scheduler
    from trainer.schedule.state import ScheduleState
    from trainer.schedule.triggers import EveryChanges, EveryEvents
    from trainer.schedule.web import serve
    from twotower.artifact.pointer import read_pointer

    # a wrong setting or path fails now, and not at night
    load_config(config_files(options), options.set)
    logs = find_events(options.events).logs
    changes = find_products(options.products).changes
    jobs, zone = _jobs(options), _zone(options.zone)
    counts_events = any(isinstance(one, EveryEvents) for job in jobs for one in job.triggers)
    if counts_events and not logs:
        raise SettingsError("every N events counts those of an event log: give one as --events log:PATH")
    if any(isinstance(one, EveryChanges) for job in jobs for one in job.triggers) and changes is None:
        raise SettingsError("every N changes counts those of products in a log: give one as --products log:PATH")
    layout, stop = Layout(options.artifacts), Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    _log_with_time()
    scheduler = Scheduler(
        jobs,
        ScheduleState(layout.work / "schedule.json"),
        (lambda: count_logged(logs)) if counts_events else (lambda: 0),
        zone,
        # a shop without a version cannot wait for the night
        at_once=frozenset() if read_pointer(layout.current) else frozenset({"train"}),
        count_changes=ChangeCounter(changes, layout).count if changes else no_changes,
    )
    port = serve(options.host, options.port, scheduler.health)
    log.info(f"scheduling {', '.join(job.name for job in jobs)}; /readyz and /metrics on port {port}")
    scheduler.run(stop)
    log.info("stopped")
    return 0


def _jobs(options: argparse.Namespace) -> list[Job]:
    """The jobs with a trigger; a refresh goes before a training, which takes longer."""
    from trainer.schedule.scheduler import Job
    from trainer.schedule.triggers import EveryEvents, read_trigger

    files = ["--products", *options.products, "--artifacts", str(options.artifacts)]
    files += ["--format", options.format] if options.format else []
    files += [part for path in options.config for part in ("--config", str(path))]
    files += ["--set", *options.set] if options.set else []
    training = ["run", "--events", *options.events, *files]
    commands = {"refresh": ["refresh", *files], "scratch": training, "train": [*training, "--warm"]}
    jobs = []
    for name, command in commands.items():
        if triggers := [read_trigger(one) for one in getattr(options, name)]:
            if name == "refresh" and any(isinstance(one, EveryEvents) for one in triggers):
                raise SettingsError("--refresh takes times and changes: it reads the products, and no events")
            jobs.append(Job(name, [sys.executable, "-m", "trainer", *command], triggers))
    if not jobs:
        raise SettingsError("nothing to do: give at least one of --train, --scratch and --refresh")
    return jobs


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise SettingsError(f"--zone {name!r}: no such time zone") from None


class _Timed(logging.Formatter):
    """Formats a record as `2026-01-31T03:00:00Z message`, an error as `... error: message`."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        level = f"{record.levelname.lower()}: " if record.levelno > logging.INFO else ""
        return f"{at} {level}{record.getMessage()}"


def _log_with_time() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_Timed())
    logger = logging.getLogger("trainer")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
