"""Reads rules.yaml. Every problem names its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic import ValidationError

from gateway.schemas.rule import Rules
from twotower.errors import SettingsError


class RulesFile(NamedTuple):
    """The rules of a file, and the line of each, by its name."""

    rules: Rules
    lines: dict[str, int]


def read_rules(path: Path) -> RulesFile:
    """Raises SettingsError, with the line, if the file cannot be used."""
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, yaml.SafeLoader)
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the rules file {path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"the rules file {path} is not YAML: {' '.join(str(error).split())}") from None
    if root is None or content is None:
        return RulesFile(Rules(), {})
    _refuse_repeated(path, root)
    try:
        rules = Rules.model_validate(content)
    except ValidationError as error:
        raise SettingsError(_explain(path, root, error)) from None
    lines = {one.name: _line(root, ("rules", place)) for place, one in enumerate(rules.rules)}
    return RulesFile(rules, lines)


def _explain(path: Path, root: yaml.Node, error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    # the kind of a rule, which pydantic adds to the place, is no key of the file
    place = tuple(part for at, part in enumerate(first["loc"]) if not (at == 2 and first["loc"][0] == "rules"))
    if first["type"].startswith("union_tag"):
        place = (*first["loc"], "do")
    given = f", not {first['input']!r}" if isinstance(first["input"], (str, int, float)) else ""
    named = ".".join(map(str, place)) or "the file"
    return f"the rules file {path}, line {_line(root, place)}: {named}: {first['msg']}{given}"


def _line(node: yaml.Node, place: tuple[Any, ...]) -> int:
    """The line, from 1, of the value at this place, or of the nearest one around it that the file has."""
    line = node.start_mark.line + 1
    for part in place:
        inner = _child(node, part)
        if inner is None:
            break
        key, node = inner
        line = key.start_mark.line + 1
    return int(line)


def _child(node: yaml.Node, part: object) -> tuple[yaml.Node, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None


def _refuse_repeated(path: Path, node: yaml.Node) -> None:
    """YAML's loader keeps the last of two equal keys without a word."""
    if isinstance(node, yaml.SequenceNode):
        for one in node.value:
            _refuse_repeated(path, one)
    elif isinstance(node, yaml.MappingNode):
        seen = set[str]()
        for key, value in node.value:
            if key.value in seen:
                line = key.start_mark.line + 1
                raise SettingsError(f"the rules file {path}, line {line}: the key {key.value!r} stands there twice")
            seen.add(key.value)
            _refuse_repeated(path, value)
