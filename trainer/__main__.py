"""Command line of the trainer: `python -m trainer COMMAND --help`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from twotower.errors import TwoTowerError

if TYPE_CHECKING:
    from trainer.config.schema import Config
    from twotower.artifact.layout import Layout

_EXAMPLES = """\
examples:
  python -m trainer run --events data/events.csv --products data/products.csv --artifacts artifacts \\
      --config trainer/config/offline.yaml
  python -m trainer recommend --artifacts artifacts --events data/events.csv --k 10 --out recommendations.csv
  python -m trainer refresh --artifacts artifacts --products data/products.csv
  python -m trainer publish 20260101T120000Z-0a1b2c3d --artifacts artifacts

The stages of `run` are commands of their own (train, evaluate, embed, index, publish); each takes the same options
and finds what the stages before it left by the contents of the files and the configuration. A stage that was
interrupted goes on from its last checkpoint.

exit codes: 0 done; 1 the machine failed (disk, memory); 2 the input, the configuration or the command is wrong;
3 the publish gate kept the new version back: it clearly loses to popularity, item-kNN or the served version, CURRENT
stays as it was, and `publish VERSION --force` publishes it all the same.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; errors are one line on standard error."""
    # read when torch is imported: threads that spin while they wait slow down whatever shares the cores
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    options = _parser().parse_args(arguments)
    try:
        result: int = options.run(options)
        return result
    except TwoTowerError as error:
        return _fail(str(error), 2)
    except ValueError as error:
        return _fail(str(error), 2)
    except OSError as error:
        return _fail(f"{error.strerror or error} ({error.filename or _place(options)})", 1)
    except MemoryError:
        return _fail("out of memory", 1)
    except KeyboardInterrupt:
        return _fail("interrupted; the same command goes on from the last checkpoint", 130)
    except Exception as error:  # a full disk alone comes as a dozen classes: SQLite's, FAISS's, safetensors'
        if options.traceback:
            raise
        reason = str(error).strip().split("\n", 1)[0]
        hint = f"working in {_place(options)}; `python -m trainer --traceback {options.command} ...` shows where"
        return _fail(f"{type(error).__name__}: {reason} ({hint})", 1)


def _place(options: argparse.Namespace) -> Path:
    """The folder that a command writes to."""
    folder: Path = getattr(options, "artifacts", None) or options.out
    return folder


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainer",
        description="Trains the two towers on a shop's events and products and publishes versioned artifacts.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--traceback", action="store_true", help="show where an unexpected error came from")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, help_text in (
        ("run", "all stages: read, train, evaluate, embed, index, publish"),
        ("train", "read and check the data, train both towers"),
        ("evaluate", "rank the held-out events with the trained model and the baselines"),
        ("embed", "export the towers and encode the whole catalogue"),
        ("index", "build the search index"),
    ):
        stage = commands.add_parser(name, help=help_text, description=help_text)
        _add_data(stage, required=True)
        stage.set_defaults(run=_stage)
        if name == "run":
            stage.add_argument(
                "--force", action="store_true", help="train and publish again even if nothing has changed"
            )
    _add_refresh(commands)
    publish = commands.add_parser("publish", help="publish what the stages made, or roll back or forward to VERSION")
    publish.add_argument("version", nargs="?", default="", metavar="VERSION", help="a version that exists already")
    publish.add_argument("--list", action="store_true", help="list the versions and stop")
    publish.add_argument("--force", action="store_true", help="publish VERSION although the gate kept it back")
    _add_data(publish, required=False)
    publish.set_defaults(run=_publish)
    report = commands.add_parser("report", help="print where a version's report.html is, checked against its manifest")
    report.add_argument("version", nargs="?", default="", metavar="VERSION", help="default: the published one")
    report.add_argument("--artifacts", type=Path, required=True, metavar="DIR", help="artifact folder")
    report.set_defaults(run=_report)
    _add_encoder(commands)
    _add_recommend(commands)
    return parser


def _add_refresh(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    told = "publish the served model with today's products: new and gone ones, texts, prices, stock; trains nothing"
    refresh = commands.add_parser("refresh", help=told, description=told)
    refresh.add_argument("--products", nargs="+", required=True, metavar="PATH", help="as for run")
    refresh.add_argument("--artifacts", type=Path, required=True, metavar="DIR", help="artifact folder")
    refresh.add_argument("--force", action="store_true", help="make a version even if nothing has changed")
    _add_config(refresh)
    refresh.set_defaults(run=_refresh)


def _add_encoder(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    encoder = commands.add_parser("encoder", help="train the catalogue text encoder alone")
    encoder.add_argument(
        "--products", nargs="+", required=True, metavar="PATH", help="CSV, CSV.gz or Parquet, or globs"
    )
    encoder.add_argument("--out", type=Path, required=True, metavar="DIR", help="sentence-transformers folder to write")
    _add_config(encoder)
    encoder.set_defaults(run=_encoder)


def _add_recommend(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    recommend = commands.add_parser("recommend", help="write the top k products of every buyer in a history file")
    recommend.add_argument("--artifacts", type=Path, required=True, metavar="DIR")
    recommend.add_argument("--events", nargs="+", required=True, metavar="PATH", help="the buyers' histories")
    recommend.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .csv or .parquet file")
    recommend.add_argument("--k", type=int, default=10, help="products for each buyer, 1 to 1000 (default 10)")
    recommend.add_argument(
        "--diversity", type=float, default=0.0, help="how unlike one another, 0 to 1 (default 0: best first)"
    )
    recommend.add_argument("--version", default="", help="default: the published one")
    recommend.add_argument("--threads", type=int, default=0, help="at most 8 for each core (default: one)")
    seen = recommend.add_mutually_exclusive_group()
    seen.add_argument(
        "--exclude-seen",
        dest="exclude",
        action="store_true",
        default=True,
        help="leave out products of the history (default)",
    )
    seen.add_argument("--keep-seen", dest="exclude", action="store_false", help="allow products of the history")
    recommend.set_defaults(run=_recommend)


def _add_data(parser: argparse.ArgumentParser, required: bool) -> None:
    parser.add_argument(
        "--events",
        nargs="+",
        required=required,
        default=[],
        metavar="PATH",
        help="CSV, CSV.gz or Parquet files, or globs",
    )
    parser.add_argument(
        "--products", nargs="+", required=required, default=[], metavar="PATH", help="the same for products"
    )
    parser.add_argument("--artifacts", type=Path, required=True, metavar="DIR", help="artifact folder")
    _add_config(parser)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="laid over trainer/config/config.yaml; may be repeated",
    )
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="single settings, e.g. training.max_epochs=5",
    )


def _stage(options: argparse.Namespace) -> int:
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

    say = _timed_say()
    if options.command == "run":
        name = run_fingerprint(config, options.events, options.products)
        if options.force:
            forget(config, layout, name)
        elif (code := _nothing_to_do(config, layout, name)) is not None:
            return code
    run = prepare(config, layout, options.events, options.products, say)
    stages: dict[str, Callable[[Prepared, Callable[[str], None]], object]] = {
        "train": train,
        "evaluate": pipeline.evaluate_run,
        "embed": embed,
        "index": build_index,
        "publish": publishing.publish_run,
    }
    for name in stages if options.command == "run" else [options.command]:
        made = stages[name](run, say)
        if isinstance(made, publishing.Published) and made.refused:
            return _kept_back(layout, made.version.name)
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
        return _kept_back(layout, refused)
    if made := rolled_back(layout, name):
        told = f"{made} was made from this data and configuration, but CURRENT names {served}"
        print(f"{told}: it stays (publish {made}, or --force trains again)")
        return 0
    return None


def _refresh(options: argparse.Namespace) -> int:
    from trainer.release.locks import working_alone
    from twotower.artifact.layout import Layout

    layout = Layout(options.artifacts)
    with working_alone(layout):
        from trainer.stages.refresh import refresh

        if not refresh(layout, options.products, options.config, options.set, _timed_say(), options.force):
            print("up to date: no product is new, gone or changed (--force makes a version all the same)")
    return 0


def _kept_back(layout: Layout, version: str) -> int:
    from trainer.evaluate.gate import force_line

    print(f"kept back by the publish gate: {version}. To publish it all the same:\n{force_line(version, layout.root)}")
    return 3


def _publish(options: argparse.Namespace) -> int:
    from twotower.artifact.layout import Layout
    from twotower.artifact.retention import list_versions
    from twotower.artifact.store import publish
    from twotower.artifact.version import open_version

    layout = Layout(options.artifacts)
    given = [f"--{name}" for name in ("events", "products", "config", "set") if getattr(options, name)]
    if given and (options.list or options.version):
        what = "--list" if options.list else "VERSION"
        return _fail(f"publish {what} makes nothing: leave out {', '.join(given)}", 2)
    if options.list:
        for name in list_versions(layout):
            print(f"{name} {_mark(layout, name)}".rstrip())
        return 0
    if options.version:
        manifest = open_version(layout, options.version).manifest
        if manifest.gate == "refused" and not options.force:
            reasons = "; ".join(note for note in manifest.notes if note.startswith("gate: "))
            print(f"error: {options.version} was kept back ({reasons})", file=sys.stderr)
            return _kept_back(layout, options.version)
        publish(layout, options.version)
        print(f"published {options.version}")
        return 0
    if options.force:
        return _fail("publish --force needs a VERSION: one that the gate kept back", 2)
    if not options.events or not options.products:
        return _fail("publish needs a VERSION, or --events and --products to find what the stages made", 2)
    return _stage(options)


def _mark(layout: Layout, name: str) -> str:
    """What `publish --list` says of a version beside its name."""
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


def _report(options: argparse.Namespace) -> int:
    from twotower.artifact.layout import Layout
    from twotower.artifact.pointer import read_pointer
    from twotower.artifact.version import open_version

    layout = Layout(options.artifacts)
    pointer = None if options.version else read_pointer(layout.current)
    name = pointer.version if pointer else options.version
    if not name:
        return _fail(f"nothing is published in {layout.root}: name a VERSION", 2)
    version = open_version(layout, name)
    version.check(version.layout.report)
    print(version.layout.report)
    return 0


def _encoder(options: argparse.Namespace) -> int:
    import tempfile

    from trainer.config.loading import load_config

    config = load_config(options.config, options.set)
    from trainer.data.catalogue import load_products
    from trainer.text.encoders import save_encoder
    from trainer.text.ngram_training import train_catalogue_encoder
    from twotower.text.normalise import Normaliser

    with tempfile.TemporaryDirectory() as scratch:
        products, _ = load_products(options.products, config.data, Path(scratch))
    profile = "full" if config.encoder.normaliser == "auto" else config.encoder.normaliser
    print(f"training the catalogue encoder on {len(products):,} product texts")
    save_encoder(
        train_catalogue_encoder(products, config.encoder.catalogue, Normaliser.profile(profile), config.seed),
        options.out,
    )
    print(f"saved; use it with --set encoder.name={options.out}, or SentenceTransformer({str(options.out)!r})")
    return 0


def _recommend(options: argparse.Namespace) -> int:
    if not 1 <= options.k <= 1000:
        return _fail(f"--k {options.k}: must be 1 to 1000", 2)
    if not 0 <= options.diversity <= 1:
        return _fail(f"--diversity {options.diversity}: must be 0 to 1", 2)
    from trainer.config.base import usable_threads

    threads = usable_threads(options.threads, "--threads")
    from trainer.stages.recommend import Wanted, recommend
    from twotower.artifact.layout import Layout

    written = recommend(
        Layout(options.artifacts), options.version, options.events,
        Wanted(options.k, options.exclude, options.diversity), options.out, threads, _timed_say(),
    )  # fmt: skip
    print(f"{options.out}: {written.rows:,} rows for {written.buyers:,} buyers, version {written.version}")
    return 0


def _timed_say() -> Callable[[str], None]:
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"[{time.monotonic() - started:6.1f} s] {line}", flush=True)

    return say


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
