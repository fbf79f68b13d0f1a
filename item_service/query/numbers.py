"""Numbers in words, as shoppers say prices: مية, ميتين وخمسين, الف."""

from __future__ import annotations

import re

_UNITS = {
    **dict.fromkeys(("عشره", "عشر"), 10),
    **dict.fromkeys(("خمستعشر", "خمسطعش", "خمسه عشر"), 15),
    "عشرين": 20,
    "ثلاثين": 30,
    "تلاتين": 30,
    "اربعين": 40,
    "خمسين": 50,
    "ستين": 60,
    "سبعين": 70,
    "ثمانين": 80,
    "تمانين": 80,
    "تسعين": 90,
    **dict.fromkeys(("ميه", "مايه", "مئه", "مائه", "ميت", "هندرد", "hundred"), 100),
    **dict.fromkeys(("ميتين", "مئتين", "مائتين", "ميتان"), 200),
    **dict.fromkeys(("الف", "thousand"), 1000),
    **dict.fromkeys(("الفين", "الفان"), 2000),
}
_HUNDREDS = {"ثلاث": 3, "تلات": 3, "اربع": 4, "خمس": 5, "ست": 6, "سبع": 7, "ثمان": 8, "تمن": 8, "تمان": 8, "تسع": 9}
_UNITS |= {
    prefix + hundred: 100 * times
    for prefix, times in _HUNDREDS.items()
    for hundred in ("ميه", "مايه", "مئه", "مائه", " ميه", " مئه", " مائه")
}
_UNITS |= {f"{prefix}ه الاف": 1000 * times for prefix, times in _HUNDREDS.items()}
_NAME = "|".join(re.escape(name) for name in sorted(_UNITS, key=len, reverse=True))
# after "و" a smaller part may follow
SPOKEN = rf"(?:{_NAME})(?: ?و ?(?:{_NAME}))*"
_DIGITS = r"\d+(?:\.\d+)?"
_THOUSANDS = {"k", "الف", "الاف"}
NUMBER = rf"(?:{_DIGITS}(?: ?(?:k|الف|الاف)\b)?|{SPOKEN})"


def value_of(text: str) -> float:
    """The value of a text that NUMBER matches: "1.5k" is 1500, "ميه وخمسين" 150."""
    digits = re.match(_DIGITS, text)
    if digits:
        return float(digits[0]) * (1000 if text[digits.end() :].strip() in _THOUSANDS else 1)
    return float(sum(_UNITS[name] for name in re.findall(_NAME, text)))
