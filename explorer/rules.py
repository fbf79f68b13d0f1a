"""The rules page: the rules in force, a draft with one rule more, its preview, publication, history and undo."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import yaml

from explorer import gateway
from explorer.gateway import GatewayProblem

KINDS = ("pin", "boost", "bury", "exclude")
DAYS = ("1", "7", "30", "")
# what a preview is for: who or what is named in it, and the route if it is not the usual one
SUBJECTS = {
    "buyer_id": ("buyer_id", ""),
    "query": ("query", ""),
    "product_id": ("product_id", ""),
    "again": ("buyer_id", "again"),
    "together": ("product_id", "together"),
    "trending": ("", "trending"),
}
_SHOWN = 8

Rule = dict[str, Any]


class WrongForm(GatewayProblem):
    """A field of the form cannot be used; the message names it."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 422)


async def in_force(client: httpx.AsyncClient) -> dict[str, Any]:
    """The rules, their warnings by name, and their history with the number of rules of each version."""
    found = (await gateway.get(client, "/rules")).body
    history = (await gateway.get(client, "/rules/history")).body["versions"]
    return found | {"history": history, "yaml": as_yaml(found["rules"])}


def draft(rules: Sequence[Rule], form: Mapping[str, str], now: float) -> list[Rule]:
    """The rules that a form asks for: its text, or those in force without one, or with one switched or added.

    Raises WrongForm.
    """
    if "text" in form:
        return read_rules(form["text"])
    if name := form.get("remove"):
        return [one for one in rules if one["name"] != name]
    if name := form.get("switch"):
        return [one | {"enabled": not one.get("enabled", True)} if one["name"] == name else one for one in rules]
    return [new_rule(form, {one["name"] for one in rules}, now), *rules]


def new_rule(form: Mapping[str, str], names: set[str], now: float) -> Rule:
    """The rule of the short form; it begins now, and ends after its days if it has any."""
    given = {name: value.strip() for name, value in form.items()}
    kind, slot = given.get("do", ""), given.get("slot", "")
    if kind not in KINDS:
        raise WrongForm(f"do: must be one of {', '.join(KINDS)}, not {kind!r}")
    rule: Rule = {"do": kind, "slot": [slot] if slot else "*"}
    if kind == "pin":
        rule |= {"product_id": _needed(given, "product"), "place": int(_number(given, "place", "1"))}
        what = rule["product_id"]
    else:
        fields = (("product", "product_id"), ("brand", "brand"), ("category", "category"))
        # texts in a condition are JSON strings
        parts = [f"{name} = {json.dumps(given[key], ensure_ascii=False)}" for key, name in fields if given.get(key)]
        if not parts:
            raise WrongForm("brand, category or product: one of them is needed")
        rule["when"] = " and ".join(parts)
        what = " ".join(given[key] for key, _ in fields if given.get(key))
        if kind == "boost":
            rule["factor"] = _number(given, "factor", "2")
    if days := given.get("days"):
        end = datetime.fromtimestamp(now, UTC) + timedelta(days=_number(given, "days", days))
        rule["until"] = end.isoformat(timespec="seconds").replace("+00:00", "Z")
    return {"name": _free(f"{kind} {what}"[:70], names)} | rule


def read_rules(text: str) -> list[Rule]:
    """The rules of a text, YAML or JSON: a list, or an object with the list `rules`. Raises WrongForm."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise WrongForm(f"rules: {' '.join(str(error).split())}") from None
    found = found.get("rules") if isinstance(found, dict) else found
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise WrongForm("rules: must be a list of rules")
    # YAML reads a time that is not in quotes as one, JSON has none
    rules: list[Rule] = json.loads(json.dumps(found, default=_as_text))
    return rules


def as_yaml(rules: Sequence[Rule]) -> str:
    """The rules as a person edits them."""
    return str(yaml.safe_dump(list(rules), allow_unicode=True, sort_keys=False)) if rules else ""


async def preview(
    client: httpx.AsyncClient, rules: Sequence[Rule], form: Mapping[str, str], key: str
) -> dict[str, Any]:
    """The list before and after the rules, for the subject of the form; without one, that of the popular products."""
    body: dict[str, Any] = {"rules": list(rules), "k": _SHOWN}
    if slot := form.get("slot", "").strip():
        body["slot"] = slot
    named, route = SUBJECTS.get(form.get("subject_kind", ""), ("", ""))
    if (subject := form.get("subject", "").strip()) and named:
        body[named] = subject
    if route:
        body["route"] = route
    return (await gateway.send(client, "POST", "/rules/preview", body, key)).body


def _needed(given: Mapping[str, str], name: str) -> str:
    if not given.get(name):
        raise WrongForm(f"{name}: is missing")
    return given[name]


def _number(given: Mapping[str, str], name: str, default: str) -> float:
    text = given.get(name) or default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise WrongForm(f"{name}: must be a number, not {text!r}")
    return number


def _free(name: str, names: set[str]) -> str:
    number, free = 1, name
    while free in names:
        number += 1
        free = f"{name} ({number})"
    return free


def _as_text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
