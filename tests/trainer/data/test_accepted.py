"""Blocks and parts: their sizes change nothing in what is read."""

from __future__ import annotations

from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.helpers.small_shop import PRODUCT_COLUMNS, write_csv
from trainer.config.loading import load_config
from trainer.data import accepted
from trainer.data.accepted import AcceptedRows
from trainer.data.dataset import Dataset, data_facts, load_dataset
from trainer.data.rejects import RowChecks, open_rejects
from trainer.data.tables import files
from trainer.data.visitors import Visitors

COLUMNS = ["distinct_id", "product_id", "event_name", "created_at", "query", "device"]
ROWS = [
    ["b2", "p1", "View", "300", "", ""],
    ["b1", "p0", "Purchase", "200", "gold ring", ""],
    ["", "p2", "View", "250", "", "d1"],
    ["b2", "p9", "View", "301", "", ""],
    ["b3", "p3", "View", "31/12/2024", "", ""],
    ["b2", "p1", "View", "300", "silver", ""],
    ["b1", "p2", "click", "202", "", ""],
    ["b1", "p2", "View", "100", "", "d1"],
    ["b3", "p0", "View", "yesterday", "", ""],
    ["b1", "p0", "Purchase", "200", "", ""],
]
SETTINGS = ["data.max_reject_share=1", "data.max_unknown_share=1", "data.event_columns.anonymous=device"]


def read(folder: Path) -> tuple[Dataset, str]:
    """The data set of ROWS, and the text of rejects.csv."""
    events = str(write_csv(folder / "events.csv", COLUMNS, ROWS))
    products = str(write_csv(folder / "products.csv", PRODUCT_COLUMNS, [[f"p{n}", f"t{n}", "", ""] for n in range(4)]))
    data = load_dataset([events], [products], load_config([], SETTINGS).data, 7, folder / "work")
    return data, (folder / "work" / "rejects.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize(("block_bytes", "part_events"), [(1, 1), (40, 2), (100, 1_000_000), (1_000_000, 1)])
def test_blocks_and_parts_of_any_size_give_the_same_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block_bytes: int, part_events: int
) -> None:
    whole, rejects = read(tmp_path)
    monkeypatch.setattr(files, "read_chunks", partial(files.read_chunks, chunk_bytes=block_bytes))
    monkeypatch.setattr(files, "read_csv", partial(files.read_csv, block_bytes=block_bytes))
    monkeypatch.setattr(accepted, "PART_EVENTS", part_events)
    data, found_rejects = read(tmp_path)
    assert data.buyers == whole.buyers == ["b1", "b2", "b3"]
    # b1 was the visitor d1; the second rows of b2 and b1 repeat the first ones
    assert data.events.buyer.tolist() == [0, 0, 0, 1, 2]
    assert data.events.product.tolist() == [2, 0, 2, 1, 3]
    assert data.events.time.tolist() == [100_000, 200_000, 250_000, 300_000, 1_735_603_200_000]
    for ours, wanted in zip(data.events, whole.events, strict=True):
        assert (ours.dtype, ours.tobytes()) == (wanted.dtype, wanted.tobytes())
    assert data.summary.dropped_events == {"exact duplicate": 2}
    assert data_facts(data) == data_facts(whole)
    assert data.searches.pairs.rows() == whole.searches.pairs.rows()
    # of a repeated event the first row counts, with its search or without
    assert data.searches.pairs.select("buyer", "query", "row").rows() == [("b1", "gold ring", 0)]
    assert found_rejects == rejects
    assert [line.split(",")[1] for line in rejects.splitlines()[1:]] == ["5", "8", "10"]


def test_a_part_has_whole_buyers_and_at_most_its_number_of_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepted, "PART_EVENTS", 3)
    rows, draw = AcceptedRows(), np.random.default_rng(0)
    for batch in range(5):
        buyer = pl.Series([f"b{one}" for one in draw.integers(0, 6, 4)])
        columns = {"buyer": buyer, "row": [batch] * 4, "kind": [1, 2, 3, 1], "ms": list(range(4))}
        rows.add(pl.DataFrame(columns, schema_overrides={"row": pl.Int32, "kind": pl.Int8}))
    with open_rejects(tmp_path / "rejects.csv") as file:
        gathered = rows.finish(Visitors(), RowChecks("events", file))
    buyers = [part["buyer"].unique().to_list() for part in gathered.parts]
    assert list(chain(*buyers)) == list(range(len(gathered.buyers)))
    assert all(part.height <= 3 or len(own) == 1 for part, own in zip(gathered.parts, buyers, strict=True))
    assert len(gathered.parts) > 1
    assert gathered.height == 20
