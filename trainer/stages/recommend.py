"""Batch recommendations for every buyer of a history file, through the graphs and the index that services use."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import yaml

from trainer.config.schema import Config
from trainer.data.events import load_history
from trainer.data.split import Cases
from trainer.errors import DataError
from trainer.evaluate.ranking import history_inputs
from trainer.progress import track
from twotower.artifact.layout import Layout
from twotower.artifact.pointer import read_pointer
from twotower.artifact.version import open_version
from twotower.events import EventSchema
from twotower.graphs.towers import BuyerTower
from twotower.search.diversity import candidates, diversify
from twotower.search.vector_index import VectorIndex

log = logging.getLogger(__name__)

_CHUNK = 512


class Wanted(NamedTuple):
    """What every buyer gets: `k` products, 1 to 1,000, without those seen or with them, how unlike one another (0 to 1,
    see `twotower.search.diversity`)."""

    k: int
    exclude_seen: bool = True
    diversity: float = 0.0


class Written(NamedTuple):
    """What `recommend` wrote."""

    version: str
    buyers: int
    rows: int


def recommend(layout: Layout, version: str, events: Sequence[str], wanted: Wanted, out: Path, threads: int) -> Written:
    """Writes `buyer_id, rank, product_id, score`, k rows a buyer (fewer where fewer products are left), best first or,
    with diversity, as chosen.

    Rows that cannot be used go to `out`.rejects.csv; a buyer of whom no row is left has no recommendations and is
    counted. Raises DataError for an unknown file type, NotFound where there is no such version.
    """
    if out.suffix not in {".csv", ".parquet"}:
        raise DataError(f"--out {out}: the name must end in .csv or .parquet")
    if not version:
        pointer = read_pointer(layout.current)
        if pointer is None:
            raise DataError(f"{layout.root} has no published version; run `python -m trainer run` first")
        version = pointer.version
    opened = open_version(layout, version)
    files = opened.layout
    opened.check(files.index, files.embeddings, files.ids, files.buyer_tower, files.config)
    index = VectorIndex.load(files.index, files.embeddings, opened.manifest.index, threads)
    ids = np.load(files.ids, allow_pickle=False)
    tower = BuyerTower(files.buyer_tower, threads)
    config = Config.model_validate(yaml.safe_load(files.config.read_text(encoding="utf-8")))
    rejects = out.with_name(f"{out.name}.rejects.csv")
    buyers, history, counts = load_history(events, ids.tolist(), config.data, rejects)
    if counts:
        reasons = ", ".join(f"{count:,} {why}" for why, count in counts.most_common(3))
        log.info(f"{sum(counts.values()):,} rows not used ({reasons}): {rejects}")
    else:
        rejects.unlink()
    log.info(
        f"version {version}: {len(buyers):,} buyers, "
        f"products in their history {'excluded' if wanted.exclude_seen else 'kept'}"
    )
    schema = EventSchema(opened.manifest.event_weights)
    frames = []
    for first in track(range(0, len(buyers), _CHUNK), "recommending", unit="chunk"):
        codes = np.arange(first, min(first + _CHUNK, len(buyers)))
        start, stop = history.start[codes], history.start[codes + 1]
        batch = history_inputs(history, Cases(codes, start, stop, stop), schema, opened.manifest.max_history)
        vectors = tower.encode(index.vectors[batch.rows], batch)
        seen = [np.unique(history.product[a:b]).astype(np.int64) for a, b in zip(start, stop, strict=True)]
        nothing = [np.empty(0, np.int64)] * len(codes)
        most = candidates(wanted.k, wanted.diversity)
        found = index.search(vectors, [most] * len(codes), seen if wanted.exclude_seen else nothing)
        hits = [diversify(one, index, wanted.k, wanted.diversity) for one in found]
        sizes = [len(one.rows) for one in hits]
        frames.append(
            pl.DataFrame(
                {
                    "buyer_id": np.repeat(np.array(buyers, dtype=object)[codes], sizes).tolist(),
                    "rank": np.concatenate([np.arange(1, size + 1) for size in sizes]),
                    "product_id": ids[np.concatenate([one.rows for one in hits])].tolist(),
                    "score": np.concatenate([one.scores for one in hits]),
                }
            )
        )
    table = (
        pl.concat(frames)
        if frames
        else pl.DataFrame(
            schema={"buyer_id": pl.String, "rank": pl.Int64, "product_id": pl.String, "score": pl.Float32}
        )
    )
    temporary = out.with_name(f".{out.name}.new")
    table.write_parquet(temporary) if out.suffix == ".parquet" else table.write_csv(temporary)
    temporary.replace(out)
    return Written(version, len(buyers), table.height)
