"""The values of a product's fields, as shops and feeds write them.

Each reader returns None for a value that is missing and raises ValueError for one that cannot be used.
"""

from __future__ import annotations

import ast
import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from twotower.events import AROUND_ID
from twotower.text.normalise import NUMERALS

# A comma in a price separates thousands, or decimals if it is the last sign and no thousands can follow it
# ("12,50", "0,750", "1.299,00").
_COMMA_GROUPS = re.compile(r"[-+]?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?")
_COMMA_DECIMALS = re.compile(r"[-+]?(?:[0-9]+,[0-9]{1,2}|0,[0-9]+|[1-9][0-9]{0,2}(?:\.[0-9]{3})+,[0-9]+)")
# "1 299,00" and "1'299"
_SPACED = re.compile(r"(?<=[0-9])[\s\u00a0\u202f'\u2019](?=[0-9]{3}(?![0-9]))")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:[.,][0-9]+)*|[.,][0-9]+)")
# in capital letters: "12 off" has no currency
_CODE = re.compile("[A-Z]{3}")
# how prices name their currency, without blanks and points
_CURRENCIES = {
    name: code
    for code, names in {
        "SAR": "رس ريال ريالسعودي sr \u20c1 \ufdfc",
        "AED": "دإ درهم درهمإماراتي dh dhs",
        "EGP": "جم جنيه جنيهمصري le",
        "KWD": "دك ديناركويتي kd",
        "BHD": "دب ديناربحريني bd",
        "QAR": "رق ريالقطري qr",
        "OMR": "رع ريالعماني ro",
        "JOD": "دأ دينارأردني jd",
        "IQD": "دع دينارعراقي",
        "LBP": "لل ليرةلبنانية",
        "MAD": "دم درهممغربي",
        "TND": "دت دينارتونسي",
        "DZD": "دج دينارجزائري",
        "USD": "$ us$ دولار",
        "EUR": "€ يورو",
        "GBP": "£",
        "TRY": "₺ tl",
        "INR": "₹ rs",
    }.items()
    for name in (*names.split(), code.casefold())
}
# availability as feeds write it, without blanks, hyphens and underscores
_GOOD = (
    "true 1 yes y نعم instock available availablefororder preorder backorder onbackorder limited limitedavailability "
    "instoreonly onlineonly presale متوفر متاح متوفرة متاحة موجود"
)
_BAD = (
    "false 0 no n لا outofstock soldout unavailable notavailable discontinued oos غيرمتوفر غيرمتاح غيرمتوفرة غيرمتاحة "
    "غيرموجود نفد نفذ نفدت نفذت نفدتالكمية نفذتالكمية نفدمنالمخزون نفذمنالمخزون منتهي"
)
_IN_STOCK, _NOT_IN_STOCK = frozenset(_GOOD.split()), frozenset(_BAD.split())
# an object that stands for a name, as {"id": 7, "name": "..."}
_NAME_KEYS = ("name", "title", "label", "value")
_AMOUNT_KEYS = ("amount", "value", "price")
_STEP = re.compile(r"\[([0-9]+)\]|([^.\[\]]+)")


class Price(NamedTuple):
    """An amount, and the currency that stands beside it, or ""."""

    amount: float
    currency: str


def read_object(text: str) -> dict[str, Any]:
    """The object that a text holds: JSON, JSON within a JSON text, or a Python dictionary; {} if it is empty or null.

    Raises ValueError with what is wrong.
    """
    content: Any = text
    # an exported column of JSON texts is JSON twice
    for _ in range(2):
        if not isinstance(content, str):
            break
        if not content.strip():
            return {}
        content = _parse(content)
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError("metadata is not a JSON object")
    return content


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        if not text.lstrip().startswith("{'"):
            raise ValueError("metadata is not JSON") from None
    # pandas writes a dictionary so
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise ValueError("metadata is not JSON") from None


def find(content: Mapping[str, Any], path: str) -> Any:
    """The value at a path as `$.categories[0].name`; a name that meets a list is looked up in each of its objects."""
    return follow(content, steps(path))


def find_first(content: Mapping[str, Any], paths: Sequence[Sequence[tuple[str, str]]]) -> Any:
    """The value at the first of several paths, as their steps, that has one."""
    for path in paths:
        value = follow(content, path)
        if value is not None and not is_missing(value):
            return value
    return None


def steps(path: str) -> list[tuple[str, str]]:
    """The steps of a path: (place in a list, "") or ("", key)."""
    # a key may begin with a dollar sign, as Mixpanel's do
    inner = path[1:] if path == "$" or path.startswith(("$.", "$[")) else path
    return _STEP.findall(inner)


def follow(content: Any, path: Sequence[tuple[str, str]]) -> Any:
    """The value at the end of these steps."""
    value = content
    for place, key in path:
        value = _step(value, place, key)
    return value


def _step(value: Any, place: str, key: str) -> Any:
    if isinstance(value, dict):
        return value.get(key or place)
    if not isinstance(value, list):
        return None
    place = place or (key if key.isdecimal() else "")
    if place:
        return value[int(place)] if int(place) < len(value) else None
    return [one[key] for one in value if isinstance(one, dict) and key in one] or None


def is_missing(value: Any) -> bool:
    """Whether a value says nothing: null, blank, an empty list or object, or the NaN that pandas writes."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or value in ({}, []) or (isinstance(value, str) and not value.strip(AROUND_ID))


def as_text(value: str | None) -> str | None:
    """A title or a description as it stands."""
    return value


def as_name(value: Any, separator: str = "") -> str | None:
    """A name; of a list the first one, of an object its name."""
    names = as_names(value, separator)
    return names[0] if names else None


def as_names(value: Any, separator: str = "") -> list[str]:
    """The names in a value, each once: a name, an object with a name, or lists of these.

    A text is several names if there is a `separator` between them.
    """
    if is_missing(value):
        return []
    if isinstance(value, str) and separator and separator in value:
        return _names_of_list(value.split(separator))
    if isinstance(value, list):
        return _names_of_list(value)
    if isinstance(value, dict):
        key = next((key for key in _NAME_KEYS if not is_missing(value.get(key))), None)
        if key is None:
            raise ValueError("an object without a name")
        return as_names(value[key])
    if isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError("not a name")
    # Lone surrogates come from broken \u escapes and cannot be stored as UTF-8.
    name = str(value).encode("utf-8", "ignore").decode().strip(AROUND_ID)
    return [name] if name else []


def _names_of_list(values: list[Any]) -> list[str]:
    names, problem = dict[str, None](), None
    for one in values:
        try:
            names |= dict.fromkeys(as_names(one))
        except ValueError as error:
            problem = error
    if problem and not names:
        raise problem
    return list(names)


def as_price(value: Any) -> Price | None:
    """A price: a number, a text of a number with its currency, or an object of amount and currency."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if is_missing(value):
        return None
    if isinstance(value, dict):
        amount = as_price(next((value[key] for key in _AMOUNT_KEYS if key in value), None))
        if amount is None:
            raise ValueError("an object without an amount")
        return Price(amount.amount, _currency(str(value.get("currency", ""))) or amount.currency)
    if isinstance(value, (bool, list)):
        raise ValueError("not a price")
    if isinstance(value, (int, float)):
        return Price(_number(repr(value)), "")
    text = _SPACED.sub("", str(value).translate(NUMERALS).strip(AROUND_ID))
    numbers = _NUMBER.findall(text)
    if len(numbers) != 1:
        raise ValueError("not one number")
    unit = text.replace(numbers[0], " ", 1).strip(AROUND_ID)
    currency = _currency(unit)
    if unit and not currency:
        raise ValueError("an unknown currency")
    return Price(_number(numbers[0]), currency)


def _currency(unit: str) -> str:
    """The code of a currency, or "" if the text names none."""
    name = re.sub(r"[\s.]", "", "".join(one for one in unit if unicodedata.category(one) != "Cf"))
    return _CURRENCIES.get(name.casefold()) or (name if _CODE.fullmatch(name) else "")


def _number(text: str) -> float:
    if _COMMA_GROUPS.fullmatch(text):
        text = text.replace(",", "")
    elif _COMMA_DECIMALS.fullmatch(text):
        text = text.replace(".", "").replace(",", ".")
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def as_flag(value: Any) -> bool | None:
    """Whether a product can be bought: true or false, a word of a feed in English or Arabic, or a quantity."""
    if is_missing(value):
        return None
    if isinstance(value, (bool, int, float)):
        return value > 0
    if not isinstance(value, str):
        raise ValueError("not an availability")
    # schema.org writes an address: https://schema.org/OutOfStock
    word = re.sub(r"[\s_-]", "", value.strip(AROUND_ID).rsplit("/", 1)[-1]).casefold()
    if word in _IN_STOCK or word in _NOT_IN_STOCK:
        return word in _IN_STOCK
    return float(word.translate(NUMERALS)) > 0
