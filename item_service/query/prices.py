"""Reads limits of the price: "تحت 1500 ريال", "بين 100 و200", "under 50 sar"."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from item_service.query.numbers import NUMBER, value_of
from item_service.query.query import Query

_CURRENCY = (
    r"(?:ريال(?:ات)?(?: سعودي| قطري| عماني| يمني)?|ر\.?س|ر|دراهم|درهم(?: اماراتي)?|دنانير|دينار(?: كويتي| اردني)?|"
    r"جنيها?(?: مصري)?|دولار|ليره|شيكل|يورو|sar|sr|aed|egp|kwd|qar|omr|bhd|jod|usd|riyals?|rials?|dirhams?|pounds?|"
    r"dollars?|le|\$|€)"
)
_N = rf"({NUMBER})(?: ?{_CURRENCY}(?!\w))?"
_FOR = r"(?:(?:ب|و|ف)?(?:ال)?(?:سعر|السعر|سعره|سعرها|ثمن|تمن|قيمه|بقيمه|price|priced|for)(?: يكون| لا)? )?"
_ABOUT = r"(?:في حدود|بحدود|حدود|حوالي|تقريبا|قريب من|around|about)"
_BELOW = (
    r"(?:(?:ب|و)?(?:اقل|ارخص)(?: سعر)? من|تحت(?: ال)?|(?:و?لا|و?ما|مش|مو) ?[يت](?:زيد|تجاوز|تعدي|عدي|تخطي|زود)"
    r"(?: سعر(?:ه|ها))?(?: عن| علي| فوق)?|(?:ك|ب)?حد ا?ل?اقصي|اقصي(?: حد| سعر)|لحد|لغايه|under|below|"
    r"less than|cheaper than|up to|maximum|not (?:more than|over|above)|<)"
)
_ABOVE = (
    r"(?:(?:ب|و)?(?:اكثر|اكتر|اعلي|اغلي)(?: سعر)? من|فوق(?: ال)?|(?:و?لا|و?ما) ?[يت]قل(?: سعر(?:ه|ها))?(?: عن)?|"
    r"ابتداء من|(?:ك|ب)?حد ا?ل?ادني|over|above|more than|at least|minimum|from|starting(?: at| from)?|>)"
)
_BETWEEN = rf"(?:(?:ما )?بين {_N}(?: ?و ?| الي | ل ?| - ?){_N}|between {_N} (?:and|to|-) {_N})"
_RANGE = rf"({NUMBER}) ?[-–] ?({NUMBER}) ?{_CURRENCY}"
_FROM_TO = rf"(?:من|from) {_N} ?(?:الي|الى|ل|لـ|لحد|حتي|to|-|و) ?{_N}"
_OR_LESS = rf"(?:من |ب ?)?{_N} (?:او |و|ف ?)?(?:اقل|ارخص|تحت|نازل|less|or less|or below)(?! من)"
_OR_MORE = rf"(?:من |from |ب ?)?{_N} (?:او |و|ف ?)?(?:اكثر|اكتر|اعلي|فوق|طالع|or more|and up|and above)(?! من)"
# a number with its currency alone is a wish for that price, about
_AT = rf"(?:ب ?)?({NUMBER}) ?{_CURRENCY}"
# numbers after these words measure something else, and so do numbers before the others
_MEASURED = re.compile(r"(?:مقاس|مقاسات|قياس|رقم|عيار|وزن|حجم|عمر|اعمار|سن|موديل|سنه|size|age|ages)$")
_MEASURE = re.compile(
    r"(?:مل|لتر|كجم|جرام|سم|مم|متر|بوصه|جيجا|تيرا|واط|وات|امبير|فولت|mah|w|v|k|هرتز|حبه|حبات|قطعه|قطع|سنه|سنوات|سنين|"
    r"شهر|شهور|اشهر|يوم|ايام|ساعه|ساعات|درجه|كيلو|كم|قيراط|عيار|شخص|اشخاص|افراد|صفحه|كود|توله|اونصه|years?|months?|"
    r"hours?|pcs|pieces|قدم|ملي|مليمتر|سي سي|cc|hp|حصان|x|×|%|\+)(?!\w)"
)
_ANY_NUMBER = re.compile(NUMBER)
# a price that is only about right
_NEAR = 0.25

_WORDS = (
    "ريال ريالات درهم دراهم دينار دنانير جنيه جنيها دولار ليره سعر السعر بسعر سعره سعرها تحت فوق اقل باقل ارخص اكثر "
    "باكثر اعلي اغلي من بين الي حدود بحدود حوالي يتجاوز يزيد تزيد يتعدي عن لا ما او "
    "under over below above between less more than to and from sar aed egp kwd riyal riyals"
)
# the words of price phrases, which are known in every shop
PRICE_WORDS = frozenset(_WORDS.split())


@dataclass(frozen=True)
class _Phrase:
    pattern: re.Pattern[str]
    kind: str


def _phrase(kind: str, pattern: str) -> _Phrase:
    return _Phrase(re.compile(rf"(?<![^\s]){_FOR}{pattern}(?![\w.])"), kind)


# the first that matches counts
_PHRASES = (
    _phrase("between", _BETWEEN),
    _phrase("between", _FROM_TO),
    _phrase("between", _RANGE),
    _phrase("below", _OR_LESS),
    _phrase("above", _OR_MORE),
    _phrase("about", rf"{_ABOUT} {_N}"),
    _phrase("below", rf"{_BELOW} ?{_N}"),
    _phrase("above", rf"{_ABOVE} ?{_N}"),
    # without a currency, "Max 18" is a model's name
    _phrase("below", rf"max ?({NUMBER}) ?{_CURRENCY}"),
    _phrase("above", rf"min ?({NUMBER}) ?{_CURRENCY}"),
    _phrase("about", _AT),
)


def read_prices(query: Query) -> Query:
    """Takes the first price phrase out of the text and makes it a limit, if other words are left.

    A number that measures something else ("اقل من 100 مل", "مقاس من 38 الى 42") is no price.
    """
    # every phrase has a number, and most queries have none
    if not _ANY_NUMBER.search(query.text):
        return query
    for phrase in _PHRASES:
        for found in _matches(phrase.pattern, query.text):
            rest = " ".join(f"{query.text[: found.start()]} {query.text[found.end() :]}".split())
            values = sorted(value_of(number) for number in found.groups() if number is not None)
            if not rest or not values or values[-1] <= 0:
                continue
            low, high = _limits(phrase.kind, values)
            limited = replace(query, text=rest, price_min=low, price_max=high)
            return limited.noted("price", found[0].strip())
    return query


def _matches(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    for found in pattern.finditer(text):
        before, after = text[: found.start()].rstrip(), text[found.end() :].lstrip()
        if not _MEASURED.search(before) and not _MEASURE.match(after):
            yield found


def _limits(kind: str, values: list[float]) -> tuple[float | None, float | None]:
    match kind:
        case "between":
            return values[0], values[-1]
        case "below":
            return None, values[-1]
        case "above":
            return values[0], None
        case _:
            return round(values[0] * (1 - _NEAR), 2), round(values[-1] * (1 + _NEAR), 2)
