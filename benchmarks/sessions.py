"""Sessions without a login: our model as it is served, beside V-SKNN, STAN, transitions and popularity.

Usage:  make bench-sessions [ARGS="--asked 5000 --set training.max_epochs=2"]

The data are Diginetica in the preparation of SR-GNN (Wu et al., AAAI 2019), in `--data` or ../shared/data: sessions of
at least two views, products with at least five views, no times within a day (each session is a minute after the one
before). The published split tests on the sessions of the last seven days.

The protocol is that of SR-GNN and of session-rec (Ludewig et al., UMUAI 2020): systems know the training sessions
alone. Each view of a test session but the first is a target, and all views of the session before it are asked with:
60,858 questions. All 43,097 products are ranked; nothing is excluded, a product may be viewed again. Recall@20 is the
share of questions whose target is among the first 20, MRR@20 the mean of 1 / its rank, 0 if it is not among them.

Our model goes the way of a shop: `trainer run` on the training sessions, with the defaults and `--set`, then `trainer
recommend` for every question, as a buyer of its own. V-SKNN and STAN have the settings that session-rec found on this
data set. Its published figures for the same split are printed beside them; it has none for STAN there.

`--sessions` trains on the newest training sessions alone, `--asked` draws questions: with both, minutes are enough. The
last line is one JSON object.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from benchmarks.options import ROOT, data_parser
from trainer.config.loading import load_config
from trainer.data.dataset import load_dataset
from trainer.data.events import Events
from trainer.data.popularity import buyer_counts
from trainer.data.split import Cases, sample
from trainer.evaluate.baselines import Scorer, popularity_scorer, transitions_scorer
from trainer.evaluate.session_baselines import stan_scorer, vsknn_scorer
from trainer.progress import track
from twotower.arrays import Float64, Int64

OURS = "ours, as served"
CUT = 20
# (Recall@20, MRR@20) of session-rec, its table "DIGINETICA", single split
PUBLISHED = {"V-SKNN": (0.5203, 0.1841)}
GOAL = 1.05


class Task(NamedTuple):
    """The catalogue's file, the sessions, where training stops [sessions], and the questions, each with one target."""

    catalogue: Path
    events: Events
    stop: Int64
    products: list[str]
    questions: Cases

    @property
    def targets(self) -> Int64:
        return self.events.product[self.questions.cut].astype(np.int64)


class Result(NamedTuple):
    """Means over the questions, and seconds of fitting and answering."""

    recall: float
    mrr: float
    seconds: float


def main() -> int:
    options = _arguments()
    with tempfile.TemporaryDirectory() as scratch:
        task = read_task(options.data, options.sessions, options.asked, Path(scratch))
        trained = int((task.stop > task.events.start[:-1]).sum())
        print(f"{trained:,} training sessions, {len(task.products):,} products, {len(task.questions):,} questions")
        results = {name: _measure(name, fit, task) for name, fit in _baselines(task).items()}
        results[OURS] = _measure_ours(task, options.set, Path(scratch))
    best = {metric: max(getattr(results[name], metric) for name in ("V-SKNN", "STAN")) for metric in ("recall", "mrr")}
    ratios = {metric: getattr(results[OURS], metric) / best[metric] for metric in best}
    for metric, ratio in ratios.items():
        print(f"{metric}@{CUT}: ours is {ratio:.3f} x the best of V-SKNN and STAN, wanted {GOAL:g}")
    print(
        json.dumps(
            {
                "benchmark": "sessions",
                "training_sessions": trained,
                "questions": len(task.questions),
                "set": options.set,
                "results": {name: one._asdict() for name, one in results.items()},
                "published": PUBLISHED,
                "ratios": ratios,
            }
        )
    )
    return 0


def read_task(data: Path, newest: int, asked: int, scratch: Path) -> Task:
    """Reads the sessions and the published split; keeps the `newest` training sessions and draws `asked` questions."""
    config = load_config([ROOT / "trainer/config/offline.yaml"])
    catalogue = data / "products.csv.gz"
    loaded = load_dataset([str(data / "events.csv.gz")], [str(catalogue)], config.data, config.seed, scratch)
    events, start = loaded.events, loaded.events.start
    number = np.array([int(name.removeprefix("s")) for name in loaded.buyers])
    first, last = _training_sessions(data)
    is_training = (number >= first) & (number <= last)
    if newest:
        is_training &= number > last - newest
    stop = np.where(is_training, start[1:], start[:-1])
    is_question = (number > last)[events.buyer]
    is_question[start[:-1]] = False
    place = np.flatnonzero(is_question)
    buyer = events.buyer[place].astype(np.int64)
    questions = Cases(buyer, start[buyer], place, place + 1)
    return Task(catalogue, events, stop, loaded.products.ids, sample(questions, asked, config.seed))


def _training_sessions(data: Path) -> tuple[int, int]:
    """The numbers of the first and the last training session, from the line `train sessions: s1..s186670`."""
    with gzip.open(data / "split.txt.gz", "rt", encoding="utf-8") as file:
        line = file.readline().strip()
    first, _, last = line.removeprefix("train sessions: ").partition("..")
    return int(first.removeprefix("s")), int(last.removeprefix("s"))


def _baselines(task: Task) -> dict[str, Callable[[], Scorer]]:
    events, stop, count = task.events, task.stop, len(task.products)
    return {
        "popularity": lambda: popularity_scorer(buyer_counts(events, stop, count)),
        "transitions": lambda: transitions_scorer(events, stop, count),
        "V-SKNN": lambda: vsknn_scorer(events, stop, count),
        "STAN": lambda: stan_scorer(events, stop, count),
    }


def _measure(name: str, fit: Callable[[], Scorer], task: Task) -> Result:
    started = time.perf_counter()
    scorer, chunk, tops = fit(), 256, []
    for first in track(range(0, len(task.questions), chunk), name, unit="chunk"):
        part = Cases(*(column[first : first + chunk] for column in task.questions))
        tops.append(best_products(scorer(part)))
    return _report(name, ranks(np.concatenate(tops), task.targets), time.perf_counter() - started)


def best_products(scores: Any) -> Int64:
    """The products with the best scores [b, CUT], best first; of equal scores the first product."""
    # what has no score is not recommended
    scores = np.where(scores > 0, scores, -np.inf)
    candidates = np.sort(np.argpartition(-scores, CUT, axis=1)[:, :CUT], axis=1)
    own = np.take_along_axis(scores, candidates, axis=1)
    order = np.argsort(-own, axis=1, kind="stable")
    top = np.take_along_axis(candidates, order, axis=1)
    return np.where(np.isfinite(np.take_along_axis(own, order, axis=1)), top, -1)


def ranks(tops: Int64, targets: Int64) -> Int64:
    """The rank [Q] of each target (1 = first) in the list of its question [Q, CUT]; 0 if it is not there."""
    found = tops == targets[:, None]
    return np.where(found.any(axis=1), found.argmax(axis=1) + 1, 0)


def recall_and_mrr(rank: Int64) -> tuple[float, float]:
    """Means over questions; rank 0 is a miss."""
    reciprocal: Float64 = np.divide(1, rank, out=np.zeros(len(rank)), where=rank > 0)
    return float((rank > 0).mean()), float(reciprocal.mean())


def _report(name: str, rank: Int64, seconds: float) -> Result:
    recall, mrr = recall_and_mrr(rank)
    published = "   published {:.4f} / {:.4f}".format(*PUBLISHED[name]) if name in PUBLISHED else ""
    print(f"{name:<16} recall@{CUT} {recall:.4f}   mrr@{CUT} {mrr:.4f}   {seconds:6.0f} s{published}", flush=True)
    return Result(recall, mrr, seconds)


def _measure_ours(task: Task, settings: list[str], folder: Path) -> Result:
    """Trains, publishes and asks as a shop does, by the trainer's commands."""
    from trainer.__main__ import main as trainer

    started = time.perf_counter()
    training, asked, out = folder / "training.csv", folder / "asked.csv", folder / "lists.parquet"
    artifacts = folder / "artifacts"
    place = np.flatnonzero(np.arange(len(task.events.buyer)) < task.stop[task.events.buyer])
    _write_events(training, task.events.buyer[place], place, task)
    files = ["--artifacts", str(artifacts), "--config", str(ROOT / "trainer/config/offline.yaml")]
    data = ["--events", str(training), "--products", str(task.catalogue)]
    with contextlib.redirect_stdout(sys.stderr):
        code = trainer(["run", *data, *files, "--set", "publish.gate=false", *settings])
        if code:
            raise SystemExit(f"trainer run ended with exit code {code}")
        sizes = task.questions.cut - task.questions.start
        question = np.repeat(np.arange(len(sizes)), sizes)
        before = np.arange(len(question)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        _write_events(asked, question, task.questions.start[question] + before, task)
        code = trainer(
            ["recommend", "--artifacts", str(artifacts), "--events", str(asked), "--out", str(out), "--k", str(CUT)]
        )
        if code:
            raise SystemExit(f"trainer recommend ended with exit code {code}")
    tops = _read_lists(out, task.products, len(sizes))
    return _report(OURS, ranks(tops, task.targets), time.perf_counter() - started)


def _write_events(path: Path, owner: Any, place: Int64, task: Task) -> None:
    """Writes the events at these places; `owner` is the buyer in the file."""
    ids = np.array(task.products)
    frame = pl.DataFrame(
        {
            "distinct_id": owner.astype(str),
            "product_id": ids[task.events.product[place]],
            "event_name": np.repeat("View", len(place)),
            "created_at": task.events.time[place],
        }
    )
    frame.write_csv(path)


def _read_lists(path: Path, products: list[str], questions: int) -> Int64:
    """The rows [Q, CUT] of the recommended products; -1 where a list is shorter."""
    table = pl.read_parquet(path)
    row = {product: place for place, product in enumerate(products)}
    tops = np.full((questions, CUT), -1, np.int64)
    question, rank = table["buyer_id"].cast(pl.Int64).to_numpy(), table["rank"].to_numpy()
    tops[question, rank - 1] = [row[product] for product in table["product_id"].to_list()]
    return tops


def _arguments() -> argparse.Namespace:
    parser = data_parser(__doc__, "diginetica_sessions")
    parser.add_argument("--sessions", type=int, default=0, help="newest training sessions; 0 = all")
    parser.add_argument("--asked", type=int, default=0, help="questions, drawn at random; 0 = all")
    options = parser.parse_args()
    if not options.data.is_dir():
        parser.error(f"--data {options.data} is not a folder")
    return options


if __name__ == "__main__":
    sys.exit(main())
