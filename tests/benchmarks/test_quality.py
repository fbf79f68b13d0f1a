"""benchmarks/quality.py and figures.py: what each system may know, and the arithmetic of the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.figures import Figure, Measured, figures_of, table
from benchmarks.quality import item_features, write_ids
from trainer.config.loading import load_config
from trainer.data.changes import load_products
from trainer.evaluate.ranking import Ranks
from trainer.model.inputs import ItemFeatures


def test_a_catalogue_of_ids_has_nothing_else(tmp_path: Path) -> None:
    write_ids(["b", "a, c", 'd"'], tmp_path / "ids.csv")
    products, summary = load_products([str(tmp_path / "ids.csv")], load_config().data, tmp_path / "work")
    assert products.ids == ["b", "a, c", 'd"']
    assert not summary.rejected_products
    for column in (products.titles, products.descriptions, products.brands, products.categories):
        assert column == ["", "", ""]
    assert products.attributes == [(), (), ()]


def test_item_features_are_the_codes_of_the_item_tower_without_the_unknown() -> None:
    brand, category = torch.tensor([1, 0]), torch.tensor([2, 1])
    features = ItemFeatures(torch.zeros(2, 4), brand, category, torch.tensor([1, 2]), torch.tensor([[3, 4], [4, 0]]))
    rows = sorted(map(tuple, item_features(features).tolist()))
    assert rows == [(0, 0, 1), (0, 1, 2), (0, 2, 3), (0, 2, 4), (1, 1, 1), (1, 2, 4)]


def test_a_product_without_attributes_has_no_rows_of_them() -> None:
    none = torch.zeros(1, 0, dtype=torch.long)
    features = ItemFeatures(torch.zeros(1, 4), torch.tensor([5]), torch.tensor([0]), torch.tensor([1]), none)
    assert item_features(features).tolist() == [[0, 0, 5]]


def measured(cases: list[int], ranks: list[int]) -> Measured:
    case = np.array(cases)
    return Measured.of(Ranks(case, np.array(ranks), np.empty((9, 0), np.int64), case), {})


def test_figures_are_those_of_the_targets_ranks() -> None:
    """Ranks 0, 2, 50: gains 1, 1 / log2(4), 0 within ten; the third is within a hundred."""
    figures = figures_of([measured([0, 1, 2], [0, 2, 50])])
    assert figures["ndcg@10"].mean == pytest.approx(0.5)
    assert figures["recall@10"].mean == pytest.approx(2 / 3)
    assert figures["recall@100"].mean == 1
    assert (figures["recall@100"].low, figures["recall@100"].high) == (1, 1)
    assert 0 <= figures["recall@10"].low < 2 / 3 < figures["recall@10"].high <= 1


def test_a_buyer_counts_with_the_mean_over_its_seeds() -> None:
    """Buyer 0 is found with one seed of two, buyer 1 with its only one."""
    figures = figures_of([measured([0, 1], [0, 0]), measured([0], [200])])
    assert figures["recall@10"].mean == pytest.approx((0.5 + 1) / 2)
    assert figures["recall@10"].seeds == [1, 0]


def test_the_table_marks_what_was_stopped() -> None:
    figure = Figure(0.0523, 0.05, 0.06, [0.0523])
    own = dict.fromkeys(("ndcg@10", "recall@10", "recall@100"), figure)
    head, ours, stopped = table({"ours": own, "esasrec": own}, {"esasrec"}).splitlines()
    assert head.split() == ["ndcg@10", "recall@10", "recall@100"]
    assert ours.split() == ["ours", *["0.0523", "(0.0500-0.0600)"] * 3]
    assert stopped.split()[0] == "esasrec*"
