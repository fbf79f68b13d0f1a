"""Whether a product can be bought, as shops and feeds write it."""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Any

from trainer.data.missing import is_missing
from trainer.data.objects import parse_nested
from twotower.events import AROUND_ID
from twotower.text.normalise import NUMERALS

# words of feeds without blanks and signs, in the letters that `_plain` leaves
_GOOD = (
    "true 1 yes y on نعم instock available availablefororder preorder backorder onbackorder limited "
    "limitedavailability limitedstock lowstock fewleft instoreonly onlineonly presale madetoorder "
    "readytoship متوفر متوفره متاح متاحه موجود موجوده كميهمحدوده متوفرللطلب حسبالطلب طلبمسبق"
)
_IN_STOCK = frozenset(_GOOD.split())
_BAD = (
    "false 0 no n off لا outofstock soldout unavailable notavailable notinstock nostock discontinued oos "
    "endoflife comingsoon reserved غيرمتوفر غيرمتوفره غيرمتاح غيرمتاحه غيرموجود ليسمتوفرا نفد نفذ نفدت "
    "نفذت نفدتالكميه نفذتالكميه نفدالمخزون نفذالمخزون نافد نافذ انتهتالكميه انتهىالمخزون منتهي قريبا "
    "متوفرقريبا يتوفرقريبا سيتوفرقريبا"
)
_NOT_IN_STOCK = frozenset(_BAD.split())
# words around these that change nothing
_AROUND = re.compile(r"temporarily|currently|now|حاليا|الان|مؤقتا|(?:في|من)(?:المخزون|المخزن|المستودع)")
# words around a quantity, as "only 3 left"
_COUNTS = "left onlyleft instock available pieces pcs units items متبقي باقي قطع قطعه متوفر بقي"
_OF_QUANTITY = frozenset(_COUNTS.split())
_LETTERS = str.maketrans({"أ": "ا", "إ": "ا", "آ": "ا", "ى": "ي", "ة": "ه", "ـ": None})
_QUANTITY = re.compile(r"[-+]?[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?")
# of an object, as {"status": "in stock"} and {"is_in_stock": true, "qty": 0}
_KEYS = (
    *("availability", "stock_status", "is_in_stock", "in_stock", "is_available", "available", "status"),
    *("quantity", "qty", "stock", "value"),
)


def as_flag(value: Any) -> bool | None:
    """Whether a product can be bought: true or false, a word of a feed in English or Arabic, or a quantity.

    A list says yes if one of its entries does, as of variants. None for a value that is missing; raises ValueError for
    one that cannot be used.
    """
    value = parse_nested(value)
    if is_missing(value):
        return None
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        return _has_some(value)
    if isinstance(value, list):
        found = [one for one in map(as_flag, value) if one is not None]
        return any(found) if found else None
    if isinstance(value, dict):
        key = next((key for key in _KEYS if not is_missing(value.get(key))), None)
        if key is None:
            raise ValueError("an object without an availability")
        return as_flag(value[key])
    return _of_text(str(value))


def _of_text(given: str) -> bool:
    text = given.translate(NUMERALS).strip(AROUND_ID)
    if _QUANTITY.fullmatch(text):
        return _has_some(float(text.replace(",", "")))
    # schema.org writes an address: https://schema.org/OutOfStock
    word = _plain(text.rsplit("/", 1)[-1])
    for one in (word, _plain(_AROUND.sub("", word))):
        if one in _IN_STOCK or one in _NOT_IN_STOCK:
            return one in _IN_STOCK
    numbers = _QUANTITY.findall(text)
    if len(numbers) == 1 and _plain(text.replace(numbers[0], "")) in _OF_QUANTITY:
        return _has_some(float(numbers[0].replace(",", "")))
    raise ValueError("an unknown word")


def _has_some(quantity: float) -> bool:
    if not math.isfinite(quantity):
        raise ValueError("not finite")
    return quantity > 0


def _plain(text: str) -> str:
    """Letters and digits in lower case, one form of each Arabic letter, without vowel signs."""
    letters = "".join(one for one in unicodedata.normalize("NFKC", text) if unicodedata.category(one)[0] in "LN")
    return letters.translate(_LETTERS).casefold()
