"""The values of a product's fields: where they stand in its metadata, and the names in them.

Each reader returns None for a value that is missing and raises ValueError for one that cannot be used.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.data.missing import is_missing
from trainer.data.objects import parse_nested
from twotower.events import AROUND_ID

# an object that stands for a picture
_URL_KEYS = ("url", "src", "original")
_URL = re.compile(r"https?://[^\s\x00-\x1f\x7f\"'<>\\]{1,2000}")
# an object that stands for a name, as {"id": 7, "name": "..."} or {"ar": "...", "en": "..."}
_NAME_KEYS = ("name", "title", "label", "value", "ar", "en", "default", "text")
# an attribute as an object, as {"name": "اللون", "value": "أحمر"}
_ATTRIBUTE_NAMES = ("name", "key", "label", "title", "attribute", "attribute_code", "code", "option")
_ATTRIBUTE_VALUES = ("value", "values", "options", "terms")
_STEP = re.compile(r"\[(-?[0-9]+)\]|\[(['\"])(.+?)\2\]|([^.\[\]]+)")


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
    # all entries of a list, as without it
    found = _STEP.findall(inner.replace("[*]", ""))
    return [(place, quoted or key) for place, _, quoted, key in found]


def follow(content: Any, path: Sequence[tuple[str, str]]) -> Any:
    """The value at the end of these steps."""
    value = content
    for place, key in path:
        value = _step(value, place, key)
    return value


def _step(value: Any, place: str, key: str) -> Any:
    if isinstance(value, str):
        value = parse_nested(value)
    if isinstance(value, dict):
        return value.get(key or place)
    if not isinstance(value, list):
        return None
    place = place or (key if key.isdecimal() else "")
    if place:
        return value[int(place)] if -len(value) <= int(place) < len(value) else None
    found: list[Any] = []
    for one in value:
        # entries that are lists themselves, as of groups
        inner = _step(one, place, key) if isinstance(one, (dict, list)) else None
        if inner is not None:
            found += inner if isinstance(inner, list) else [inner]
    return found or None


def as_text(value: str | None) -> str | None:
    """A title or a description as it stands."""
    return None if is_missing(value) else value


def as_name(value: Any, separator: str = "") -> str | None:
    """A name; of a list the first one, of an object its name."""
    names = as_names(value, separator)
    return names[0] if names else None


def as_url(value: Any) -> str | None:
    """The address of a picture; of a list the first one, of an object its `url` or `src`."""
    value = parse_nested(value)
    if is_missing(value):
        return None
    if isinstance(value, list):
        return next((url for one in value if (url := as_url(one))), None)
    if isinstance(value, dict):
        key = next((key for key in _URL_KEYS if not is_missing(value.get(key))), None)
        if key is None:
            raise ValueError("an object without a URL")
        return as_url(value[key])
    text = str(value).strip()
    if not _URL.fullmatch(text):
        raise ValueError("not a URL of http or https")
    return text


def as_names(value: Any, separator: str = "") -> list[str]:
    """The names in a value, each once: a name, an object with a name, or lists of these.

    A text is several names if there is a `separator` between them.
    """
    value = parse_nested(value)
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


def as_attributes(value: Any, separator: str = "") -> list[tuple[str, str]]:
    """The names in an attribute's value, each with the attribute's own name, or "" where the value gives none.

    Objects name attributes: {"color": "red"}, [{"name": "color", "value": "red"}].
    """
    value = parse_nested(value)
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        return [pair for one in value for pair in as_attributes(one)]
    if not isinstance(value, dict):
        return [("", name) for name in as_names(value, separator)]
    name = next((value[key] for key in _ATTRIBUTE_NAMES if not is_missing(value.get(key))), None)
    inner = next((value[key] for key in _ATTRIBUTE_VALUES if not is_missing(value.get(key))), None)
    if name is not None and inner is not None:
        return [(as_name(name) or "", one) for one in as_names(inner)]
    if any(not is_missing(value.get(key)) for key in _NAME_KEYS):
        return [("", one) for one in as_names(value)]
    return [(key, one) for key, given in value.items() for one in as_names(given)]
