"""Words that deny the one after them ("بدون عطر", "without"), as searches and titles write them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

# each as normalised by profile "full"; two words are one denial
DENIALS = frozenset(
    {
        *(("بدون",), ("بدوون",), ("بلا",), ("بغير",), ("دون",), ("من", "دون"), ("من", "غير"), ("غير",), ("ليس",)),
        *(("ليست",), ("مو",), ("مب",), ("موب",), ("مهو",), ("ماهو",), ("مش",), ("ماعدا",), ("ما", "عدا"), ("عدا",)),
        *(
            ("سوي",),
            ("باستثناء",),
            ("ومن", "غير"),
            ("ومن", "دون"),
            ("وبدون",),
            ("وبلا",),
            ("ما", "ابغي"),
            ("ما", "ابي"),
            ("مابي",),
            ("مابغي",),
            ("مو", "من"),
            ("مش", "عايز"),
        ),
        *(("without",), ("except",), ("excluding",), ("not",), ("no",), ("non",), ("sans",)),
    }
)
# of these, the words of titles for something that is not there; "غير لاصق" is a property of what is there
ABSENCES = frozenset({"بدون", "بدوون", "بلا", "بغير", "without", "sans"})
DENIAL_WORDS = frozenset(word for denial in DENIALS for word in denial)
_LONGEST = max(map(len, DENIALS))


def find_denials(words: Sequence[str]) -> Iterator[tuple[int, int]]:
    """The start of each denial among the words of a text and the place of the word that it denies."""
    place = 0
    while place < len(words):
        end = next((place + n for n in range(_LONGEST, 0, -1) if tuple(words[place : place + n]) in DENIALS), place)
        if place < end < len(words):
            yield place, end
        place = max(end, place + 1)
