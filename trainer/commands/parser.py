"""The arguments of every command."""

from __future__ import annotations

import argparse
from pathlib import Path

from trainer.commands.check import run_check
from trainer.commands.experiments import run_experiment, run_online
from trainer.commands.offline import run_encoder, run_recommend
from trainer.commands.publish import run_publish, run_report
from trainer.commands.run import run_refresh, run_stage
from trainer.commands.schedule import run_schedule
from trainer.commands.tune import run_tune

_KINDS = "CSV, JSON, Parquet, Excel or XML"
_EXAMPLES = """\
examples:
  python -m trainer check --events data/events.csv --products data/products.csv
  python -m trainer run --events data/events.csv --products data/products.csv --artifacts artifacts \\
      --config trainer/config/offline.yaml
  python -m trainer recommend --artifacts artifacts --events data/events.csv --k 10 --out recommendations.csv
  python -m trainer refresh --artifacts artifacts --products data/products.csv
  python -m trainer tune --events data/events.csv --products data/products.csv --artifacts artifacts \\
      --config trainer/config/offline.yaml --minutes 30 --out tuned.yaml
  python -m trainer publish 20260101T120000Z-0a1b2c3d --artifacts artifacts

The stages of `run` are commands too (train, evaluate, embed, index, publish). All take the same options, and each
continues the work of the stages before it on the same files and configuration. An interrupted stage resumes at its
last checkpoint.

exit codes: 0 done; 1 the machine failed (disk, memory); 2 the input, the configuration or the command is wrong;
3 the publish gate kept the new version back because it clearly loses to a baseline or the served version:
CURRENT stays as it was, and `publish VERSION --force` publishes the version anyway.
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trainer",
        description="Trains the two towers on a shop's events and products and publishes versioned artifacts.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--traceback", action="store_true", help="show the traceback of an unexpected error")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_check(commands)
    for name, help_text in (
        ("run", "all stages: read, train, evaluate, embed, index, publish"),
        ("train", "read and check the data, train both towers"),
        ("evaluate", "rank the test events with the trained model and the baselines"),
        ("embed", "export the towers and encode the catalogue"),
        ("index", "build the search indexes"),
    ):
        stage = commands.add_parser(name, help=help_text, description=help_text)
        _add_data(stage, required=True)
        _add_ray(stage)
        stage.set_defaults(run=run_stage)
        if name == "run":
            again = stage.add_mutually_exclusive_group()
            again.add_argument(
                "--force", action="store_true", help="train and publish again even if nothing has changed"
            )
            again.add_argument(
                "--warm",
                action="store_true",
                help="begin from the served weights; from scratch only if that cannot be, or the gate refuses it",
            )
    _add_refresh(commands)
    publish = commands.add_parser(
        "publish", help="publish the result of the stages, or roll back or forward to VERSION"
    )
    publish.add_argument("version", nargs="?", default="", metavar="VERSION", help="an existing version")
    publish.add_argument("--list", action="store_true", help="only list the versions")
    publish.add_argument("--force", action="store_true", help="publish VERSION even if the gate kept it back")
    _add_data(publish, required=False)
    publish.set_defaults(run=run_publish, ray="")
    report = commands.add_parser("report", help="check a version's report.html and print its path")
    report.add_argument("version", nargs="?", default="", metavar="VERSION", help="default: the published version")
    report.add_argument("--artifacts", type=Path, required=True, metavar="DIR", help="artifact folder")
    report.add_argument("--log", type=Path, metavar="PATH", help="a recorder's log: adds what happened online")
    report.add_argument("--experiments", type=Path, metavar="FILE", help="with --log: experiments.yaml")
    report.add_argument("--out", type=Path, metavar="FILE", help="with --log: the HTML file to write")
    report.set_defaults(run=run_report)
    _add_schedule(commands)
    _add_experiments(commands)
    _add_tune(commands)
    _add_encoder(commands)
    _add_recommend(commands)
    return parser


def _add_check(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    help_text = "read both files as run does, train nothing, and say what is understood and what is lost"
    check = commands.add_parser("check", help=help_text, description=help_text)
    _add_files(check, required=True)
    check.add_argument("--json", action="store_true", help="print one JSON object")
    _add_config(check)
    check.set_defaults(run=run_check)


def _add_refresh(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    help_text = "publish the served model with today's products (new, gone or changed) without training"
    refresh = commands.add_parser("refresh", help=help_text, description=help_text)
    refresh.add_argument("--products", nargs="+", required=True, metavar="PATH", help="as for run")
    refresh.add_argument(
        "--events", nargs="+", default=[], metavar="PATH", help="as for run; /search learns from their searches"
    )
    refresh.add_argument("--artifacts", type=Path, required=True, metavar="DIR", help="artifact folder")
    refresh.add_argument("--force", action="store_true", help="write a version even if nothing has changed")
    _add_config(refresh)
    _add_ray(refresh)
    refresh.set_defaults(run=run_refresh)


def _add_schedule(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    help_text = "run refreshes and trainings at set times, after so many new events or changed products, until SIGTERM"
    schedule = commands.add_parser("schedule", help=help_text, description=help_text)
    _add_data(schedule, required=True)
    when = 'a time, "03:00" or "Sun 03:00"; may be repeated'
    for name, text in (
        ("train", f'train warm: {when}; or "every N events" of the log, or "every N changes" of products'),
        ("scratch", f'train from scratch: {when}; or "every N events" of the log, or "every N changes" of products'),
        ("refresh", f'publish today\'s products without training: {when}; or "every N changes" of products'),
    ):
        schedule.add_argument(f"--{name}", action="append", default=[], metavar="WHEN", help=text)
    schedule.add_argument("--zone", default="UTC", help="time zone of the times, e.g. Asia/Riyadh (default UTC)")
    schedule.add_argument("--host", default="127.0.0.1", help="address of /healthz, /readyz and /metrics")
    schedule.add_argument("--port", type=int, default=0, help="their port (default 0: a free one, which the log says)")
    schedule.set_defaults(run=run_schedule)


def _add_experiments(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    help_text = "make the services hold the versions that the arms of an experiments file name, and no others"
    experiment = commands.add_parser("experiment", help=help_text, description=help_text)
    experiment.add_argument("file", type=Path, metavar="FILE", help="experiments.yaml, as the gateway reads it")
    experiment.add_argument("--artifacts", type=Path, required=True, metavar="DIR", help="artifact folder")
    experiment.set_defaults(run=run_experiment)
    help_text = "say what the lists of a recorder's log led to, and which arm of an experiment works better"
    online = commands.add_parser("online", help=help_text, description=help_text)
    online.add_argument("--log", type=Path, required=True, metavar="PATH", help="the folder of a recorder's log")
    online.add_argument("--experiments", type=Path, metavar="FILE", help="experiments.yaml: controls and shares")
    online.add_argument("--json", action="store_true", help="print one JSON object")
    online.add_argument("--out", type=Path, metavar="FILE", help="an HTML file to write")
    online.add_argument(
        "--planned-lists",
        type=int,
        default=50_000,
        metavar="N",
        help="lists of two arms after which a verdict is sharpest; fixed before the experiment (default 50,000)",
    )
    online.set_defaults(run=run_online)


def _add_tune(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    help_text = "search hyperparameters on validation and write those that gain, as a file for --config"
    tune = commands.add_parser("tune", help=help_text, description=help_text)
    _add_data(tune, required=True)
    tune.add_argument("--minutes", type=float, required=True, metavar="M", help="time that this call may take")
    tune.add_argument(
        "--trials", type=int, default=0, metavar="N", help="trials of each stage, at most, with the configuration's own"
    )
    tune.add_argument("--out", type=Path, required=True, metavar="FILE", help="YAML file to write")
    tune.set_defaults(run=run_tune)


def _add_encoder(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    encoder = commands.add_parser("encoder", help="train the catalogue text encoder alone")
    encoder.add_argument("--products", nargs="+", required=True, metavar="PATH", help=f"{_KINDS} files, or globs")
    encoder.add_argument("--out", type=Path, required=True, metavar="DIR", help="sentence-transformers folder to write")
    _add_config(encoder)
    encoder.set_defaults(run=run_encoder)


def _add_recommend(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    recommend = commands.add_parser("recommend", help="write the top k products of every buyer in a history file")
    recommend.add_argument("--artifacts", type=Path, required=True, metavar="DIR")
    recommend.add_argument(
        "--events", nargs="+", required=True, metavar="PATH", help="the buyers' histories, as for run"
    )
    recommend.add_argument("--out", type=Path, required=True, metavar="FILE", help="a .csv or .parquet file")
    _add_format(recommend)
    recommend.add_argument("--k", type=int, default=10, help="products per buyer, 1 to 1000 (default 10)")
    recommend.add_argument(
        "--diversity", type=float, default=0.0, help="diversity of each list, 0 to 1 (default 0: best products only)"
    )
    recommend.add_argument("--version", default="", help="default: the published version")
    recommend.add_argument("--threads", type=int, default=0, help="at most 8 per core (default: 1 per core)")
    _add_ray(recommend)
    seen = recommend.add_mutually_exclusive_group()
    seen.add_argument(
        "--exclude-seen",
        dest="exclude",
        action="store_true",
        default=None,
        help="exclude products of the history (default: as the version was evaluated)",
    )
    seen.add_argument(
        "--keep-seen", dest="exclude", action="store_false", default=None, help="allow products of the history"
    )
    recommend.set_defaults(run=run_recommend)


def _add_data(parser: argparse.ArgumentParser, required: bool) -> None:
    _add_files(parser, required)
    parser.add_argument("--artifacts", type=Path, required=True, metavar="DIR", help="artifact folder")
    _add_config(parser)


def _add_files(parser: argparse.ArgumentParser, required: bool) -> None:
    parser.add_argument(
        "--events",
        nargs="+",
        required=required,
        default=[],
        metavar="PATH",
        help=f"{_KINDS} files, or globs; log:PATH is the folder of a recorder's log",
    )
    parser.add_argument(
        "--products",
        nargs="+",
        required=required,
        default=[],
        metavar="PATH",
        help="the same for products; log:PATH lays the changes of the live catalogue over the files",
    )


def _add_format(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--format",
        default="",
        metavar="NAME",
        help="how another system's files are written: a preset (mixpanel, ga4, shopify, woocommerce, salla, zid, "
        "magento, google-merchant, rees46, retailrocket) or a YAML file of your own; --config and --set lie over it",
    )


def _add_ray(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--ray", default="", metavar="ADDRESS", help="a Ray cluster that does the work: auto, HOST:PORT or local"
    )


def _add_config(parser: argparse.ArgumentParser) -> None:
    _add_format(parser)
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
