"""A small shop whose words every test of the query steps knows."""

from __future__ import annotations

import pytest

from item_service.query.known_words import KnownWords
from item_service.query.synonyms import Synonyms
from item_service.query.understanding import Language, Understanding
from tests.helpers.small_words import search_words
from twotower.artifact.search_words import SearchWords

SYNONYMS = """
جوال، موبايل، تلفون، phone
عطر، برفان، perfume
ذهب، gold
خاتم، ring
ساعة ذكية، smart watch
اسود، سوداء
كفر > اطار
"""


@pytest.fixture(scope="session")
def words() -> SearchWords:
    return search_words()


@pytest.fixture(scope="session")
def language(words: SearchWords) -> Language:
    return Language.of(words)


@pytest.fixture(scope="session")
def synonyms() -> Synonyms:
    return Synonyms.of(enumerate(SYNONYMS.splitlines(), start=1))


@pytest.fixture(scope="session")
def understanding(language: Language, synonyms: Synonyms) -> Understanding:
    return Understanding(language, synonyms)


@pytest.fixture(scope="session")
def known(understanding: Understanding) -> KnownWords:
    return understanding.known
