"""The index of words: scores worked out by hand, forms of words, and damaged files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.words import words_index
from twotower.artifact.layout import VersionLayout
from twotower.errors import CorruptArtifact
from twotower.search.word_index import Word, WordIndex, word_files

# four words each, so that lengths do not count: a word that stands once scores 1
TITLES = ["خاتم ذهب عيار 21", "خاتم فضه عيار 21", "سلسال ذهب عيار 18", "عبايه سوداء قطن رقيق"]
INDEX = words_index(TITLES)


def asked(*texts: str, numbers: Sequence[str] = ()) -> list[Word]:
    return [Word(text, 1.0, text in numbers, place) for place, text in enumerate(texts)]


def idf(holding: int) -> float:
    return float(np.log1p((4 - holding + 0.5) / (holding + 0.5)))


def test_a_score_is_the_share_of_the_weights_of_the_words_held() -> None:
    match = INDEX.match(asked("خاتم", "ذهب"))
    np.testing.assert_allclose(match.scores, [1, 0.5, 0.5, 0], atol=1e-6)
    assert match.known == match.known_words == 1
    assert match.numbers is None
    rare = INDEX.match(asked("خاتم", "فضه"))
    np.testing.assert_allclose(rare.scores[1], 1, atol=1e-6)
    np.testing.assert_allclose(rare.scores[0], idf(2) / (idf(2) + idf(1)), atol=1e-6)


def test_an_unknown_word_counts_as_the_average_word() -> None:
    match = INDEX.match(asked("خاتم", "طائره"))
    share = idf(2) / (idf(2) + float(INDEX.weights.mean()))
    np.testing.assert_allclose(match.scores, [share, share, 0, 0], atol=1e-6)
    assert (match.known, match.known_words) == (pytest.approx(share), 0.5)


def test_forms_of_a_word_find_the_same_products() -> None:
    for form, sure in (("عبايه", 1), ("العبايه", 0.8), ("عبايات", 0.8), ("للعبايات", 0.8), ("وعبايه", 0.6)):
        match = INDEX.match(asked(form))
        np.testing.assert_allclose(match.scores, [0, 0, 0, sure], atol=1e-6)
        assert match.known == match.known_words == pytest.approx(sure)
        assert INDEX.knows(form)
    assert not INDEX.knows("طائره")


def test_the_very_word_counts_more_than_another_form_of_it() -> None:
    index = words_index(["عبايه قطن", "عبايات قطن"])
    np.testing.assert_allclose(index.match(asked("عبايه")).scores, [1, 0.8], atol=1e-6)
    np.testing.assert_allclose(index.match(asked("عبايات")).scores, [0.8, 1], atol=1e-6)


def test_a_word_still_being_typed_finds_those_that_it_begins() -> None:
    match = INDEX.match(asked("خا"))
    np.testing.assert_allclose(match.scores, [0.6, 0.6, 0, 0], atol=1e-6)
    assert match.known == pytest.approx(0.6)


def test_the_best_of_alternatives_counts_once() -> None:
    match = INDEX.match([Word("ذهب", 1.0, group=3), Word("فضه", 0.8, group=3), Word("خاتم", 1.0, group=3)])
    np.testing.assert_allclose(match.scores, [1, 1, 1, 0], atol=1e-6)
    np.testing.assert_allclose(INDEX.match([Word("طائره"), Word("فضه", 0.8)]).scores, [0, 0.8, 0, 0], atol=1e-6)


def test_numbers_count_by_the_share_of_the_other_words() -> None:
    match = INDEX.match(asked("خاتم", "21", numbers=["21"]))
    assert match.numbers is not None
    np.testing.assert_allclose(match.numbers, [1, 1, 0, 0], atol=1e-6)
    one = INDEX.match(asked("خاتم", "فضه", "21", "18", numbers=["21", "18"])).numbers
    assert one is not None
    np.testing.assert_allclose(one[1], 0.5, atol=1e-6)
    np.testing.assert_allclose(one[0], 0.5 * (idf(2) / (idf(2) + idf(1))) ** 2, atol=1e-6)
    alone = INDEX.match(asked("18", numbers=["18"])).numbers
    assert alone is not None
    np.testing.assert_allclose(alone, [0, 0, 1, 0], atol=1e-6)


def test_a_size_counts_by_its_parts() -> None:
    index = words_index(["اطار 265/70r16 جديد", "اطار 265/65r17 جديد", "اطار 205 جديد"])
    scores = index.match(asked("265/70r16", numbers=["265/70r16"])).scores
    assert scores[0] > scores[1] > scores[2] == 0


def test_rows_of_a_word_hold_all_of_its_parts() -> None:
    assert INDEX.rows_of("الخاتم").tolist() == [0, 1]
    assert INDEX.rows_of("طائره").tolist() == []
    index = words_index(["عطر 100 مل", "عطر 50 مل", "100 كيس"])
    assert index.rows_of("100مل").tolist() == [0]


def test_no_words_match_nothing() -> None:
    assert not INDEX.match([]).scores.any()


def test_an_index_comes_back_from_its_files(tmp_path: Path) -> None:
    INDEX.save(VersionLayout(tmp_path))
    again = WordIndex.load(VersionLayout(tmp_path), 4)
    assert [again.word(place) for place in range(len(again))] == sorted(
        INDEX.word(place) for place in range(len(INDEX))
    )
    np.testing.assert_array_equal(again.match(asked("خاتم")).scores, INDEX.match(asked("خاتم")).scores)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"rows": INDEX.rows + np.int32(3)}, "a row outside of 4 products"),
        ({"rows": INDEX.rows[:-1]}, "word_offsets does not rise from 0 to"),
        ({"scores": INDEX.scores[:-1]}, "word_scores"),
        ({"scores": np.full_like(INDEX.scores, np.nan)}, "not finite"),
        ({"starts": INDEX.starts[::-1].copy()}, "word_starts does not rise"),
        ({"weights": INDEX.weights.astype(np.float64)}, "word_weights is float64"),
        ({"weights": INDEX.weights[:-1]}, f"for {len(INDEX) - 1} words"),
    ],
)
def test_a_damaged_index_is_refused(change: dict[str, np.ndarray], problem: str) -> None:
    with pytest.raises(CorruptArtifact, match=problem):
        replace(INDEX, **change).check()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    INDEX.save(VersionLayout(tmp_path))
    word_files(VersionLayout(tmp_path))[0].unlink()
    with pytest.raises(CorruptArtifact, match=r"the index of words .* cannot be read"):
        WordIndex.load(VersionLayout(tmp_path), 4)
