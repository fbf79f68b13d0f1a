"""The words of a text as the index of words has them: split, numbers apart, with a light stem for Arabic.

The stem lacks the article and the commonest endings, as that of light10 (Larkey, Ballesteros and Connell, Light
stemming for Arabic information retrieval, 2007), but keeps single letters in front: و and ب begin too many roots. A
search tries these only where the stem is unknown (`clitic_stems`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

from twotower.text.normalise import Normaliser, searched_words

# the words of a search, and the letters of one
MAX_WORDS, MAX_LETTERS = 500, 128
# as in the n-grams of the catalogue encoder: hamza and emphasis are no part of a word
_HAMZA = {ord("ؤ"): "و", ord("ئ"): "ي", ord("ء"): None}
_RUN = re.compile("([ا-ي])\\1{2,}")
# "200 × 300" and "200*300" are one size
_TIMES = re.compile(r"(?<=[0-9]) ?[x×*] ?(?=[0-9])")
_CHUNK = re.compile(r"[^\W_]+(?:[./-][^\W_]+)*")
_PIECE = re.compile(r"[^\W\d_]+|\d+(?:\.\d+)?")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_ARABIC = re.compile("[ء-ي]")
_ARTICLES = ("وال", "بال", "كال", "فال", "ولل", "ال", "لل")
# with the letters that they leave at least: زيتون is no plural of زيت, nor تمرين of تمر; of goods, no plural is in ون
_ENDINGS = {"ها": 3, "ان": 4, "ات": 3, "ين": 4, "يه": 3, "ه": 3, "ي": 3}
_CLITICS = "وفبلك"
# letters that a stem keeps at least
_SHORTEST = 3
_FULL = Normaliser.profile("full")


def query_words(text: str) -> list[str]:
    """The words of a shopper's raw text, each once, in order; at most `MAX_WORDS`, and none above `MAX_LETTERS`."""
    words = dict.fromkeys(word for word in split_words(_FULL(searched_words(text))) if len(word) <= MAX_LETTERS)
    return list(words)[:MAX_WORDS]


def indexed_words(text: str) -> list[str]:
    """The words of a product's raw text, in order."""
    return split_words(_FULL(text))


def split_words(text: str) -> list[str]:
    """The words of a text normalised by profile "full": runs of letters, and numbers.

    A size with several numbers ("265/70r16", "200x300") stands before its parts as a word of its own.
    """
    text = _TIMES.sub("x", _RUN.sub(r"\1", text.translate(_HAMZA)))
    found = list[str]()
    for chunk in _CHUNK.findall(text):
        if chunk.isalpha():
            found.append(chunk)
            continue
        if is_number(chunk) and len(_NUMBER.findall(chunk)) > 1 and _NUMBER.fullmatch(chunk) is None:
            found.append(chunk)
        found += _PIECE.findall(chunk)
    return found


@lru_cache(maxsize=50_000)
def parts_of(word: str) -> tuple[str, ...]:
    """The words of `split_words` in one normalised word: of "100مل" both."""
    return tuple(split_words(word))


def is_number(word: str) -> bool:
    """Whether a word is a number, or a size that begins with one."""
    return word[:1].isdigit()


@lru_cache(maxsize=200_000)
def stem(word: str) -> str:
    """The stem of a word of `split_words`: at least three letters of it. A number is its own stem."""
    if not _ARABIC.match(word):
        return _singular(word) if word.isalpha() else word
    for article in _ARTICLES:
        if word.startswith(article) and len(word) >= len(article) + _SHORTEST:
            word = word.removeprefix(article)
            break
    for ending, kept in _ENDINGS.items():
        # one after another: عبايات loses ات, and then ي as عبايه does
        if word.endswith(ending) and len(word) >= len(ending) + kept:
            word = word.removesuffix(ending)
    return word


def clitic_stems(word: str) -> Iterator[str]:
    """Stems of an Arabic word without one or two of the letters و ف ب ل ك in front."""
    for _ in range(2):
        if word[:1] not in _CLITICS or len(word) <= _SHORTEST:
            return
        word = word[1:]
        yield stem(word)


def _singular(word: str) -> str:
    if len(word) <= _SHORTEST or not word.endswith("s") or word.endswith("ss"):
        return word
    return f"{word[:-3]}y" if word.endswith("ies") and len(word) > 4 else word[:-1]
