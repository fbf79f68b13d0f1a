"""Prices as shops and feeds write them."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Any, NamedTuple

from trainer.data.missing import is_missing
from trainer.data.objects import parse_nested
from twotower.events import AROUND_ID
from twotower.text.normalise import NUMERALS

# A comma in a price separates thousands, or decimals if it is the last sign and no thousands can follow it
# ("12,50", "0,750", "1.299,00"). India groups by two digits: 1,00,000.
_COMMA_GROUPS = re.compile(r"[-+]?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?|[-+]?[1-9][0-9]?(?:,[0-9]{2})+,[0-9]{3}")
_POINT_GROUPS = re.compile(r"[-+]?[1-9][0-9]{0,2}(?:\.[0-9]{3}){2,}")
_COMMA_DECIMALS = re.compile(r"[-+]?(?:[0-9]+,[0-9]{1,2}|0,[0-9]+|[1-9][0-9]{0,2}(?:\.[0-9]{3})+,[0-9]+)")
# "1 299,00" and "1'299"
_SPACED = re.compile(r"(?<=[0-9])[\s\u00a0\u202f'\u2019](?=[0-9]{3}(?![0-9]))")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:[.,][0-9]+)*|[.,][0-9]+)")
# in capital letters: "12 off" has no currency
_CODE = re.compile("[A-Z]{3}")
# how prices name their currency, without blanks, points and vowel signs; "" is one of several countries
_CURRENCIES = {
    name: code
    for code, names in {
        "SAR": "رس ريال ريالا ريالات ريالسعودي sr riyal riyals saudiriyal \u20c1 \ufdfc",
        "AED": "دإ دا درهم درهما دراهم درهمإماراتي درهماماراتي dh dhs dirham dirhams",
        "EGP": "جم جنيه جنيها جنيهمصري جنيهامصريا le egyptianpound",
        "KWD": "دك ديناركويتي kd",
        "BHD": "دب ديناربحريني bd",
        "QAR": "رق ريالقطري qr",
        "OMR": "رع ريالعماني ro",
        "JOD": "دأ دينارأردني ديناراردني jd",
        "IQD": "دع دينارعراقي",
        "LBP": "لل ليرةلبنانية",
        "MAD": "دم درهممغربي",
        "TND": "دت دينارتونسي",
        "DZD": "دج دينارجزائري",
        "LYD": "دل دينارليبي",
        "YER": "ري ريالیمني ريالیمنی",
        "SYP": "لس ليرةسورية",
        "SDG": "جس جنيهسوداني",
        "USD": "$ us$ دولار دولارامريكي دولارأمريكي dollar dollars usdollar usdollars",
        "EUR": "€ يورو euro euros",
        "GBP": "£",
        "TRY": "₺ tl ليرةتركية",
        "INR": "₹ rs",
        "": "دينار دنانير ليرة ليره dinar dinars pound pounds ¥ ￥",
    }.items()
    for name in (*names.split(), *([code.casefold()] if code else []))
}
_FREE = frozenset(["free", "مجاني", "مجانا", "مجانية"])
# what the shopper pays comes before what it was
_SALE_KEYS = (
    "sale_price",
    "sale",
    "discounted_price",
    "discounted",
    "final_price",
    "final",
    "current_price",
    "current",
)
_AMOUNT_KEYS = ("amount", "value", "price", "regular_price", "regular", "original_price", "original")
_CURRENCY_KEYS = ("currency", "currency_code", "currencyCode", "code", "unit")


class Price(NamedTuple):
    """An amount, and the currency that stands beside it, or ""."""

    amount: float
    currency: str


def as_price(value: Any) -> Price | None:
    """A price: a number, a text of a number with its currency, or an object of amount and currency.

    None for a value that is missing; raises ValueError for one that cannot be used, as one below zero is.
    """
    value = parse_nested(value)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if is_missing(value):
        return None
    if isinstance(value, dict):
        price = _of_object(value)
    elif isinstance(value, (bool, list)):
        raise ValueError("not a price")
    elif isinstance(value, (int, float)):
        price = Price(_number(repr(value)), "")
    else:
        price = _of_text(str(value))
    if price.amount < 0:
        raise ValueError("below zero")
    return price


def _of_object(value: dict[str, Any]) -> Price:
    """The price in an object: the reduced one, if it has one that is not zero."""
    found = [as_price(value[key]) for key in _SALE_KEYS if key in value]
    price = next((one for one in found if one and one.amount), None)
    price = price or as_price(next((value[key] for key in _AMOUNT_KEYS if not is_missing(value.get(key))), None))
    if price is None:
        raise ValueError("an object without an amount")
    return Price(price.amount, _currency_of(value) or price.currency)


def _currency_of(value: dict[str, Any]) -> str:
    given = next((value[key] for key in _CURRENCY_KEYS if not is_missing(value.get(key))), "")
    return _currency_of(given) if isinstance(given, dict) else (_currency(str(given)) or "")


def _of_text(given: str) -> Price:
    text = _SPACED.sub("", given.translate(NUMERALS).strip(AROUND_ID))
    if _plain(text).casefold() in _FREE:
        return Price(0.0, "")
    numbers = _NUMBER.findall(text)
    if len(numbers) != 1:
        raise ValueError("not one number")
    unit = text.replace(numbers[0], " ", 1).strip(AROUND_ID)
    currency = _currency(unit) if unit else ""
    if currency is None:
        raise ValueError("an unknown currency")
    return Price(_number(numbers[0]), currency)


def _currency(unit: str) -> str | None:
    """The code of a currency, "" if its country is not said, or None if the text names none."""
    name = _plain(unit)
    return _CURRENCIES.get(name.casefold(), name if _CODE.fullmatch(name) else None)


def _plain(text: str) -> str:
    """The letters and signs, without blanks, points, vowel signs and what cannot be seen."""
    return re.sub(r"[\s.]", "", "".join(one for one in text if unicodedata.category(one) not in ("Cf", "Mn")))


def _number(text: str) -> float:
    if _COMMA_GROUPS.fullmatch(text):
        text = text.replace(",", "")
    elif _POINT_GROUPS.fullmatch(text):
        text = text.replace(".", "")
    elif _COMMA_DECIMALS.fullmatch(text):
        text = text.replace(".", "").replace(",", ".")
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number
