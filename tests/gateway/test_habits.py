"""The sentences of /again and /trending: numbers and nouns agree in both languages."""

from __future__ import annotations

import pytest

from gateway.habits import bought_again, rising


@pytest.mark.parametrize(
    ("times", "ago", "usual", "arabic", "english"),
    [
        (1, 0, 30, "اشتريته مرة واحدة اليوم، ويُعاد شراؤه عادةً كل 30 يومًا", "You bought it once, today; it is usually bought again every 30 days"),
        (2, 1, 2, "اشتريته مرتين، كل يومين تقريبًا، وآخرها قبل يوم", "You bought it twice, about every 2 days, last yesterday"),
        (3, 2, 1, "اشتريته 3 مرات، كل يوم تقريبًا، وآخرها قبل يومين", "You bought it 3 times, about every day, last 2 days ago"),
        (11, 10, 11, "اشتريته 11 مرة، كل 11 يومًا تقريبًا، وآخرها قبل 10 أيام", "You bought it 11 times, about every 11 days, last 10 days ago"),
        (103, 100, 103, "اشتريته 103 مرات، كل 103 أيام تقريبًا، وآخرها قبل 100 يوم", "You bought it 103 times, about every 103 days, last 100 days ago"),
    ],
)  # fmt: skip
def test_what_was_bought_and_when(times: int, ago: int, usual: int, arabic: str, english: str) -> None:
    found = bought_again(times, ago, usual)
    assert (found.ar, found.en) == (arabic, english)


@pytest.mark.parametrize(
    ("buyers", "expected", "days", "arabic", "english"),
    [
        (5, 0.2, 1.0, "الإقبال عليه يزداد: 5 متسوقين خلال 24 ساعة، والمعتاد 0", "More shoppers than usual: 5 in 24 hours, usually 0"),
        (12, 3.4, 7.0, "الإقبال عليه يزداد: 12 متسوقًا خلال 7 أيام، والمعتاد 3", "More shoppers than usual: 12 in 7 days, usually 3"),
        (100, 40, 1 / 24, "الإقبال عليه يزداد: 100 متسوق خلال ساعة، والمعتاد 40", "More shoppers than usual: 100 in 1 hour, usually 40"),
        (110, 40, 2.0, "الإقبال عليه يزداد: 110 متسوقين خلال يومين، والمعتاد 40", "More shoppers than usual: 110 in 2 days, usually 40"),
    ],
)  # fmt: skip
def test_how_many_more_shoppers(buyers: int, expected: float, days: float, arabic: str, english: str) -> None:
    found = rising(buyers, expected, days)
    assert (found.ar, found.en) == (arabic, english)
