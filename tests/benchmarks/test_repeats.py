"""The synthetic grocery of benchmarks/repeats.py."""

from __future__ import annotations

import csv
from datetime import datetime
from pathlib import Path

from benchmarks.grocery import write_grocery


def events_of(folder: Path) -> list[list[str]]:
    folder.mkdir()
    write_grocery(folder, seed=5, buyers=20, weeks=12)
    with (folder / "events.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))[1:]


def test_buyers_take_weekly_baskets_and_most_of_what_they_took_before(tmp_path: Path) -> None:
    rows = events_of(tmp_path / "shop")
    assert rows == events_of(tmp_path / "again")
    baskets: dict[str, dict[datetime, list[str]]] = {}
    for buyer, product, _, moment in rows:
        baskets.setdefault(buyer, {}).setdefault(datetime.fromisoformat(moment), []).append(product)
    assert len(baskets) == 20
    again = counted = 0
    for one in baskets.values():
        assert {(moment - min(one)).days % 7 for moment in one} == {0}
        had: set[str] = set()
        for moment in sorted(one):
            assert len(set(one[moment])) == len(one[moment])
            if had:
                again += len(had & set(one[moment]))
                counted += len(one[moment])
            had |= set(one[moment])
    assert 0.4 < again / counted < 0.9
