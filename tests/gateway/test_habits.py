"""The sentences of /again and /trending: numbers and nouns agree in both languages."""

from __future__ import annotations

import pytest

from gateway.habits import bought_again, rising


@pytest.mark.parametrize(
    ("times", "ago", "usual", "arabic"),
    [
        (1, 0, 30, "اشتريته مرة واحدة اليوم، ويُعاد شراؤه عادةً كل 30 يومًا"),
        (2, 1, 2, "اشتريته مرتين، كل يومين تقريبًا، وآخرها قبل يوم"),
        (3, 2, 1, "اشتريته 3 مرات، كل يوم تقريبًا، وآخرها قبل يومين"),
        (11, 10, 11, "اشتريته 11 مرة، كل 11 يومًا تقريبًا، وآخرها قبل 10 أيام"),
        (103, 100, 103, "اشتريته 103 مرات، كل 103 أيام تقريبًا، وآخرها قبل 100 يوم"),
    ],
)
def test_what_was_bought_and_when_in_arabic(times: int, ago: int, usual: int, arabic: str) -> None:
    assert bought_again(times, ago, usual).ar == arabic


@pytest.mark.parametrize(
    ("times", "ago", "usual", "english"),
    [
        (1, 0, 30, "You bought it once, today; it is usually bought again every 30 days"),
        (2, 1, 2, "You bought it twice, about every 2 days, last yesterday"),
        (3, 2, 1, "You bought it 3 times, about every day, last 2 days ago"),
    ],
)
def test_what_was_bought_and_when_in_english(times: int, ago: int, usual: int, english: str) -> None:
    assert bought_again(times, ago, usual).en == english


@pytest.mark.parametrize(
    ("buyers", "expected", "days", "arabic", "english"),
    [
        (5, 0.2, 1.0, "5 متسوقين خلال 24 ساعة، والمعتاد 0", "5 in 24 hours, usually 0"),
        (12, 3.4, 7.0, "12 متسوقًا خلال 7 أيام، والمعتاد 3", "12 in 7 days, usually 3"),
        (100, 40, 1 / 24, "100 متسوق خلال ساعة، والمعتاد 40", "100 in 1 hour, usually 40"),
        (110, 40, 2.0, "110 متسوقين خلال يومين، والمعتاد 40", "110 in 2 days, usually 40"),
    ],
)
def test_how_many_more_shoppers(buyers: int, expected: float, days: float, arabic: str, english: str) -> None:
    found = rising(buyers, expected, days)
    assert found.ar == f"الإقبال عليه يزداد: {arabic}"
    assert found.en == f"More shoppers than usual: {english}"
