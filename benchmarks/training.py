"""Our training against RecTools' SASRec: interactions per second, and the time to a given NDCG.

Usage:  make bench-training [ARGS="--data FOLDER --minutes 60 --threads 2"]

FOLDER holds events.csv.gz and products.csv.gz (or .csv). The default is s3rec_beauty in $TWOTOWER_DATA or in
../shared/data, or the demo market if that is absent. Both sides train on the same events: all but each buyer's last two
(leave last out). After each epoch `trainer.evaluate` ranks the last event but one among the full catalogue. The sides
run one after the other with the same number of threads. RecTools has its own environment (the Makefile makes it) and
its own training loop, and passes on the vectors whose dot products are its scores.

Seconds of training count from the moment the training events are in memory, set-up included; validation does not count.
Interactions per second are the events of the training set (each side cuts long histories in its own way) times the
passes over it, divided by the seconds without the set-up. Reading, the text encoder and the linear candidate of
`training.start: auto` come before our training; they are shown apart, and in a second ratio.

Our side begins no epoch after `--minutes` of training, and SASRec is stopped at that moment; the output then says that
its best NDCG is only the best until then. On a machine with a GPU everything is measured there too, with bfloat16 on
both sides. `--cpu-time` counts CPU seconds of all threads instead of elapsed seconds, for a machine that is also busy
with other work. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch

from benchmarks.curves import Clock, Curve, Point, say
from benchmarks.datasets import DataSet, open_data
from benchmarks.options import ROOT
from benchmarks.peer import PYTHON, SETTINGS, Histories, Peer, PeerData, peer_settings, vectors_scorer
from trainer.config.loading import load_config
from trainer.data.split import Cases, sample
from trainer.evaluate import ranking
from trainer.evaluate.baselines import Scorer
from trainer.fit.selection import select_model
from trainer.fit.served_weights import serve_softmax
from trainer.fit.softmax.step_loss import TrainingInputs
from trainer.fit.softmax.training import fit_softmax
from trainer.fit.training_set import TrainingSet
from trainer.fit.validation import Validation
from trainer.model.towers import TwoTower, load_towers
from trainer.release.locks import check_writable
from trainer.stages.prepare import prepare
from trainer.stages.workspace import Run, fitter_of
from twotower.artifact.layout import Layout

OURS, THEIRS = "ours", "SASRec"
# what ours should reach: times the interactions per second, and share of the time to SASRec's best NDCG
GOAL_RATE, GOAL_TIME = 5.0, 1 / 3


class TimeIsUp(Exception):
    """Our training has reached `--minutes`."""


class Task(NamedTuple):
    """The data and the time limit for both sides."""

    run: Run
    cases: Cases
    device: str
    limit: float
    now: Callable[[], float]
    prepare_seconds: float

    def score(self, scorer: Scorer) -> float:
        """NDCG@10 of the validation cases, over the full catalogue, products of the history excluded."""
        ranks = ranking.rank_targets(scorer, self.run.events, self.cases, self.run.ties, True, lists=False)
        return float(ranking.case_metrics(ranks)["ndcg@10"].mean())


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = _arguments()
    summaries = []
    with tempfile.TemporaryDirectory() as scratch:
        data = _draw_buyers(open_data(options.data, Path(scratch)), options.buyers, Path(scratch))
        for device in ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]:
            task = _prepare(options, data, device, Path(scratch))
            threads = "1 thread" if options.threads == 1 else f"{options.threads} threads"
            seconds = "CPU" if options.cpu_time else "wall clock"
            asked = f"{len(task.cases):,} validation buyers"
            print(f"\n{data.name}, {device}, {threads}, {seconds} seconds, {asked}", flush=True)
            linear = _linear_seconds(task)
            curves = {
                OURS: _train_ours(task, Path(scratch) / f"checkpoints-{device}"),
                THEIRS: _train_sasrec(options, task, Path(scratch)),
            }
            summaries.append({"device": device} | _report(curves, task, linear))
    read = task.run.data
    print(
        json.dumps(
            {
                "benchmark": "training",
                "data": data.name,
                "synthetic": data.synthetic,
                "threads": options.threads,
                "minutes": options.minutes,
                "cpu_time": options.cpu_time,
                "buyers": len(read.buyers),
                "products": len(read.products),
                "events": len(read.events.buyer),
                "ours": options.set,
                "sasrec": peer_settings(options.sasrec, options.sasrec_set, "--sasrec-set"),
                "devices": summaries,
            }
        )
    )
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of events and products; default s3rec_beauty, see above")
    parser.add_argument("--buyers", type=int, default=0, help="drawn at random; 0 = all")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of either side")
    parser.add_argument("--minutes", type=float, default=60, help="of training, for either side")
    parser.add_argument("--cpu-time", action="store_true", help="count seconds of CPU, see above")
    parser.add_argument("--epochs", type=int, default=200, help="of SASRec, at most")
    parser.add_argument("--patience", type=int, default=10, help="validations without a better NDCG that stop SASRec")
    parser.add_argument("--every", type=float, default=300, help="seconds of training between validations of SASRec")
    parser.add_argument("--sasrec", choices=SETTINGS, default="published", help="its settings")
    parser.add_argument("--sasrec-set", nargs="*", default=[], metavar="NAME=VALUE", help="laid over them")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of our trainer")
    parser.add_argument("--rectools", type=Path, default=PYTHON, help="its Python")
    parser.add_argument("--folder", type=Path, default=ROOT / ".demo/bench-training", help="for our text encoder")
    options = parser.parse_args()
    if not options.rectools.is_file():
        parser.error(f"--rectools {options.rectools} is not there: `make bench-training` makes that environment")
    if options.data and not options.data.is_dir():
        parser.error(f"--data {options.data} is not a folder")
    if options.cpu_time and torch.cuda.is_available():
        parser.error("--cpu-time does not see what a GPU does: leave it out on this machine")
    peer_settings(options.sasrec, options.sasrec_set, "--sasrec-set")
    return options


def _draw_buyers(data: DataSet, buyers: int, scratch: Path) -> DataSet:
    """The events of so many buyers, drawn at random; 0 = all."""
    if not buyers:
        return data
    rows = pl.read_csv(data.events, infer_schema=False)
    every = rows["distinct_id"].unique(maintain_order=True)
    some = every.sample(min(buyers, len(every)), seed=7)
    rows.filter(pl.col("distinct_id").is_in(some.implode())).write_csv(scratch / "events.csv")
    name = f"{data.name}, {len(some):,} of {len(every):,} buyers"
    return data._replace(events=scratch / "events.csv", name=name)


def _prepare(options: argparse.Namespace, data: DataSet, device: str, scratch: Path) -> Task:
    settings = ["evaluation.split=leave_last_out", f"threads={options.threads}", f"device={device}"]
    settings += ["training.start=softmax", "evaluation.exclude_seen=true", *options.set]
    if device == "cuda":
        settings.append("training.precision=bfloat16")
    config = load_config([ROOT / "trainer/config/offline.yaml"], settings)
    now = time.process_time if options.cpu_time else time.perf_counter
    clock = Clock(now)
    layout = Layout(options.folder / "artifacts")
    check_writable(layout)
    run = prepare(config, layout, [str(data.events)], [str(data.products)])
    seconds = clock.seconds
    cases = sample(run.split.validation, config.evaluation.validation_buyers, config.seed)
    return Task(run, cases, device, options.minutes * 60, now, seconds)


def _linear_seconds(task: Task) -> float:
    """Seconds that `training.start: auto` spends on the linear candidate, validation included."""
    run = task.run
    config = run.config.model_copy(update={"training": run.config.training.model_copy(update={"start": "linear"})})
    clock = Clock(task.now)
    with tempfile.TemporaryDirectory() as folder:
        fitter = fitter_of(replace(run, config=config))
        validation = Validation(config, fitter.features, run.schema, run.ties, run.events, task.cases)
        select_model(fitter, TrainingSet(run.events, run.split.train_stop), validation, Path(folder))
    return clock.seconds


def _train_ours(task: Task, folder: Path) -> Curve:
    """Our softmax training as `python -m trainer run` does it, for `training.max_epochs` at most."""
    run = task.run
    points: list[Point] = []
    fitter = fitter_of(run)
    clock = Clock(task.now)
    model, data = fitter.new_model(), TrainingSet(run.events, run.split.train_stop)
    sampler = fitter.sampler(data)
    setup = clock.seconds
    longest = run.config.model.max_history
    # events that are in a window, as history or as target
    marks = np.zeros(len(run.events.buyer) + 1, np.int64)
    np.add.at(marks, sampler.windows[:, 0], 1)
    np.add.at(marks, sampler.windows[:, 2], -1)
    interactions = int((np.cumsum(marks) > 0).sum())

    def validate(model: TwoTower) -> float:
        if task.device == "cuda":
            torch.cuda.synchronize()
        with clock.paused():
            is_trained = data.trained_products(len(run.data.products))
            weights = serve_softmax(model.state_dict(), fitter.features, is_trained, run.neighbours)
            served = load_towers(weights, run.config.model)
            score = task.score(ranking.model_scorer(served, fitter.features, run.events, run.schema, longest))
            points.append(Point(len(points) + 1, clock.seconds, score))
            say(OURS, points[-1])
        if clock.seconds > task.limit:
            raise TimeIsUp
        return score

    try:
        inputs = TrainingInputs(fitter.features, sampler, run.config, fitter.titles)
        fit_softmax(model, inputs, folder, run.fingerprint, validate=validate)
    except TimeIsUp:
        print(f"{OURS}: stopped after {clock.seconds:.0f} s of training", flush=True)
    return Curve(setup, interactions, points)


def _train_sasrec(options: argparse.Namespace, task: Task, scratch: Path) -> Curve:
    """RecTools' SASRec on the same events, for `--epochs` at most."""
    run, settings = task.run, peer_settings(options.sasrec, options.sasrec_set, "--sasrec-set")
    print(f"{THEIRS}, the {options.sasrec} settings of RecTools: {json.dumps(settings)}", flush=True)
    peer = Peer(
        name=THEIRS,
        python=options.rectools,
        settings=settings,
        device=task.device,
        threads=options.threads,
        seed=run.config.seed,
        limit=task.limit,
        epochs=options.epochs,
        patience=options.patience,
        every=options.every,
        cpu_time=options.cpu_time,
    )
    buyers, products = len(run.data.buyers), len(run.data.products)
    data = PeerData(Histories.before(run.split.train_stop, run.events, task.cases.buyer))
    folder = scratch / f"sasrec-{task.device}"
    return peer.train(data, folder, lambda vectors: task.score(vectors_scorer(vectors, buyers, products)))


def _report(curves: dict[str, Curve], task: Task, linear: float) -> dict[str, Any]:
    """Prints both results and the ratios, and returns them."""
    print(f"\n{'':<10}{'set-up s':>9}{'events':>10}{'events/s':>10}{'best NDCG@10':>14}{'at epoch':>10}{'after s':>9}")
    for name, curve in curves.items():
        print(
            f"{name:<10}{curve.setup:>9.1f}{curve.interactions:>10,}{curve.rate:>10,.0f}{curve.best.score:>14.4f}"
            f"{curve.best.epochs:>10.2f}{curve.best.seconds:>9.0f}"
        )
    ours, theirs = curves[OURS], curves[THEIRS]
    rate = ours.rate / theirs.rate
    print(f"interactions per second, ours over SASRec's: {rate:.2f}   {_goal(rate >= GOAL_RATE, f'{GOAL_RATE:g}')}")
    target, stopped = theirs.best, theirs.points[-1].seconds >= task.limit
    reached = ours.time_to(target.score)
    before = task.prepare_seconds + linear
    found: dict[str, Any] = {
        "curves": {name: curve._asdict() | {"rate": curve.rate} for name, curve in curves.items()},
        "rate_ratio": rate,
        "target": target.score,
        "sasrec_seconds": target.seconds,
        "our_seconds": reached,
        "sasrec_stopped_by_minutes": stopped,
        "prepare_seconds": task.prepare_seconds,
        "linear_seconds": linear,
        "time_ratio": None,
        "time_ratio_with_all_before": None,
    }
    if stopped:
        print(
            f"SASRec was stopped by --minutes after {theirs.points[-1].epochs:.2f} epochs: "
            "its best is that of the bound, not what it can reach"
        )
    if reached is None:
        print(f"ours did not reach SASRec's best NDCG@10 ({target.score:.4f}); its own best is {ours.best.score:.4f}")
        return found
    share, whole = reached / target.seconds, (reached + before) / target.seconds
    print(
        f"to SASRec's best NDCG@10 ({target.score:.4f}): {reached:.0f} s against {target.seconds:.0f} s, "
        f"{share:.3f} of the time   {_goal(share <= GOAL_TIME, f'at most {GOAL_TIME:.3f}')}"
    )
    print(
        f"with what ours does before (reading and text encoder {task.prepare_seconds:.0f} s, less where they were "
        f"made before; linear candidate {linear:.0f} s): {whole:.3f}"
    )
    return found | {"time_ratio": share, "time_ratio_with_all_before": whole}


def _goal(reached: bool, goal: str) -> str:
    return f"wanted {goal}: {'yes' if reached else 'NO'}"


if __name__ == "__main__":
    sys.exit(main())
