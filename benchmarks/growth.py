"""Time and memory as a shop grows: 0.1 to 3 million events, and up to 100,000 products.

Usage:  make bench-growth [ARGS="--events 100000 1000000 --steps 0 --threads 2"]

Each number of events gets its own process on the SYNTHETIC demo market (`python -m demo.market`), with a fixed
catalogue and one buyer for every 40 events. Its stages:
  read and check   read the files, check them and split the events
  prepare          the same again, and the text vectors from a cache that an unmeasured process has filled
  train an epoch   cut the events into windows and train the softmax; at most `--steps` steps are made (0 = all), and
                   the rest is extrapolated, marked *
  validate         on at most `--asked` buyers

Each catalogue gets its own process too, with few events: prepare (read, train the text encoder, encode titles and whole
texts), train some steps, encode every product through the exported graph, build the index.

`--cpu-time` counts CPU seconds of all threads instead of elapsed seconds, for a machine that is also busy with other
work. `peak MB` is the largest memory of the process up to the end of a stage (getrusage). `slope` is the slope of log
seconds over log events, by least squares: 1 is linear. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.charts import open_pyplot, save_figure
from demo.market.generate import generate

ROOT = Path(__file__).parent.parent
EVENTS_PER_BUYER = 40
# for a large catalogue, or to train the text encoder: enough for some steps
FEW_EVENTS = 20_000
READ, TRAIN, VALIDATE = "read and check", "train an epoch", "validate"
GROWING = (READ, TRAIN, VALIDATE)


class Stage(NamedTuple):
    """One stage of one process: its seconds, extrapolated or not, and the peak memory so far."""

    name: str
    seconds: float
    peak_mb: float
    extrapolated: bool = False


class Watch:
    """Measures the stages of a process."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.stages = [Stage("start", 0.0, _peak_mb())]
        self._last = now()

    def done(self, name: str, skipped: float = 0.0) -> None:
        """Ends the stage `name`; `skipped` seconds are added for the steps that were not made."""
        seconds = self.now() - self._last
        self.stages.append(Stage(name, seconds + skipped, _peak_mb(), skipped > 0))
        self._last = self.now()


def main() -> int:
    options = _arguments()
    if options.child:
        stages = _CHILDREN[options.child](options)
        print(json.dumps([stage._asdict() for stage in stages]))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        by_events, by_products = _measure(options, Path(scratch))
    slopes = {name: slope(by_events, name) for name in GROWING} if len(by_events) > 1 else {}
    _print_table("events", by_events)
    for name, value in slopes.items():
        print(f"slope of {name}: {value:.2f}")
    _print_table("products", by_products)
    if options.svg:
        _draw(by_events, options.svg)
    plain = [
        {n: [stage._asdict() for stage in stages] for n, stages in found.items()} for found in (by_events, by_products)
    ]
    print(
        json.dumps(
            {
                "benchmark": "growth",
                "synthetic": True,
                "threads": options.threads,
                "products": options.products,
                "cpu_time": options.cpu_time,
                "steps": options.steps,
                "asked": options.asked,
                "settings": options.set,
                "slopes": slopes,
                "by_events": plain[0],
                "by_products": plain[1],
            }
        )
    )
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="*", default=[100_000, 300_000, 1_000_000, 3_000_000])
    parser.add_argument("--products", type=int, default=5000, help="in the catalogue for these events")
    parser.add_argument("--steps", type=int, default=200, help="of the epoch, at most; 0 = all")
    parser.add_argument("--asked", type=int, default=2000, help="validation buyers, at most")
    parser.add_argument("--catalogues", type=int, nargs="*", default=[10_000, 100_000], help="numbers of products")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--cpu-time", action="store_true", help="count seconds of CPU, see above")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of the trainer")
    parser.add_argument("--svg", type=Path, help="file for the chart (needs the extra `bench`)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--shop", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _measure(options: argparse.Namespace, folder: Path) -> tuple[dict[int, list[Stage]], dict[int, list[Stage]]]:
    """The stages of each number of events, and of each number of products."""
    by_events, by_products = {}, {}
    if options.events:
        _make(folder / "shop", options.products, FEW_EVENTS)
        _run_child(options, "encoder", folder / "shop", folder / "events")
    for events in options.events:
        _make(folder / "shop", options.products, events)
        by_events[events] = _run_child(options, "events", folder / "shop", folder / "events")
        _tell(f"{events:,} events", by_events[events])
    for products in options.catalogues:
        _make(folder / "shop", products, FEW_EVENTS)
        by_products[products] = _run_child(options, "catalogue", folder / "shop", folder / f"catalogue-{products}")
        _tell(f"{products:,} products", by_products[products])
    return by_events, by_products


def _make(shop: Path, products: int, events: int) -> None:
    generate(shop, products=products, buyers=events // EVENTS_PER_BUYER, events=events)


def _run_child(options: argparse.Namespace, kind: str, shop: Path, work: Path) -> list[Stage]:
    """Runs this module in a process of its own; returns its stages."""
    command = [sys.executable, "-m", "benchmarks.growth", "--child", kind, "--shop", str(shop), "--work", str(work)]
    command += [f"--{name}={getattr(options, name)}" for name in ("steps", "asked", "threads")]
    command += (["--cpu-time"] if options.cpu_time else []) + ["--set", *options.set]
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads)}
    run = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return [Stage(**stage) for stage in json.loads(run.stdout.splitlines()[-1])]


def _configuration(options: argparse.Namespace) -> Any:
    from trainer.config.loading import load_config

    settings = [f"threads={options.threads}", "evaluation.split=leave_last_out", "training.start=softmax"]
    settings += [f"evaluation.max_buyers={options.asked}", f"evaluation.validation_buyers={options.asked}"]
    settings += ["training.refit=false", *options.set]
    return load_config([ROOT / "trainer/config/offline.yaml"], settings)


def _prepare(options: argparse.Namespace) -> Any:
    from trainer.release.locks import check_writable
    from trainer.stages.prepare import prepare
    from twotower.artifact.layout import Layout

    layout = Layout(options.work)
    check_writable(layout)
    return prepare(_configuration(options), layout, *_files(options.shop))


def _files(shop: Path) -> tuple[list[str], list[str]]:
    return [str(shop / "events.csv")], [str(shop / "products.csv")]


def _make_encoder(options: argparse.Namespace) -> list[Stage]:
    """Trains the text encoder and caches its vectors for the later processes."""
    _prepare(options)
    return []


def _measure_events(options: argparse.Namespace) -> list[Stage]:
    """Read, train and validate, as `python -m trainer run` does."""
    from trainer.data.dataset import load_dataset
    from trainer.data.split import sample, split_events
    from trainer.evaluate import ranking
    from trainer.fit.training_set import TrainingSet
    from trainer.stages.workspace import fitter_of

    config = _configuration(options)
    watch = Watch(_clock(options))
    data = load_dataset(*_files(options.shop), config.data, config.seed, options.work)
    split_events(data.events, config.evaluation)
    watch.done(READ)
    del data
    run = _prepare(options)
    watch.done("prepare")
    fitter = fitter_of(run)
    model, sampler = fitter.new_model(), fitter.sampler(TrainingSet(run.events, run.split.train_stop))
    steps = sampler.steps(0)
    made = min(steps, options.steps or steps)
    seconds = _train(run, fitter, model, sampler, made, watch.now)
    watch.done(TRAIN, seconds / made * (steps - made))
    cases = sample(run.split.validation, options.asked, run.config.seed)
    scorer = ranking.model_scorer(model, fitter.features, run.events, run.schema, run.config.model.max_history)
    ranking.rank_targets(scorer, run.events, cases, run.ties, run.config.evaluation.excludes_seen)
    watch.done(VALIDATE)
    return watch.stages


def _train(run: Any, fitter: Any, model: Any, sampler: Any, steps: int, now: Callable[[], float]) -> float:
    """Makes the first steps of an epoch as `fit_softmax` does; returns the seconds they take."""
    import torch

    from trainer.fit.softmax.step_loss import TrainingInputs, step_loss

    settings = run.config.training
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    inputs = TrainingInputs(fitter.features, sampler, run.config, fitter.titles)
    model.train()
    started = now()
    for batch in islice(sampler.epoch(0), steps):
        loss = step_loss(model, batch, inputs)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return now() - started


def _measure_catalogue(options: argparse.Namespace) -> list[Stage]:
    """All stages up to the index, as `python -m trainer` runs them."""
    from trainer.stages.embed import embed
    from trainer.stages.index import build_index
    from trainer.stages.train import train

    options.set = ["training.max_epochs=1", "training.min_steps=1", *options.set]
    watch = Watch(_clock(options))
    run = _prepare(options)
    watch.done("prepare")
    train(run)
    watch.done("train some steps")
    embed(run)
    watch.done("encode")
    build_index(run)
    watch.done("index")
    return watch.stages


_CHILDREN: dict[str, Callable[[argparse.Namespace], list[Stage]]] = {
    "encoder": _make_encoder,
    "events": _measure_events,
    "catalogue": _measure_catalogue,
}


def slope(found: dict[int, list[Stage]], name: str) -> float:
    """The slope of log seconds of a stage over log size."""
    seconds = [stage.seconds for stages in found.values() for stage in stages if stage.name == name]
    return float(np.polyfit(np.log(list(found)), np.log(seconds), 1)[0])


def _clock(options: argparse.Namespace) -> Callable[[], float]:
    return time.process_time if options.cpu_time else time.perf_counter


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _tell(size: str, stages: Sequence[Stage]) -> None:
    print(f"{size}: {', '.join(f'{stage.name} {stage.seconds:.1f} s' for stage in stages[1:])}", flush=True)


def _print_table(what: str, found: dict[int, list[Stage]]) -> None:
    if not found:
        return
    print(f"\n{what:>10}  {'stage':<18}{'seconds':>10}{'µs each':>10}{'peak MB':>10}")
    for size, stages in found.items():
        for stage in stages:
            mark = "*" if stage.extrapolated else " "
            each = stage.seconds / size * 1e6
            print(f"{size:>10,}  {stage.name:<18}{stage.seconds:>10.2f}{mark}{each:>9.1f}{stage.peak_mb:>10,.0f}")
    if any(stage.extrapolated for stages in found.values() for stage in stages):
        print("* extrapolated from the steps that ran")


def _draw(found: dict[int, list[Stage]], path: Path) -> None:
    """Seconds of each stage over events, with a line of slope 1, and the memory."""
    figure, (left, right) = open_pyplot().subplots(ncols=2, figsize=(9, 4))
    sizes = np.array(list(found))
    for name in GROWING:
        stages = [stage for stages in found.values() for stage in stages if stage.name == name]
        star = " (partly extrapolated)" if any(stage.extrapolated for stage in stages) else ""
        left.plot(sizes, [stage.seconds for stage in stages], marker="o", label=stages[0].name + star)
        right.plot(sizes, [stage.peak_mb for stage in stages], marker="o", label=f"after {stages[0].name}")
        left.plot(sizes, stages[0].seconds * sizes / sizes[0], color="0.6", linestyle=":", zorder=0)
    left.plot([], [], color="0.6", linestyle=":", label="slope 1")
    left.set(xlabel="events", ylabel="seconds", xscale="log", yscale="log")
    left.set_ylim(top=10 * left.get_ylim()[1])  # room for the legend
    right.set(xlabel="events", ylabel="peak memory, MB", xscale="log", ylim=(0, None))
    for axes in (left, right):
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=8)
    save_figure(figure, path)


if __name__ == "__main__":
    sys.exit(main())
