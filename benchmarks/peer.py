"""RecTools' transformer as a peer: its settings, its training in a process of its own, the scores of its vectors."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.curves import Curve, Point, say
from benchmarks.options import ROOT
from trainer.data.events import Events
from trainer.data.split import Cases
from trainer.evaluate.baselines import Scorer
from twotower.arrays import Float32, Int64

PYTHON = ROOT / ".venvs/rectools/bin/python"
# RecTools 0.19's documented defaults; `ligr_multiplier` is the width of the feed-forward part of LiGR layers, relative
# to n_factors, and 0 stands for SASRec's own layers
DEFAULTS: dict[str, Any] = {
    "n_blocks": 2,
    "n_heads": 4,
    "n_factors": 256,
    "dropout_rate": 0.2,
    "session_max_len": 100,
    "loss": "softmax",
    "n_negatives": 1,
    "gbce_t": 0.2,
    "lr": 0.001,
    "batch_size": 128,
    "use_pos_emb": True,
    "use_key_padding_mask": False,
    "train_min_user_interactions": 2,
    "ligr_multiplier": 0,
}
# github.com/blondered/transformer_benchmark, configs/paper/loo/s3_vanilla.yaml: RecTools' authors on s3rec_beauty; the
# strongest published SASRec there (test NDCG@10 .0531)
_PUBLISHED = DEFAULTS | {
    "n_blocks": 1,
    "n_heads": 1,
    "session_max_len": 50,
    "loss": "sampled_softmax",
    "n_negatives": 256,
}
SETTINGS = {
    "defaults": DEFAULTS,
    "published": _PUBLISHED,
    # the same, configs/paper/loo/s3_beauty_ligr.yaml
    "esasrec": _PUBLISHED | {"ligr_multiplier": 4, "use_key_padding_mask": True},
}


def peer_settings(preset: str, assignments: Sequence[str], option: str) -> dict[str, Any]:
    """A preset with NAME=VALUE assignments laid over it. SystemExit names the `option` and an assignment of no use."""
    settings = dict(SETTINGS[preset])
    for assignment in assignments:
        name, _, value = assignment.partition("=")
        if name not in settings:
            raise SystemExit(f"{option} {assignment}: {name!r} is none of {', '.join(settings)}")
        kind = type(settings[name])
        try:
            settings[name] = {"true": True, "false": False}[value] if kind is bool else kind(value)
        except (KeyError, ValueError):
            raise SystemExit(f"{option} {assignment}: {value!r} is no {kind.__name__}") from None
    return settings


class Histories(NamedTuple):
    """Events [M] as codes of buyer and product, sorted by buyer and time; `asked` [B] are buyers to encode."""

    buyer: Int64
    product: Int64
    asked: Int64

    @classmethod
    def before(cls, stop: Int64, events: Events, asked: Int64) -> Histories:
        """Each buyer's events before `stop` [buyers], an index into `events`."""
        place = np.flatnonzero(np.arange(len(events.buyer)) < stop[events.buyer])
        return cls(events.buyer[place].astype(np.int64), events.product[place].astype(np.int64), asked)


class PeerData(NamedTuple):
    """What the peer may know.

    It trains on the events of `validation`. `test` are the histories to encode with the best model. `features` [F, 3]
    are rows of product, kind of feature and value, as codes. None where there is none.
    """

    validation: Histories
    test: Histories | None = None
    features: Int64 | None = None

    def save(self, folder: Path) -> None:
        """Writes the arrays where benchmarks.sasrec reads them."""
        for part, histories in (("validation", self.validation), ("test", self.test)):
            if histories is None:
                continue
            (folder / part).mkdir(parents=True)
            for name, values in histories._asdict().items():
                np.save(folder / part / f"{name}.npy", values, allow_pickle=False)
        if self.features is not None:
            np.save(folder / "features.npy", self.features, allow_pickle=False)


@dataclass(frozen=True)
class Peer:
    """How a peer is trained.

    Training ends after `limit` seconds, after `epochs` passes, or after `patience` validations without a better score.
    A validation follows each pass, and `every` so many seconds within it.
    """

    name: str
    python: Path
    settings: Mapping[str, Any]
    device: str
    threads: int
    seed: int
    limit: float
    epochs: int
    patience: int
    every: float
    cpu_time: bool = False

    def train(self, data: PeerData, folder: Path, score: Callable[[Path], float]) -> Curve:
        """Trains in a process of its own, which waits while `score` validates the vectors in a folder of its.

        Afterwards `folder`/test holds the vectors of the best validation, if the data have a test. Raises SystemExit
        with the end of its log if the process fails.
        """
        data.save(folder)
        task = {
            "settings": dict(self.settings),
            "threads": self.threads,
            "device": self.device,
            "seed": self.seed,
            "epochs": self.epochs,
            "every": self.every,
            "limit": self.limit,
            "cpu_time": self.cpu_time,
        }
        (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
        environment = os.environ | {"OMP_NUM_THREADS": str(self.threads), "MKL_NUM_THREADS": str(self.threads)}
        with (
            (folder / "log").open("w+") as log,
            subprocess.Popen(
                [self.python, "-m", "benchmarks.sasrec", folder],
                cwd=ROOT,
                env=environment,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            ) as process,
        ):
            curve = self._follow(process, score, folder, data.test is not None)
            if process.wait() or not curve.points:
                log.seek(0)
                raise SystemExit(f"{self.name} ended with exit code {process.returncode}:\n{log.read()[-2000:]}")
        return curve

    def _follow(
        self, process: subprocess.Popen[str], score: Callable[[Path], float], folder: Path, has_test: bool
    ) -> Curve:
        """Scores the vectors that the process writes, and answers what it should do next."""
        assert process.stdin and process.stdout
        curve = Curve(0.0, 0, [])
        for line in process.stdout:
            message = json.loads(line)
            if message.get("written"):
                continue
            curve.points.append(Point(message["epochs"], message["seconds"], score(folder / "validation")))
            curve = Curve(message["setup"], message["interactions"], curve.points)
            say(self.name, curve.points[-1])
            waited = len(curve.points) - 1 - curve.points.index(curve.best)
            answers = ["test"] if has_test and not waited else []
            answers.append("stop" if self.is_over(message["seconds"]) or waited >= self.patience else "go")
            process.stdin.write("".join(f"{answer}\n" for answer in answers))
            process.stdin.flush()
        return curve

    def is_over(self, seconds: float) -> bool:
        """Whether the limit ends a training that has taken so many seconds."""
        return seconds >= self.limit


def vectors_scorer(folder: Path, buyers: int, products: int) -> Scorer:
    """Scores [B, N] by the vectors in `folder`.

    Products without a vector come last; buyers without one get equal scores.
    """
    encoded, ids, items, known = (
        np.load(folder / f"{name}.npy", allow_pickle=False) for name in ("buyers", "buyer_ids", "items", "item_ids")
    )
    row = np.full(buyers, len(encoded), np.int64)
    row[ids] = np.arange(len(ids))
    vectors = np.concatenate((encoded, np.zeros((1, encoded.shape[1]), np.float32)))

    def score(cases: Cases) -> Float32:
        scores = np.full((len(cases), products), -np.inf, np.float32)
        scores[:, known] = vectors[row[cases.buyer]] @ items.T
        return scores

    return score
