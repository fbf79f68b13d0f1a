"""Our model against eSASRec, the strongest transformer of RecTools, and simple baselines: how well they recommend.

Usage:  make bench-quality [ARGS="--data FOLDER --minutes 60 --seeds 7 8 9"]

FOLDER holds events.csv.gz and products.csv.gz (or .csv). The default is s3rec_beauty in $TWOTOWER_DATA or in
../shared/data, or the demo market if that is absent.

Protocol, the same for all systems: leave last out, `evaluation.protocol=published`. Models are trained once, without
each buyer's last two events. The last but one is for validation; it is in the history with which the last one is asked
for. All buyers with three events and a target that is new to them are asked, and the full catalogue is ranked without
the products of the history; a product without a training event counts as a target. Figures are means over buyers; with
several seeds, a buyer counts with the mean over the seeds. Intervals are 95 %, from a bootstrap over buyers.

Figures from papers may stand beside these if their protocol is this one. For the S3-Rec splits of Amazon (Beauty,
Sports, Toys) these are, as test NDCG@10 / Recall@10 on Beauty: eSASRec .0523 / .0928, SASRec with a sampled softmax
.0531 / .0921 and HSTU .0439 / .0788 (blondered/transformer_benchmark, whose authors leave out targets without any
earlier event, 52 of 22,363 buyers on Beauty), BSARec .0610 / .1002 (third party, five seeds) and WEARec .0614 / .1041
(its own logs). Figures with 100 sampled negatives, or of a model that was refitted with the validation event, may not.

The systems (`--only` chooses some of them):
  ours              linear, softmax or blend with its terms, as validation chooses (`trainer run`)
  no-attributes     the same with data.attribute_paths=[]; brand, category and texts stay, and in the S3-Rec splits the
                    descriptions are nothing but attributes, so that only `ids` is without them
  ids               the same on a catalogue of ids alone: no text, brand, category or attribute
  esasrec           eSASRec on ids alone: SASRec with LiGR layers and a sampled softmax of 256 negatives, as in
                    configs/paper/loo/s3_beauty_ligr.yaml of blondered/transformer_benchmark
  esasrec-features  the same with RecTools' categorical item features: brand, category and attributes, with the codes
                    that our item tower gets; RecTools reads no texts
  transitions, item_knn, popularity   the baselines of `trainer.evaluate.baselines`

eSASRec trains in RecTools' own environment (the Makefile makes it) until validation (NDCG@10 of the same buyers as
ours) has not risen for `--patience` times, for `--epochs` passes, or for `--minutes`, and is tested as it was at its
best validation. The output says how many passes it made, and that it was stopped if it was: its figures are then those
of the bound, not what it can reach. `--cpu-time` counts its seconds of CPU, of all threads, instead of elapsed ones,
for a machine that is also busy with other work. Ours ends by itself. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.datasets import DataSet, open_data
from benchmarks.figures import Measured, figures_of, table
from benchmarks.options import ROOT
from benchmarks.peer import PYTHON, Histories, Peer, PeerData, peer_settings, vectors_scorer
from trainer.commands.output import log_to_stdout
from trainer.config.loading import load_config
from trainer.data.split import sample
from trainer.evaluate import ranking
from trainer.evaluate.baselines import Scorer
from trainer.evaluate.comparison import baseline_fits
from trainer.model.inputs import ItemFeatures
from trainer.model.terms import TermChoice
from trainer.release.locks import check_writable
from trainer.stages.evaluate import tested_scorer
from trainer.stages.prepare import prepare
from trainer.stages.train import train
from trainer.stages.workspace import Run, load_model, rank, sampled_test_cases
from twotower.arrays import Int64
from twotower.artifact.layout import Layout

OURS = ("ours", "no-attributes", "ids")
PEERS = ("esasrec", "esasrec-features")
BASELINES = ("transitions", "item_knn", "popularity")
SYSTEMS = (*OURS, *PEERS, *BASELINES)
PROTOCOL = (
    "evaluation.split=leave_last_out",
    "evaluation.protocol=published",
    "evaluation.exclude_seen=true",
    "evaluation.max_buyers=0",
    "training.refit=false",
)


@dataclass(frozen=True)
class Bench:
    """All measurements with one seed; `folder` is for their work."""

    options: argparse.Namespace
    data: DataSet
    seed: int
    folder: Path

    def open(self, name: str, products: Path, settings: Sequence[str] = ()) -> Run:
        """Reads the events with these products and settings; `name` is the folder of its work."""
        own = [f"seed={self.seed}", f"threads={self.options.threads}", f"device={_device()}", *settings]
        config = load_config([ROOT / "trainer/config/offline.yaml"], [*self.options.set, *PROTOCOL, *own])
        layout = Layout(self.folder / name)
        check_writable(layout)
        return prepare(config, layout, [str(self.data.events)], [str(products)])

    def measure(self, name: str, whole: Run) -> Measured:
        """Fits and tests one of SYSTEMS; `whole` is the run of the whole data."""
        if name in OURS:
            return self._measure_ours(name, whole)
        if name in PEERS:
            return self._measure_peer(name, whole)
        products, settings = len(whole.data.products), whole.config.evaluation
        fits = baseline_fits(whole.events, whole.tested_stop, products, settings)
        if name not in fits:
            raise SystemExit(f"{name} does not fit {self.data.name}: leave it out with --only")
        return _test(name, whole, fits[name](), {})

    def _measure_ours(self, name: str, whole: Run) -> Measured:
        run = whole
        if name == "no-attributes":
            run = self.open(name, self.data.products, ["data.attribute_paths=[]"])
        elif name == "ids":
            write_ids(whole.data.products.ids, self.folder / "ids.csv")
            run = self.open(name, self.folder / "ids.csv")
        started = time.perf_counter()
        train(run)
        seconds = time.perf_counter() - started
        chosen = json.loads(run.workspace.training.read_text(encoding="utf-8"))
        facts = {"kind": chosen["kind"], "score": TermChoice(**chosen["terms"]).describe(), "seconds": round(seconds)}
        model = load_model(run, run.workspace.tested.weights)
        return _test(name, run, tested_scorer(run, model), facts)

    def _measure_peer(self, name: str, run: Run) -> Measured:
        options, split = self.options, run.split
        peer = Peer(
            name=name,
            python=options.rectools,
            settings=peer_settings("esasrec", options.esasrec_set, "--esasrec-set"),
            device=_device(),
            threads=options.threads,
            seed=self.seed,
            limit=options.minutes * 60,
            epochs=options.epochs,
            patience=options.patience,
            every=options.every,
            cpu_time=options.cpu_time,
        )
        cases = sample(split.validation, run.config.evaluation.validation_buyers, self.seed)
        data = PeerData(
            Histories.before(split.train_stop, run.events, cases.buyer),
            Histories.before(split.test_stop, run.events, split.test.buyer),
            item_features(run.features) if name == "esasrec-features" else None,
        )

        def scorer(folder: Path) -> Scorer:
            return vectors_scorer(folder, len(run.data.buyers), len(run.data.products))

        def score(folder: Path) -> float:
            ranks = rank(run, scorer(folder), cases, f"validating {name}", lists=False)
            return float(ranking.case_metrics(ranks)["ndcg@10"].mean())

        curve = peer.train(data, self.folder / name, score)
        facts = {
            "passes": round(curve.points[-1].epochs, 2),
            "seconds": round(curve.points[-1].seconds),
            "best_pass": round(curve.best.epochs, 2),
            "best_validation": round(curve.best.score, 4),
            "stopped": peer.is_over(curve.points[-1].seconds),
        }
        return _test(name, run, scorer(self.folder / name / "test"), facts)


def main() -> int:
    log_to_stdout()
    options = _arguments()
    found: dict[str, list[Measured]] = {name: [] for name in SYSTEMS if name in options.only}
    with tempfile.TemporaryDirectory() as scratch:
        data = open_data(options.data, Path(scratch))
        for seed in options.seeds:
            bench = Bench(options, data, seed, Path(scratch) / f"seed-{seed}")
            whole = bench.open("ours", data.products)
            # the baselines first: they take seconds
            for name in sorted(found, key=lambda name: name not in BASELINES):
                found[name].append(bench.measure(name, whole))
                print(f"seed {seed}, {name}: {found[name][-1].describe()}", flush=True)
    _report(options, data, whole, found)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of events and products; default s3rec_beauty, see above")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7], help="of all systems; default 7")
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, default=SYSTEMS, metavar="SYSTEM", help="default: all")
    parser.add_argument("--minutes", type=float, default=60, help="of each training of eSASRec, at most")
    parser.add_argument("--epochs", type=int, default=200, help="of eSASRec, at most")
    parser.add_argument("--patience", type=int, default=50, help="validations without a better NDCG that stop eSASRec")
    parser.add_argument("--every", type=float, default=300, help="seconds of training between validations of eSASRec")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of every system")
    parser.add_argument("--cpu-time", action="store_true", help="count eSASRec's seconds of CPU, see above")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="settings of our trainer")
    parser.add_argument("--esasrec-set", nargs="*", default=[], metavar="NAME=VALUE", help="laid over its settings")
    parser.add_argument("--rectools", type=Path, default=PYTHON, help="its Python")
    options = parser.parse_args()
    if set(options.only) & set(PEERS) and not options.rectools.is_file():
        parser.error(f"--rectools {options.rectools} is not there: `make bench-quality` makes that environment")
    if options.data and not options.data.is_dir():
        parser.error(f"--data {options.data} is not a folder")
    if options.cpu_time and torch.cuda.is_available():
        parser.error("--cpu-time does not see what a GPU does: leave it out on this machine")
    peer_settings("esasrec", options.esasrec_set, "--esasrec-set")
    return options


def write_ids(ids: Sequence[str], path: Path) -> None:
    """Writes a catalogue in which a product has nothing but its id."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("product_id", "title", "description", "metadata"))
        rows.writerows((one, "", "", "") for one in ids)


def item_features(features: ItemFeatures) -> Int64:
    """Rows [F, 3] of product, kind (0 brand, 1 category, 2 attribute) and code: what our item tower gets."""
    rows = []
    for kind, codes in enumerate((features.brand[:, None], features.category[:, None], features.attributes)):
        known = codes.cpu().numpy()
        product, place = np.nonzero(known)
        rows.append(np.stack((product, np.full(len(product), kind), known[product, place]), axis=1))
    return np.concatenate(rows).astype(np.int64)


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _test(name: str, run: Run, scorer: Scorer, facts: dict[str, Any]) -> Measured:
    """Ranks the test targets of all buyers."""
    return Measured.of(rank(run, scorer, sampled_test_cases(run), f"testing {name}", lists=False), facts)


def _report(options: argparse.Namespace, data: DataSet, run: Run, found: dict[str, list[Measured]]) -> None:
    """Prints the table, and everything as one JSON object."""
    figures = {name: figures_of(measured) for name, measured in found.items()}
    stopped = {name for name, measured in found.items() if any(one.facts.get("stopped") for one in measured)}
    # every system is asked for the same targets
    buyers = len(np.unique(np.concatenate([one.cases for one in next(iter(found.values()))])))
    print(f"\n{data.name}: {buyers:,} test buyers, seeds {', '.join(map(str, options.seeds))}")
    print(table(figures, stopped))
    if stopped:
        print("* stopped by --minutes: its figures are those of the bound, not what it can reach")
    print(
        json.dumps(
            {
                "benchmark": "quality",
                "data": data.name,
                "synthetic": data.synthetic,
                "protocol": PROTOCOL,
                "seeds": options.seeds,
                "minutes": options.minutes,
                "cpu_time": options.cpu_time,
                "threads": options.threads,
                "device": _device(),
                "buyers": len(run.data.buyers),
                "products": len(run.data.products),
                "events": len(run.data.events.buyer),
                "test_buyers": buyers,
                "ours": options.set,
                "esasrec": peer_settings("esasrec", options.esasrec_set, "--esasrec-set"),
                "systems": {
                    name: {metric: figure._asdict() for metric, figure in figures[name].items()}
                    | {"facts": [one.facts for one in measured]}
                    for name, measured in found.items()
                },
            }
        )
    )


if __name__ == "__main__":
    sys.exit(main())
