"""Values that say nothing, as tables write them."""

from __future__ import annotations

import math
from typing import Any

from twotower.events import AROUND_ID

# words of pandas, R, SQL, JavaScript and spreadsheets for a value that is not there
_NAMED = "nan null none nil n/a #n/a na <na> nat \\n undefined (null) (blank) #value! #ref! - -- \u2014 \u2013"
_WORDS = frozenset(_NAMED.split())
_LONGEST = max(map(len, _WORDS))


def is_missing(value: Any) -> bool:
    """Whether a value says nothing: null, blank, an empty list or object, NaN, or a word that tables write for it."""
    if isinstance(value, float):
        return math.isnan(value)
    if not isinstance(value, str):
        return value is None or value in ({}, [])
    text = value.strip(AROUND_ID)
    return not text or (len(text) <= _LONGEST and text.lower() in _WORDS)
