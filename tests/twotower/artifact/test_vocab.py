"""Brand and category names to indices."""

from __future__ import annotations

from pathlib import Path

import pytest

from twotower.artifact.vocab import Vocab
from twotower.errors import CorruptArtifact


def test_names_are_numbered_from_one_the_most_frequent_first_ties_by_name() -> None:
    vocab = Vocab.build(["c", "b", "b", "a", ""], ["x"])
    assert vocab.brand == {"b": 1, "a": 2, "c": 3}
    assert vocab.category == {"x": 1}


def test_spellings_of_one_name_share_an_index() -> None:
    vocab = Vocab.build(["أحمد", "احمد", "اَحْمَد"], ["ساعة", "ساعه"])
    assert len(vocab.brand) == len(vocab.category) == 1
    assert vocab.brand_index("آحمد") == vocab.brand_index("أحمـد") == 1
    assert vocab.category_index("ساعة") == 1


def test_names_keep_their_letter_variants_and_separators() -> None:
    vocab = Vocab({"چوپار": 1, "1,500": 2}, {"پيجامات": 1})
    assert [vocab.brand_index("چوپار"), vocab.brand_index("١٬٥٠٠")] == [1, 2]
    assert vocab.category_index("پيجامات") == 1
    assert Vocab.build(["چوپار"], []).brand == {"چوپار": 1}


def test_unknown_and_empty_names_are_zero() -> None:
    vocab = Vocab.build(["a"], ["b"])
    for name in ("", "  ", "nobody", "b"):
        assert vocab.brand_index(name) == 0
    assert vocab.category_index("a") == 0


def test_rare_names_are_left_out() -> None:
    assert Vocab.build(["a", "a", "b"], [], minimum=2).brand == {"a": 1}


def test_a_vocabulary_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    vocab = Vocab.build(["لازوردي", "b"], ["مجوهرات"])
    vocab.save(tmp_path / "vocab.json")
    assert Vocab.load(tmp_path / "vocab.json") == vocab


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"brand": {}}', b'{"brand": 1, "category": 2}', b"\xff"])
def test_a_file_that_is_no_vocabulary_is_corrupt(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "vocab.json").write_bytes(content)
    with pytest.raises(CorruptArtifact, match="is not a vocabulary"):
        Vocab.load(tmp_path / "vocab.json")
