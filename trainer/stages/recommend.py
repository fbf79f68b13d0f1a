"""The command `recommend`: a list of products for every buyer of a history file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from trainer.cluster.parts import Engine, Part, open_engine
from trainer.config.loading import load_config
from trainer.data.events import Events, load_history
from trainer.data.split import Cases
from trainer.errors import DataError
from trainer.evaluate.ranking import history_inputs
from trainer.progress import track
from twotower.arrays import Int64
from twotower.artifact.fsync import write_atomically
from twotower.artifact.layout import Layout
from twotower.artifact.pointer import read_pointer
from twotower.artifact.version import Version, open_version
from twotower.errors import SettingsError
from twotower.events import EventSchema
from twotower.forgotten import ForgottenBuyers
from twotower.graphs.towers import BuyerTower
from twotower.search.diversity import candidates, diversify
from twotower.search.fused import FusedSearch
from twotower.search.fused_score import FusedScore, fused_files
from twotower.search.milvus_address import MilvusAddress
from twotower.search.ranking import Hits
from twotower.search.vector_index import VectorIndex
from twotower.search.version_index import index_files, open_index

log = logging.getLogger(__name__)

_CHUNK = 512
_COLUMNS = {"buyer_id": pl.String, "rank": pl.Int64, "product_id": pl.String, "score": pl.Float32}


class ListOptions(NamedTuple):
    """The list of one buyer: `k` products (1 to 1,000), with or without products that the buyer has seen.

    `exclude_seen` None takes the version's own default. `diversity` is 0 to 1, see `twotower.search.diversity`.
    """

    k: int
    exclude_seen: bool | None = None
    diversity: float = 0.0


class History(NamedTuple):
    """The files of the buyers' events, and the preset that says how they are written (None: as for the training)."""

    files: Sequence[str]
    preset: Path | None = None


class Recommended(NamedTuple):
    """What `recommend` wrote."""

    version: str
    buyers: int
    rows: int


@dataclass(frozen=True)
class _Recommender:
    """A version's files as the services use them: index, fused score and buyer tower."""

    version: Version
    index: VectorIndex
    search: FusedSearch
    tower: BuyerTower

    @classmethod
    def load(cls, version: Version, threads: int) -> _Recommender:
        files = version.layout
        version.check(*index_files(version), files.buyer_tower)
        version.check(*fused_files(files, version.manifest.fusion))
        index = open_index(version, MilvusAddress.from_environment(), threads, graph=False)
        search = FusedSearch(index, FusedScore.load(version))
        return cls(version, index, search, BuyerTower(files.buyer_tower, threads))

    def lists(self, history: Events, codes: Int64, options: ListOptions) -> list[Hits]:
        """The lists of some buyers, given by their codes in `history`."""
        start, stop = history.start[codes], history.start[codes + 1]
        manifest = self.version.manifest
        schema = EventSchema(manifest.event_weights)
        batch = history_inputs(history, Cases(codes, start, stop, stop), schema, manifest.max_history)
        vectors = self.tower.encode(self.index.vectors[batch.rows], batch)
        excluded = [np.empty(0, np.int64)] * len(codes)
        if options.exclude_seen:
            excluded = [np.unique(history.product[a:b]).astype(np.int64) for a, b in zip(start, stop, strict=True)]
        count = candidates(options.k, options.diversity)
        newest_first = [history.product[a:b][::-1] for a, b in zip(start, stop, strict=True)]
        hits = self.search.search(vectors, newest_first, [count] * len(codes), excluded)
        return [diversify(one, self.index, options.k, options.diversity) for one in hits]


class RecommendWorker:
    """The lists of the buyers of one part: their events in, flat columns `buyer`, `product`, `score` out.

    `buyer` counts from 0 in each part, whose events are sorted by it; `product` is a row of the index.
    """

    def __init__(self, root: str, version: str, threads: int, options: ListOptions) -> None:
        self._recommender = _Recommender.load(open_version(Layout(Path(root)), version), threads)
        self._options = options

    def __call__(self, part: Part) -> Part:
        count = int(part["buyer"][-1]) + 1
        start = np.searchsorted(part["buyer"], np.arange(count + 1))
        history = Events(part["buyer"], part["product"], part["kind"], part["time"], start)
        lists = self._recommender.lists(history, np.arange(count), self._options)
        return {
            "buyer": np.repeat(np.arange(count), [len(one.rows) for one in lists]),
            "product": np.concatenate([one.rows for one in lists]),
            "score": np.concatenate([one.scores for one in lists]),
        }


def recommend(
    layout: Layout, version: str, events: History, options: ListOptions, out: Path, threads: int, ray: str = ""
) -> Recommended:
    """Writes the columns `buyer_id, rank, product_id, score`: k rows a buyer, fewer if fewer products are left.

    The best product comes first; with diversity, the order is the one of choosing. Rejected rows go to
    `out`.rejects.csv; a buyer without an accepted row gets no list, and neither does a forgotten one. Raises DataError
    for an unknown file type and NotFound if there is no such version. `ray` is the address of a Ray cluster, whose
    nodes read the version at the same path; empty for this machine.
    """
    if out.suffix not in {".csv", ".parquet"}:
        raise DataError(f"--out {out}: the name must end in .csv or .parquet")
    served = open_version(layout, version or _current(layout))
    served.check(served.layout.ids, served.layout.config)
    ids = np.load(served.layout.ids, allow_pickle=False)
    engine, name = open_engine(ray), served.name
    buyers, history = _read_history(served, ids, events, out.with_name(f"{out.name}.rejects.csv"), engine)
    if options.exclude_seen is None:
        options = options._replace(exclude_seen=served.manifest.exclude_seen)
    seen = "excluded" if options.exclude_seen else "kept"
    known = _not_forgotten(layout, buyers)
    log.info(f"version {name}: {len(known):,} buyers, products in their history {seen}")
    names = np.array(buyers, dtype=object)
    chunks = [known[first : first + _CHUNK] for first in range(0, len(known), _CHUNK)]
    parts = (_part(history, codes) for codes in chunks)
    arguments = (str(layout.root.resolve()), name, 1 if ray else threads, options)
    results = engine.map(parts, RecommendWorker, *arguments)
    frames = [
        _table(names[codes], ids, lists)
        for codes, lists in zip(chunks, track(results, "recommending", "chunk", len(chunks)), strict=True)
    ]
    table = pl.concat(frames) if frames else pl.DataFrame(schema=_COLUMNS)
    with write_atomically(out) as temporary:
        table.write_parquet(temporary) if out.suffix == ".parquet" else table.write_csv(temporary)
    return Recommended(name, len(known), table.height)


def _not_forgotten(layout: Layout, buyers: Sequence[str]) -> Int64:
    """The codes of the buyers who are not on the list of forgotten ones; logs how many are."""
    forgotten = ForgottenBuyers.read(layout.forgotten)
    known = np.array([code for code, buyer in enumerate(buyers) if buyer not in forgotten], np.int64)
    if len(known) < len(buyers):
        log.info(f"{len(buyers) - len(known):,} forgotten buyers get no list")
    return known


def _current(layout: Layout) -> str:
    pointer = read_pointer(layout.current)
    if pointer is None:
        raise DataError(f"{layout.root} has no published version; run `python -m trainer run` first")
    return pointer.version


def _read_history(
    version: Version, ids: NDArray[np.str_], events: History, rejects: Path, engine: Engine
) -> tuple[list[str], Events]:
    """The buyers and their events, read with the settings of the version's training and those of the preset."""
    trained = version.layout.config
    config = load_config([trained, events.preset] if events.preset else [trained])
    weights = load_config([trained]).data.event_weights
    if config.data.event_weights != weights:
        raise SettingsError(f"{events.preset}: data.event_weights are not those of the version's training")
    buyers, history, counts = load_history(events.files, ids.tolist(), config.data, rejects, engine)
    if counts:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in counts.most_common(3))
        log.info(f"{sum(counts.values()):,} rows rejected ({reasons}): {rejects}")
    else:
        rejects.unlink()
    return buyers, history


def _part(history: Events, codes: Int64) -> Part:
    """The events of some buyers, given by their codes; `buyer` is a buyer's place among them."""
    start, stop = history.start[codes], history.start[codes + 1]
    rows = np.concatenate([np.arange(a, b) for a, b in zip(start, stop, strict=True)])
    return {
        "buyer": np.repeat(np.arange(len(codes), dtype=np.int32), stop - start),
        "product": history.product[rows],
        "kind": history.kind[rows],
        "time": history.time[rows],
    }


def _table(buyers: NDArray[np.object_], ids: NDArray[np.str_], lists: Part) -> pl.DataFrame:
    """The rows of one part: a buyer's products stand together, the best first."""
    buyer = lists["buyer"]
    columns = {
        "buyer_id": buyers[buyer].tolist(),
        "rank": np.arange(len(buyer)) - np.searchsorted(buyer, buyer) + 1,
        "product_id": ids[lists["product"]].tolist(),
        "score": lists["score"],
    }
    return pl.DataFrame(columns, schema=_COLUMNS)
