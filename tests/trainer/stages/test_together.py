"""The table of complements as a run writes it, and as a refresh keeps it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from retrieval_service.loading import load
from retrieval_service.query import Query
from retrieval_service.settings import RetrievalSettings
from tests.helpers.small_shop import PRODUCT_COLUMNS, copy_artifacts, current, product_rows, small_run, write_csv
from trainer.__main__ import main
from trainer.config.loading import load_config
from twotower.errors import SettingsError
from twotower.search.complements import ComplementTable, complement_files

# events of this shop are hours apart
DAY_LONG = (
    "together.session_minutes=1440",
    "together.min_groups=1",
    "together.min_ratio=0",
    "training.start=linear",
    "training.refit=false",
)


def test_a_version_holds_its_complements_and_says_what_they_come_from() -> None:
    version = current(small_run(*DAY_LONG)[1])
    assert version.has_complements
    version.check(*complement_files(version.layout))
    table = ComplementTable.load(version.layout)
    table.check(60)
    facts = json.loads(version.layout.metrics.read_text(encoding="utf-8"))["together"]
    assert facts["products_with_own_pairs"] == int((table.known > 0).sum()) > 30
    assert facts["validation_baskets"] == 0
    assert (facts["shrinkage"], facts["ridge"]) == (10, 10)
    assert facts["sessions"] > 50 and facts["pairs"] > 100
    (found,) = load(version, RetrievalSettings()).together([Query(5)], [["p0"]])
    ids = np.load(version.layout.ids)
    row = ids.tolist().index("p0")
    assert found.answer.product_ids == ids[table.complete([row]).rows[:5]].tolist()
    assert found.because == [0] * 5


def test_a_refresh_keeps_the_complements_of_the_products_that_stay(tmp_path: Path) -> None:
    artifacts = copy_artifacts(small_run(*DAY_LONG)[1], tmp_path / "artifacts")
    before = current(artifacts)
    # p0 comes last, p1 is gone, p60 is new
    rows = product_rows(61)
    path = write_csv(tmp_path / "today.csv", PRODUCT_COLUMNS, [*rows[2:], rows[0]])
    assert main(["refresh", "--products", str(path), "--artifacts", str(artifacts)]) == 0
    after = current(artifacts)
    assert after.name != before.name
    lists = []
    for version in (before, after):
        ids, table = np.load(version.layout.ids).tolist(), ComplementTable.load(version.layout)
        lists.append({one: [ids[row] for row in table.complete([place]).rows] for place, one in enumerate(ids)})
    old, new = lists
    assert new["p60"] == []
    assert new["p0"] == [one for one in old["p0"] if one != "p1"] != []
    assert "p1" not in new


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("together.substitute_cut=often", "substitute_cut"),
        ("together.session_minutes=0", "session_minutes"),
        ("together.shrinkages=[]", "shrinkages"),
        ("together.ridges=[0]", "ridges"),
        ("together.largest=1", "largest"),
        ("together.lift=2", "lift"),
    ],
)
def test_an_impossible_setting_is_refused_by_name(setting: str, why: str) -> None:
    with pytest.raises(SettingsError, match=f"together.{why}"):
        load_config([], [setting])


def test_the_cut_may_be_a_number() -> None:
    assert load_config([], ["together.substitute_cut=0.4"]).together.substitute_cut == 0.4
