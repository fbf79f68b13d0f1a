"""The compare page: one buyer or one search, answered in two ways."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx

from explorer import gateway
from explorer.gateway import Answer, GatewayProblem

DIVERSITIES = ("0", "0.2", "0.5", "0.8")
# a refusal of these kinds concerns one side of the page alone
_OF_ONE_SIDE = (404, 409, 503)


@dataclass(frozen=True)
class Way:
    """One way to answer: a version (empty: the live one) and the settings that an arm puts in place."""

    value: str
    label: str
    group: str
    version: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


LIVE = Way("", "", "live")


@dataclass(frozen=True)
class Side:
    """One side of the page: its answer, or why there is none."""

    way: Way
    answer: Answer | None = None
    problem: str = ""


async def ways(client: httpx.AsyncClient) -> tuple[list[Way], str]:
    """Every way that can be asked for, the live version first; and why versions and arms are not among them, if so."""
    try:
        versions = (await gateway.get(client, "/versions")).body["versions"]
        experiments = (await gateway.get(client, "/experiments")).body["experiments"]
    except GatewayProblem as error:
        return [LIVE], str(error)
    found = [LIVE]
    for one in versions:
        if not one["problem"]:
            found.append(Way(f"version:{one['version']}", one["version"], "versions", one["version"]))
    for experiment in experiments:
        for arm in experiment["arms"]:
            name = f"{experiment['name']} / {arm['name']}"
            given = {key: arm[key] for key in ("diversity", "exclude_seen") if arm[key] is not None}
            found.append(Way(f"arm:{experiment['name']}/{arm['name']}", name, "arms", arm["version"], given))
    return found, ""


async def ask(client: httpx.AsyncClient, path: str, query: Mapping[str, Any], way: Way) -> Side:
    """The list of one side; an arm's settings count before those of `query`. May raise GatewayProblem."""
    asked = {**query, **{name: _text(value) for name, value in way.settings.items()}}
    where = f"/versions/{quote(way.version, safe='')}{path}" if way.version else path
    try:
        return Side(way, await gateway.get(client, where, **asked))
    except GatewayProblem as error:
        if not way.version or error.status not in _OF_ONE_SIDE:
            raise
        return Side(way, problem=str(error))


def query_of(asked: Mapping[str, str], side: str, by_search: bool) -> dict[str, str]:
    """The settings of one side of the form, as parameters of its list."""
    found = {"diversity": asked.get(f"diversity_{side}") or "0"}
    name = "understand" if by_search else "exclude_seen"
    if (value := asked.get(f"{name}_{side}", "")) in ("true", "false"):
        found[name] = value
    return found


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
