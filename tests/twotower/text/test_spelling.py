"""Words with one typing error."""

from __future__ import annotations

import pytest

from twotower.text.spelling import holds_misspelt, is_misspelt


@pytest.mark.parametrize(
    ("word", "other", "expected"),
    [
        ("خاتم", "خاتم", True),
        ("خاتم", "خاتمم", True),
        ("خاتم", "ختم", True),
        ("خاتم", "خاتن", True),
        ("خاتم", "ساتم", True),
        ("خاتم", "خاتما", True),
        ("خاتم", "خاتسما", False),
        ("خاتم", "ختام", True),
        ("خاتم", "اختم", True),
        # two apart are swapped
        ("خاتم", "ماتخ", False),
        ("طابعه", "مكنسه", False),
        ("من", "منه", False),
    ],
)
def test_one_typing_error(word: str, other: str, expected: bool) -> None:
    assert is_misspelt(word, other) is expected
    assert is_misspelt(other, word) is expected


def test_a_word_may_be_any_of_several() -> None:
    assert holds_misspelt(["ذهب", "خاتم"], "خاتن")
    assert not holds_misspelt([], "خاتن")
