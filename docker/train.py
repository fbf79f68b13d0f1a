"""Entry point of the trainer's container: a command of `python -m trainer`, with the container's paths filled in.

Without a command it is `run`. It reads the files of the host that EVENTS and PRODUCTS name, mounted below /input.
If neither is set, it trains on the synthetic demo market, unless a version of other data is published. `refresh` reads
only PRODUCTS, with the settings of the served version. `recommend` reads only EVENTS and writes recommendations.csv
into the artifact folder, unless --out names another file. `tune` reads both and writes tuned.yaml there. If WITH_LOG is
true, whatever reads EVENTS reads the event log, too. `schedule` reads both, and the times of SCHEDULE.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from demo.market.__main__ import main as make_market
from trainer.__main__ import main as trainer
from twotower.artifact.layout import Layout
from twotower.artifact.pointer import read_pointer
from twotower.errors import TwoTowerError

STAGES = ("run", "train", "evaluate", "embed", "index")
# the trainer's exit code if its publish gate kept a version back, and another one is served
KEPT_BACK = 3
INPUT, LINKS, DEMO = Path("/input"), Path("/tmp/input"), Path("/tmp/demo-market")
# laid over the default configuration; TRAINER_ARGS and the command line come later and win
CONFIG, DEMO_CONFIG = Path("/app/trainer/config/offline.yaml"), Path("/app/trainer/config/demo.yaml")


class UsageError(Exception):
    """EVENTS or PRODUCTS cannot be used; the message says what to do."""


def main(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """Runs the command and returns the trainer's exit code; 2 if EVENTS or PRODUCTS cannot be used."""
    layout = Layout(Path(environ["TWOTOWER_ARTIFACTS"]))
    named = bool(words) and not words[0].startswith("-")
    command, rest = (words[0], list(words[1:])) if named else ("run", list(words))
    # first, because help needs no files
    if {"-h", "--help"} & set(words):
        print(__doc__, flush=True)
        return trainer(list(words))
    artifacts = ["--artifacts", str(layout.root)]
    try:
        if command in ("publish", "report"):
            return trainer([command, *artifacts, *rest])
        if command == "refresh":
            products = host_file("products", environ.get("PRODUCTS", ""), "set it to today's products")
            return trainer([command, "--products", products, *artifacts, *rest])
        if command == "recommend":
            events = host_file("events", environ.get("EVENTS", ""), "set it to the buyers' histories")
            # only this folder outlives the container
            out = ["--out", str(layout.root / "recommendations.csv")]
            return trainer([command, "--events", events, *logs_of(layout, environ), *out, *artifacts, *rest])
        if command == "schedule":
            # the files may be written anew each day: what was named is looked up again by each run
            hint = "set both EVENTS and PRODUCTS"
            files = {name: host_file(name, environ.get(name.upper(), ""), hint) for name in ("events", "products")}
            options = ["--config", str(CONFIG), *shlex.split(environ.get("TRAINER_ARGS", ""))]
            options += [*shlex.split(environ.get("SCHEDULE", "")), *rest]
            return run_stage(layout, command, options, files, logs_of(layout, environ))
        if command not in (*STAGES, "tune"):
            return trainer(list(words))
        options = ["--config", str(CONFIG), *shlex.split(environ.get("TRAINER_ARGS", "")), *rest]
        if command == "tune":
            hint = "set both EVENTS and PRODUCTS"
            files = {name: host_file(name, environ.get(name.upper(), ""), hint) for name in ("events", "products")}
            out = ["--out", str(layout.root / "tuned.yaml")]
            return run_stage(layout, command, [*out, *options], files, logs_of(layout, environ))
        given = {name: environ.get(name.upper(), "") for name in ("events", "products")}
        if not any(given.values()):
            return train_on_demo_market(layout, command, options, environ.get("DEMO_ARGS", ""), requested=bool(words))
        files = {name: host_file(name, path) for name, path in given.items()}
        code = run_stage(layout, command, options, files, logs_of(layout, environ))
        return exit_code(code, requested=bool(words))
    except (TwoTowerError, UsageError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def exit_code(code: int, *, requested: bool) -> int:
    """The container's exit code. A version that was kept back fails only a command that the user gave.

    For `docker compose up` it is no failure: the services start on the version in CURRENT.
    """
    return 0 if code == KEPT_BACK and not requested else code


def logs_of(layout: Layout, environ: Mapping[str, str]) -> list[str]:
    """The event log as `--events` takes it, if WITH_LOG says so. Raises UsageError for another value."""
    value = environ.get("WITH_LOG", "")
    if value not in ("", "true", "false"):
        raise UsageError(f"WITH_LOG={value}: must be true or false")
    return [f"log:{layout.log}"] if value == "true" else []


def run_stage(
    layout: Layout, command: str, options: Sequence[str], files: Mapping[str, str], logs: Sequence[str] = ()
) -> int:
    """Runs one stage of the trainer, or all of them, on these files and logs."""
    paths = ["--events", files["events"], *logs, "--products", files["products"], "--artifacts", str(layout.root)]
    return trainer([command, *paths, *options])


def host_file(name: str, path: str, hint: str = "set both EVENTS and PRODUCTS, or neither for the demo market") -> str:
    """The path in the container of the host's file or folder `path`. A file keeps its name: the ending is its format.

    Raises UsageError if the variable is not set or the file cannot be read.
    """
    mounted = INPUT / name
    if not path:
        raise UsageError(f"{name.upper()} is not set: {hint}")
    if not os.access(mounted, os.R_OK):
        raise UsageError(f"{name.upper()}={path} cannot be read by user {os.getuid()}: try chmod a+r on it")
    if mounted.is_dir():
        return f"{mounted}/*"
    link = LINKS / name / Path(path).name
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(mounted)
    return str(link)


def train_on_demo_market(layout: Layout, command: str, options: Sequence[str], size: str, *, requested: bool) -> int:
    """Runs one stage, or all, on the demo market of this size. Never replaces a version of other data."""
    record = layout.work / "demo-versions"
    known = record.read_text(encoding="utf-8").split() if record.is_file() else []
    current = read_pointer(layout.current)
    if current is not None and current.version not in known:
        print(f"the published version {current.version} is not of the demo market: it stays published")
        print("to train on your files: EVENTS=events.csv PRODUCTS=products.csv docker compose run --rm trainer")
        return 2 if requested else 0
    # the same size gives the same files: to write them again takes seconds and causes no new training
    if code := make_market(["--out", str(DEMO), *shlex.split(size)]):
        return code
    files = {name: str(DEMO / f"{name}.csv") for name in ("events", "products")}
    print("training on the synthetic demo market", flush=True)
    code = run_stage(layout, command, ["--config", str(DEMO_CONFIG), *options], files)
    published = read_pointer(layout.current)
    if code == 0 and published is not None and published.version not in known:
        record.write_text("".join(f"{name}\n" for name in [*known, published.version]), encoding="utf-8")
    return exit_code(code, requested=requested)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
