"""The inputs of the search benchmarks: sixty queries, and queries made from a catalogue of medicines."""

from __future__ import annotations

import re

import numpy as np

from benchmarks.fresh_searches import read_queries
from benchmarks.real_search import _kinds, _reciprocal
from tests.helpers.words import products_of_titles
from twotower.text.normalise import Normaliser


def test_half_of_the_sixty_queries_have_an_answer_and_none_comes_twice() -> None:
    queries = read_queries()
    assert len({text for text, _ in queries}) == 60
    patterns = [pattern for _, pattern in queries if pattern]
    assert len(patterns) == 30
    fold = Normaliser.profile("full")
    for pattern in patterns:
        # titles are normalised before they are compared
        assert fold(re.sub(r"\|", " ", pattern)) == re.sub(r"\|", " ", pattern)


def test_queries_of_a_field_are_answered_by_all_products_that_have_it() -> None:
    titles, brands = ["بنادول اكسترا اقراص", "بنادول شراب", "كونجستال اقراص"], ["GSK > Haleon (Egypt)", "GSK", "Sigma"]
    products = products_of_titles(titles, brands=brands)
    kinds = _kinds(products, ["PARACETAMOL", "PARACETAMOL", ""])
    assert {one.text for one in kinds["company"]} == {"gsk"}
    assert all(np.flatnonzero(one.answers).tolist() == [0, 1] for one in kinds["company"] + kinds["ingredient"])
    assert {one.text for one in kinds["title_company"]} == {"بنادول gsk"}
    # one title alone has three words
    assert all(np.flatnonzero(one.answers).tolist() == [0] for one in kinds["partial"] if "اكسترا" in one.text)


def test_a_tie_ranks_above_the_answer() -> None:
    scores, answers = np.array([0.5, 0.9, 0.5, 0.1], np.float32), np.array([False, False, True, False])
    assert _reciprocal(scores, answers) == 1 / 3
