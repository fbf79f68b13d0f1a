"""What the lists of /again and /trending say of their products, in figures and in sentences.

The Arabic verbs address a man and a woman with the same letters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from gateway.clients.answers import RegularHits
from gateway.reasons import Reason
from gateway.sentences import PLACED, Sentence
from twotower.events import DAY_MS
from twotower.pb import retrieval_pb2

# why a buyer gets an empty list
_MISSING = {
    retrieval_pb2.MODEL: "this version knows of no repeat purchases: the training saw too few",
    retrieval_pb2.PURCHASES: "the buyer's stored history holds no purchase",
    retrieval_pb2.REPEATS: (
        "the buyer has bought nothing twice, and few buyers come back to the products that were bought once"
    ),
}


@dataclass(frozen=True)
class Due:
    """When the buyer bought the product last, on how many days, and the usual interval in days: the median, and the
    bounds of the middle half. `due_in_days`: the usual interval less the days since; below 0 it is overdue.
    """

    last_bought: str
    times: int
    usual_days: float
    usual_days_low: float
    usual_days_high: float
    due_in_days: float


@dataclass(frozen=True)
class DueReason(Reason):
    """Why a product is in the list of /again. `due` is None for one that only a rule has brought."""

    due: Due | None = None


@dataclass(frozen=True)
class Rise:
    """Buyers in the window, how many its own past let expect, and the length of the window in days."""

    buyers: int
    expected: float
    window_days: float


@dataclass(frozen=True)
class RiseReason(Reason):
    """Why a product is in the list of /trending. `rise` is None for one that only a rule has brought."""

    rise: Rise | None = None


def doubts_of_again(found: RegularHits) -> list[str]:
    """Why a list is empty."""
    return [_MISSING[found.missing]] if found.missing else []


def reasons_of_again(product_ids: Sequence[str], due: Mapping[str, retrieval_pb2.Due], now_ms: int) -> list[Reason]:
    """One reason per product; rules have brought those that are not in `due`."""
    return [_due_reason(due[one], now_ms) if one in due else DueReason(PLACED) for one in product_ids]


def reasons_of_rising(
    product_ids: Sequence[str], risen: Mapping[str, tuple[float, float]], window_days: float
) -> list[Reason]:
    """One reason per product. `risen`: buyers in the window, and buyers expected; rules have brought the others."""
    return [_rise_reason(*risen[one], window_days) if one in risen else RiseReason(PLACED) for one in product_ids]


def bought_again(times: int, ago: int, usual: int) -> Sentence:
    """Days since the last purchase, and the usual days between two."""
    last_ar = "اليوم" if ago < 1 else f"قبل {_days_ar(ago)}"
    last_en = "today" if ago < 1 else "yesterday" if ago == 1 else f"{ago} days ago"
    if times == 1:
        return Sentence(
            f"اشتريته مرة واحدة {last_ar}، ويُعاد شراؤه عادةً كل {_days_ar(usual)}",
            f"You bought it once, {last_en}; it is usually bought again every {_days_en(usual)}",
        )
    return Sentence(
        f"اشتريته {_times_ar(times)}، كل {_days_ar(usual)} تقريبًا، وآخرها {last_ar}",
        f"You bought it {'twice' if times == 2 else f'{times} times'}, about every {_days_en(usual)}, last {last_en}",
    )


def rising(buyers: int, expected: float, window_days: float) -> Sentence:
    """Shoppers in the window, and how many were expected."""
    span_ar, span_en = _span(window_days)
    usual = round(expected)
    return Sentence(
        f"الإقبال عليه يزداد: {_shoppers_ar(buyers)} خلال {span_ar}، والمعتاد {usual}",
        f"More shoppers than usual: {buyers} in {span_en}, usually {usual}",
    )


def _due_reason(one: retrieval_pb2.Due, now_ms: int) -> Reason:
    since = max(now_ms - one.last_ms, 0) / DAY_MS
    due = Due(
        last_bought=datetime.fromtimestamp(one.last_ms / 1000, UTC).isoformat(timespec="seconds"),
        times=one.times,
        usual_days=round(one.usual_days, 1),
        usual_days_low=round(one.low_days, 1),
        usual_days_high=round(one.high_days, 1),
        due_in_days=round(one.usual_days - since, 1),
    )
    return DueReason(bought_again(one.times, int(since), max(round(one.usual_days), 1)), due=due)


def _rise_reason(buyers: float, expected: float, days: float) -> Reason:
    return RiseReason(rising(round(buyers), expected, days), rise=Rise(round(buyers), round(expected, 2), days))


def _span(days: float) -> tuple[str, str]:
    """A window in whole days, or in hours below two days."""
    if days >= 2:
        return _days_ar(round(days)), _days_en(round(days))
    hours = max(round(days * 24), 1)
    english = "1 hour" if hours == 1 else f"{hours} hours"
    return _counted_ar(hours, ("ساعة", "ساعتين", "ساعات", "ساعة")), english


def _days_en(days: int) -> str:
    return "day" if days == 1 else f"{days} days"


def _days_ar(days: int) -> str:
    return _counted_ar(days, ("يوم", "يومين", "أيام", "يومًا"))


def _times_ar(times: int) -> str:
    return _counted_ar(times, ("مرة", "مرتين", "مرات", "مرة"))


def _shoppers_ar(count: int) -> str:
    return _counted_ar(count, ("متسوق واحد", "متسوقان", "متسوقين", "متسوقًا"), hundreds="متسوق")


def _counted_ar(count: int, forms: Sequence[str], hundreds: str = "") -> str:
    """A number with its noun: one, two (no number before them), 3 to 10, 11 to 99, and after whole hundreds."""
    one, two, few, many = forms
    if count in (1, 2):
        return one if count == 1 else two
    rest = count % 100
    return f"{count} {few if 3 <= rest <= 10 else many if rest > 10 else hundreds or one}"
