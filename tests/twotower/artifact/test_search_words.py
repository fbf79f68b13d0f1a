"""search_words.json: what is saved is loaded, and a damaged file is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from twotower.artifact.search_words import SearchWords
from twotower.errors import CorruptArtifact

WORDS = SearchWords(
    {"خاتم": 2}, {"درر نجوان": 1}, {"مجوهرات": 2}, {"خاتم ذهب": 2}, {"بدون عطر": 1}, {"خاتم بنات": 3}, {"khatm": 4}
)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    WORDS.save(tmp_path / "words.json")
    assert SearchWords.load(tmp_path / "words.json") == WORDS


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        json.dumps({"words": {}}),
        json.dumps({"words": {"a": 0}, "brands": {}, "categories": {}, "phrases": {}, "denials": {}}),
        json.dumps({"words": {"a": "1"}, "brands": {}, "categories": {}, "phrases": {}, "denials": {}}),
        json.dumps({"words": {}, "brands": [], "categories": {}, "phrases": {}, "denials": {}}),
        json.dumps({"words": {}, "brands": {}, "categories": {}, "phrases": {}, "denials": {}, "more": {}}),
    ],
)
def test_another_content_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "words.json"
    path.write_text(content)
    with pytest.raises(CorruptArtifact, match=r"words\.json"):
        SearchWords.load(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptArtifact, match=r"words\.json"):
        SearchWords.load(tmp_path / "words.json")
