"""What is learned is kept if wordings held out gain, and is off where there is nothing to learn."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.helpers.tiny_version import write_encoder
from tests.helpers.words import products_of_titles
from trainer.data.searches import NO_SEARCHES
from trainer.search.learning import Gain, Ranking, learn
from trainer.search.searched import describe_searches, popular_queries, propose_synonyms, strange_words
from trainer.search.wordings import Wordings, count_wordings
from trainer.search.words import build_words
from twotower.arrays import Float32
from twotower.artifact.layout import Layout
from twotower.artifact.manifest import WordWeights
from twotower.graphs.text_encoder import EncoderSpec, TextEncoder
from twotower.search.vector_index import unit_rows
from twotower.text.ngrams import NgramSpec
from twotower.text.normalise import Normaliser

MEANS = {"phon": "جوال", "khatm": "خاتم", "otor": "عطر", "zayt": "زيت"}
BESIDE = ["جديد", "اصلي", "فاخر", "كبير", "صغير"]
PRODUCTS = products_of_titles(
    [f"{noun} {word} {row}" for row in range(8) for noun in MEANS.values() for word in BESIDE]
)
WORDS = build_words(PRODUCTS, reads_descriptions=False)


class Table:
    """A graph of n-grams: random vectors, many enough that few words share one."""

    def __init__(self, spec: NgramSpec, dimension: int) -> None:
        self._rows = np.random.default_rng(0).normal(size=(spec.buckets, dimension)).astype(np.float32)
        self._rows[0] = 0

    def run(self, values: Mapping[str, Any]) -> list[Float32]:
        sums = np.einsum("bl,ble->be", values["attention_mask"].astype(np.float32), self._rows[values["input_ids"]])
        return [unit_rows(sums), sums]


def wide_encoder() -> TextEncoder:
    ngrams, normaliser = NgramSpec(buckets=20_000), Normaliser.profile("full").settings()
    spec = EncoderSpec(
        kind="ngrams", name="wide", dimension=64, normaliser=normaliser, max_length=1024, ngrams=ngrams.settings()
    )
    graph: Any = Table(ngrams, 64)
    return TextEncoder(spec, ngrams, graph)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> TextEncoder:
    return TextEncoder.load(write_encoder(Layout(tmp_path_factory.mktemp("encoder")), 0), 1)


def made_pairs(means: dict[str, str], buyers: int = 6) -> pl.DataFrame:
    """Wordings of strange words, each with choices of the products that they mean."""
    draw = random.Random(1)
    rows = []
    for word, noun in means.items():
        chosen = [row for row, title in enumerate(PRODUCTS.titles) if title.startswith(noun)]
        for text in (word, *(f"{word} {other}" for other in BESIDE)):
            for buyer in range(buyers):
                rows.append((f"{text}{buyer}", text, draw.choice(chosen), 1.0, 0, 0))
    return pl.DataFrame(rows, schema=NO_SEARCHES.pairs.schema, orient="row")


def counted(pairs: pl.DataFrame) -> Wordings:
    return count_wordings(pairs, len(PRODUCTS), 3)


def ranking(encoder: TextEncoder) -> Ranking:
    return Ranking(unit_rows(encoder.encode(PRODUCTS.titles)), WORDS, WordWeights())


def test_wordings_that_were_never_seen_gain() -> None:
    encoder = wide_encoder()
    learned = learn(counted(made_pairs(MEANS)), PRODUCTS, ranking(encoder), encoder, 7)
    assert learned.ngrams is not None and learned.held_out is not None, learned.reason
    assert learned.held_out.after > learned.held_out.before
    facts = learned.facts()
    assert (facts["kept"], facts["held_out"]["searches"], facts["ngrams"]) == (True, 24, len(learned.ngrams.ids))


def test_what_costs_the_search_for_titles_is_not_kept(encoder: TextEncoder) -> None:
    # all words share 512 n-grams in twelve dimensions
    learned = learn(counted(made_pairs(MEANS)), PRODUCTS, ranking(encoder), encoder, 7)
    assert learned.ngrams is None
    assert "queries made from titles lost" in learned.reason


def test_choices_at_random_teach_nothing(encoder: TextEncoder) -> None:
    draw = np.random.default_rng(3)
    pairs = made_pairs(MEANS)
    pairs = pairs.with_columns(row=pl.Series(draw.integers(0, len(PRODUCTS), pairs.height), dtype=pl.Int32))
    learned = learn(counted(pairs), PRODUCTS, ranking(encoder), encoder, 7)
    assert learned.ngrams is None
    assert "wordings held out did not clearly gain" in learned.reason


@pytest.mark.parametrize("means", [{}, {"phon": "جوال"}])
def test_few_wordings_prove_nothing(means: dict[str, str], encoder: TextEncoder) -> None:
    learned = learn(counted(made_pairs(means)), PRODUCTS, ranking(encoder), encoder, 7)
    assert learned.facts() == {
        "kept": False,
        "reason": f"{6 * len(means)} wordings have enough buyers, at least 10 are needed",
        "ngrams": 0,
        "held_out": None,
        "titles": None,
    }


@pytest.mark.parametrize(
    ("changes", "is_clear", "is_loss"),
    [([0.5, 0.5, 0.4], True, False), ([0.1, -0.1, 0.0], False, False), ([-0.2, -0.2, -0.1], False, True)],
)
def test_gains_and_losses_beyond_noise(changes: Sequence[float], is_clear: bool, is_loss: bool) -> None:
    gain = Gain.of(np.full(3, 0.5), 0.5 + np.array(changes))
    assert (gain.is_clear, gain.is_loss) == (is_clear, is_loss)


def test_synonyms_are_proposed_and_popular_queries_complete() -> None:
    wordings = counted(made_pairs(MEANS))
    proposed = {
        one["word"]: (one["means"], one["votes"], one["of"]) for one in propose_synonyms(wordings, PRODUCTS, WORDS, 3)
    }
    assert proposed == {word: (noun, 36, 36) for word, noun in MEANS.items()}
    assert strange_words(wordings, WORDS) == dict.fromkeys(MEANS, 36)
    assert popular_queries(wordings, 7) == {}
    assert popular_queries(wordings, 6)["phon"] == int(wordings.votes[wordings.texts.index("phon")].count_nonzero())


def test_the_report_names_what_was_searched_and_what_it_led_to() -> None:
    rows = [
        (f"s{n}", text, 1000 * n + at, found)
        for n in range(3)
        for at, text, found in ((0, "خواتمم", 0), (1, "خاتم", 9))
    ]
    served = pl.DataFrame(
        [*rows, ("s1", "private words", 5, 0), ("s2", "غريب", 9, 3), ("s3", "غريب", 9, 3), ("s4", "غريب", 9, 3)],
        schema=NO_SEARCHES.served.schema,
        orient="row",
    )
    pairs = pl.DataFrame([("a", "خاتم", 1, 1.0, 5, 0)], schema=NO_SEARCHES.pairs.schema, orient="row")
    found = describe_searches(NO_SEARCHES._replace(pairs=pairs, served=served), PRODUCTS, 3)
    assert (found["searches"], found["choices"], found["wordings"]) == (10, 1, 3)
    assert found["empty"] == [{"query": "خواتمم", "searches": 3, "shoppers": 3, "then": ["خاتم"]}]
    assert found["unchosen"] == [{"query": "غريب", "searches": 3, "shoppers": 3}]
    assert {one["query"]: (one["choices"], one["products"]) for one in found["top"]} == {
        "خاتم": (1, [PRODUCTS.titles[1]]),
        "خواتمم": (0, []),
        "غريب": (0, []),
    }
