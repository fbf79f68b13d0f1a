"""Loads the configuration: the defaults, then files, then single values, each overriding the one before."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from pydantic import ValidationError

from trainer.config.base import Section
from trainer.config.schema import Config
from twotower.errors import SettingsError

DEFAULTS = Path(__file__).with_name("config.yaml")
# settings for the exports of other systems
PRESETS = Path(__file__).parents[1] / "data" / "presets"


def preset_file(name: str) -> Path:
    """The file of --format: a preset's name, or a path to a YAML file. Raises SettingsError if there is neither."""
    known = {path.stem: path for path in sorted(PRESETS.glob("*.yaml"))}
    if name in known:
        return known[name]
    path = Path(name)
    if path.suffix.lower() in {".yaml", ".yml"}:
        return path
    raise SettingsError(f"--format {name}: must be one of {', '.join(known)}, or a path that ends in .yaml")


def load_config(files: Sequence[Path] = (), assignments: Sequence[str] = ()) -> Config:
    """config.yaml, overridden by `files` and then by `section.key=value` assignments, in their order.

    Raises SettingsError with the file or assignment, the key and the value that cannot be used.
    """
    content = _read(DEFAULTS)
    for path in files:
        _override(content, _read(path), str(path))
    for assignment in assignments:
        _apply_assignment(content, assignment)
    try:
        return Config.model_validate(_to_floats(content, Config))
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(dict(item)) for item in error.errors())) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"configuration {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"configuration {path} is not YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"configuration {path} must be a mapping of sections, it is {type(content).__name__}")
    return content


# The user chooses the keys of these mappings, so that an override replaces the whole mapping.
_USER_KEYS = {("data", name) for name in ("event_names", "event_weights", "event_filter", "product_filter")}


def _override(content: dict[str, Any], over: Mapping[str, Any], source: str, path: tuple[str, ...] = ()) -> None:
    for key, value in over.items():
        here = (*path, str(key))
        if key not in content:
            near = difflib.get_close_matches(str(key), [str(one) for one in content], n=1)
            hint = f"; did you mean {'.'.join((*path, near[0]))}?" if near else ""
            raise SettingsError(f"{source}: unknown key {'.'.join(here)}{hint}")
        if isinstance(content[key], dict) and here not in _USER_KEYS:
            if not isinstance(value, Mapping):
                raise SettingsError(f"{source}: {'.'.join(here)}={value!r}: this is a section, not a value")
            _override(content[key], value, source, here)
        else:
            content[key] = value


def _apply_assignment(content: dict[str, Any], assignment: str) -> None:
    key, equals, text = assignment.partition("=")
    if not equals or not key.strip():
        raise SettingsError(f"--set {assignment!r}: write it as section.key=value")
    parts = key.strip().split(".")
    present: Any = content
    for part in parts:
        present = present.get(part) if isinstance(present, dict) else None
    if isinstance(present, str) and text[:1] not in {'"', "'"}:
        # A text is taken as typed, even "query: ", 007 and |; in quotes it is read as YAML.
        value: Any = text
    else:
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise SettingsError(f"--set {assignment!r}: the value is not YAML") from None
    for part in reversed(parts):
        value = {part: value}
    _override(content, value, f"--set {assignment}")


def _to_floats(content: Any, kind: Any) -> Any:
    """Converts what the type wants as float: YAML reads 1 as int and 1e-4 as text, which strict validation refuses."""
    origin, inner = get_origin(kind), get_args(kind)
    if kind is float:
        return _to_float(content)
    if origin in (
        Annotated,
        Union,
        UnionType,
    ):  # Only the first argument can be a float; the others are limits, or None.
        return _to_floats(content, inner[0])
    if origin is list and isinstance(content, list):
        return [_to_floats(one, inner[0]) for one in content]
    if origin is dict and isinstance(content, dict):
        return {key: _to_floats(one, inner[1]) for key, one in content.items()}
    if isinstance(kind, type) and issubclass(kind, Section) and isinstance(content, dict):
        fields = kind.model_fields
        return {key: _to_floats(one, fields[key].annotation) if key in fields else one for key, one in content.items()}
    return content


def _to_float(value: Any) -> Any:
    # Validation names a value that is not a number.
    with suppress(ValueError):
        return float(value) if isinstance(value, (int, str)) and not isinstance(value, bool) else value
    return value


def _explain(item: Mapping[str, Any]) -> str:
    key = ".".join(str(part) for part in item["loc"]) or "configuration"
    shown = "" if isinstance(item["input"], dict) else f"={item['input']!r}"
    return f"{key}{shown}: {str(item['msg']).removeprefix('Value error, ')}"
