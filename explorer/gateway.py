"""The gateway's REST API as the pages use it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import httpx

from explorer.settings import ExplorerSettings
from twotower.errors import TwoTowerError


class GatewayProblem(TwoTowerError):
    """The gateway refused a call or did not answer; the message is for the page.

    `status`: of the gateway's answer, or 502 if there was none.
    """

    def __init__(self, message: str, status: int = 502) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Answer:
    """A JSON answer, and how long the gateway took as seen from here, in milliseconds."""

    body: dict[str, Any]
    ms: float


def connect(settings: ExplorerSettings) -> httpx.AsyncClient:
    """A client that asks the gateway alone; it follows no redirect and no proxy of the environment."""
    headers = {"X-API-Key": settings.key} if settings.key else {}
    return httpx.AsyncClient(
        base_url=settings.gateway_url, headers=headers, timeout=settings.timeout_seconds, trust_env=False
    )


async def get(client: httpx.AsyncClient, path: str, **query: Any) -> Answer:
    """The JSON answer to GET. Raises GatewayProblem for any other answer than 200."""
    return await _json(client, client.build_request("GET", path, params=query))


async def post(client: httpx.AsyncClient, path: str, body: object, key: str = "", seconds: float = 0.0) -> Answer:
    """The JSON answer to POST, with another key or timeout if given. Raises GatewayProblem as `get` does."""
    return await send(client, "POST", path, body, key, seconds)


async def send(
    client: httpx.AsyncClient, method: str, path: str, body: object, key: str = "", seconds: float = 0.0
) -> Answer:
    """As `post`, with any method."""
    headers = {"X-API-Key": key} if key else {}
    timeout = seconds or client.timeout
    return await _json(client, client.build_request(method, path, json=body, headers=headers, timeout=timeout))


async def text(client: httpx.AsyncClient, path: str) -> str:
    """The text answer to GET. Raises GatewayProblem for any other answer than 200."""
    return (await _send(client, client.build_request("GET", path))).text


async def ready(client: httpx.AsyncClient) -> dict[str, Any]:
    """What /readyz says, also when it answers 503. Raises GatewayProblem if the gateway does not answer."""
    response = await _send(client, client.build_request("GET", "/readyz"), (200, 503))
    found: dict[str, Any] = response.json()
    return found


async def _json(client: httpx.AsyncClient, request: httpx.Request) -> Answer:
    started = time.perf_counter()
    response = await _send(client, request)
    return Answer(response.json(), (time.perf_counter() - started) * 1000)


async def _send(
    client: httpx.AsyncClient, request: httpx.Request, accepted: tuple[int, ...] = (200,)
) -> httpx.Response:
    try:
        response = await client.send(request)
    except httpx.HTTPError as error:
        raise GatewayProblem(f"{request.url.path}: {type(error).__name__} {error}") from None
    if response.status_code in accepted:
        return response
    is_problem = "json" in response.headers.get("content-type", "")
    detail = response.json().get("detail", "") if is_problem else response.reason_phrase
    raise GatewayProblem(f"{request.url.path}: {response.status_code} {detail}", response.status_code)
