"""`python -m twotower.storage push|pull URL`: uploads what an artifact folder names, or downloads what a URL names.

An S3 server other than AWS's is AWS_ENDPOINT_URL. Credentials come from where AWS's own tools look: AWS_ACCESS_KEY_ID
and AWS_SECRET_ACCESS_KEY, a profile, or the role of the machine or pod.

exit codes: 0 done; 1 the storage or the disk failed; 2 a wrong setting, or nothing is published; 3 a damaged file.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from twotower.artifact.layout import Layout
from twotower.errors import CorruptArtifact, NotFound, SettingsError, TwoTowerError
from twotower.serving.telemetry import configure_logging
from twotower.storage.pull import Puller
from twotower.storage.push import push
from twotower.storage.remote import Remote

log = logging.getLogger("twotower.storage")


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    configure_logging("storage")
    # their notes on where credentials and addresses came from are of no use to a reader of this log
    for library in ("aiobotocore", "botocore"):
        logging.getLogger(library).setLevel(logging.WARNING)
    # process 1 of a container ignores a signal that it does not handle; work may be interrupted at any moment
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0 if options.follow else 1))
    try:
        work = _work(options)
        if options.follow:
            follow(work, options.follow)
        elif not work():
            log.info("up to date")
    except TwoTowerError as error:
        log.error(str(error))
        return _exit_code(error)
    except OSError as error:
        log.error(f"{error.strerror or error} ({error.filename or options.artifacts})")
        return 1
    return 0


def follow(work: Callable[[], bool], seconds: float) -> NoReturn:
    """Works every `seconds` until the process ends. A failure is logged, the same one once, and tried again."""
    problem = ""
    while True:
        before, problem = problem, ""
        try:
            work()
        except (TwoTowerError, OSError) as error:
            problem = str(error)
            if problem != before:
                log.error(f"trying again every {seconds:g} s: {problem}")
        if before and not problem:
            log.info("works again")
        time.sleep(seconds)


def _work(options: argparse.Namespace) -> Callable[[], bool]:
    layout, remote = Layout(options.artifacts), Remote(options.url)
    if options.command == "push":
        return lambda: push(layout, remote)
    return Puller(layout, remote, private=options.private).pull


def _exit_code(error: TwoTowerError) -> int:
    if isinstance(error, SettingsError | NotFound):
        return 2
    return 3 if isinstance(error, CorruptArtifact) else 1


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"{text}: must be above 0 and at most 86400")
    return seconds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m twotower.storage", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    push_ = commands.add_parser("push", help="upload the versions that CURRENT, PREVIOUS and EXPERIMENTS name")
    pull = commands.add_parser("pull", help="download the versions that the URL names, CURRENT last")
    pull.add_argument("--private", action="store_true", help="download buyers' recent interactions, too, for `warm`")
    for command in (push_, pull):
        command.add_argument("url", metavar="URL", help="s3://bucket/prefix, or file:///folder")
        command.add_argument(
            "--artifacts", type=Path, default=os.environ.get("TWOTOWER_ARTIFACTS", "artifacts"), metavar="DIR"
        )
        command.add_argument("--follow", type=_seconds, metavar="SECONDS", help="stay, and look again this often")
    return parser


if __name__ == "__main__":
    sys.exit(main())
