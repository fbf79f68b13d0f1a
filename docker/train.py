"""Entry point of the trainer's container: a command of `python -m trainer`, with the container's paths filled in.

Without a command it is `run`. It reads the files that EVENTS and PRODUCTS name on the host, mounted below /input; where
neither is set it makes the synthetic demo market and reads that, unless something else has been published already.
`refresh` reads PRODUCTS alone, with the settings that the served version was trained with. `recommend` reads EVENTS
alone and writes recommendations.csv into the artifact folder, unless --out says where.
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
# the trainer's exit code where its publish gate kept a version back, so that another one is served
KEPT_BACK = 3
INPUT, LINKS, DEMO = Path("/input"), Path("/tmp/input"), Path("/tmp/demo-market")
# laid over trainer/config/config.yaml before TRAINER_ARGS and the command line, whose settings win
CONFIG, DEMO_CONFIG = Path("/app/trainer/config/offline.yaml"), Path("/app/trainer/config/demo.yaml")


class UsageError(Exception):
    """What the user gave cannot be used; the message says what to do."""


def main(words: Sequence[str], environ: Mapping[str, str]) -> int:
    """The trainer's exit code; 2 where EVENTS or PRODUCTS cannot be used."""
    layout = Layout(Path(environ["TWOTOWER_ARTIFACTS"]))
    named = bool(words) and not words[0].startswith("-")
    command, rest = (words[0], list(words[1:])) if named else ("run", list(words))
    # before all else: help needs no files, and a market is not made for it
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
            # the one folder that outlives the container
            out = ["--out", str(layout.root / "recommendations.csv")]
            return trainer([command, "--events", events, *out, *artifacts, *rest])
        if command not in STAGES:
            return trainer(list(words))
        options = ["--config", str(CONFIG), *shlex.split(environ.get("TRAINER_ARGS", "")), *rest]
        given = {name: environ.get(name.upper(), "") for name in ("events", "products")}
        if not any(given.values()):
            return demo(layout, command, options, environ.get("DEMO_ARGS", ""), asked=bool(words))
        code = stage(layout, command, options, {name: host_file(name, path) for name, path in given.items()})
        return goes_on(code, asked=bool(words))
    except (TwoTowerError, UsageError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def goes_on(code: int, *, asked: bool) -> int:
    """0 for a version that was kept back where nobody asked for it: `up` starts the services on the one in CURRENT."""
    return 0 if code == KEPT_BACK and not asked else code


def stage(layout: Layout, command: str, options: Sequence[str], files: Mapping[str, str]) -> int:
    """One stage of the trainer, or all of them, on these files."""
    paths = ["--events", files["events"], "--products", files["products"], "--artifacts", str(layout.root)]
    return trainer([command, *paths, *options])


def host_file(name: str, path: str, hint: str = "set both EVENTS and PRODUCTS, or neither for the demo market") -> str:
    """Where the host's file or folder `path` can be read here, under its own name: the ending tells the format."""
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


def demo(layout: Layout, command: str, options: Sequence[str], size: str, *, asked: bool) -> int:
    """The demo market of this size; a version from other data is never replaced by one from it."""
    made_here = layout.work / "demo-versions"
    known = made_here.read_text(encoding="utf-8").split() if made_here.is_file() else []
    current = read_pointer(layout.current)
    if current is not None and current.version not in known:
        print(f"the published version {current.version} is not of the demo market: it stays")
        print("to train on your files: EVENTS=events.csv PRODUCTS=products.csv docker compose run --rm trainer")
        return 2 if asked else 0
    # the same size gives the same files, so making them again costs seconds and trains nothing again
    if code := make_market(["--out", str(DEMO), *shlex.split(size)]):
        return code
    files = {name: str(DEMO / f"{name}.csv") for name in ("events", "products")}
    print("training on the synthetic demo market", flush=True)
    code = stage(layout, command, ["--config", str(DEMO_CONFIG), *options], files)
    published = read_pointer(layout.current)
    if code == 0 and published is not None and published.version not in known:
        made_here.write_text("".join(f"{name}\n" for name in [*known, published.version]), encoding="utf-8")
    return goes_on(code, asked=asked)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
