"""Stands before the handlers: finds the caller's key, checks its scopes, and takes a permit of its rate limit."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope as AsgiScope

from gateway.auth.errors import Forbidden, TooManyRequests, Unauthorized
from gateway.auth.keys import Key, KeysFile, Scope
from gateway.auth.limiter import Quota, RateLimiter, connect_limiter
from gateway.settings import GatewaySettings
from twotower.errors import SettingsError

log = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]
# what a key of scope `public` may ask: nothing, products, or one buyer's with a token of this buyer
PublicUse = Literal["nothing", "products", "buyer"]
_POLL_SECONDS = 1.0
_ONLY_BUYER, _CALLER = "twotower.only_buyer", "twotower.caller"
_HOW_TO = (
    "make a key with `make key` or `docker compose run --rm gateway keys add`, "
    "or set TWOTOWER_GATEWAY_AUTH=off to serve everyone"
)


class Guard:
    """Admits requests by key, or every request as long as the gateway serves without keys.

    Raises SettingsError if the keys file cannot be used, or if the gateway would serve other machines without keys and
    nobody has asked for that by name.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._file = KeysFile(settings.keys_file) if settings.keys_file and settings.auth != "off" else None
        self._limiter: RateLimiter | None = None
        if self._file is not None:
            self._file.load()
        self._check_exposure()

    @property
    def is_open(self) -> bool:
        """Whether everyone may ask everything."""
        return self._file is None or self._file.keys is None

    def _check_exposure(self) -> None:
        settings = self._settings
        if settings.auth == "off":
            return
        if settings.auth == "keys" and self.is_open:
            where = settings.keys_file or "no file, because TWOTOWER_GATEWAY_KEYS_FILE is not set"
            raise SettingsError(f"TWOTOWER_GATEWAY_AUTH=keys, but there are no keys in {where}: {_HOW_TO}")
        name = "HOST" if settings.published_host is None else "PUBLISHED_HOST"
        host = settings.published_host or settings.host
        if self.is_open and not is_loopback(host):
            raise SettingsError(
                f"TWOTOWER_GATEWAY_{name}={host} lets other machines in, and there are no keys: {_HOW_TO}"
            )

    @asynccontextmanager
    async def following(self) -> AsyncIterator[None]:
        """Follows the keys file and keeps the limiter's connections, while the gateway serves."""
        if self.is_open and not is_loopback(self._settings.published_host or self._settings.host):
            log.warning("no keys: everyone who reaches this gateway may read and write every history")
        if self._file is None:
            yield
            return
        self._limiter, close = connect_limiter(self._settings)
        task = asyncio.create_task(self._follow(self._file))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await close()

    async def _follow(self, file: KeysFile) -> None:
        while True:
            await asyncio.sleep(_POLL_SECONDS)
            file.poll()

    def protect(self, handler: Handler, scope: Scope, public: PublicUse) -> Handler:
        """`handler` for callers with this scope, or whose key of scope `public` covers it."""

        async def guarded(request: Request) -> Response:
            if self.is_open:
                return await handler(request)
            quota, limit = await self._admit(request, scope, public)
            response = await handler(request)
            if quota is not None:
                response.raw_headers.extend(_limit_headers(quota, limit))
            return response

        return guarded

    async def _admit(self, request: Request, scope: Scope, public: PublicUse) -> tuple[Quota | None, bytes]:
        key = self._key_of(request.scope)
        request.scope[_CALLER] = key.entry.name
        quota, policy = None, b""
        if key.limit is not None:
            assert self._limiter is not None, "the lifespan opens the limiter"
            quota = await self._limiter.take(key, key.limit)
            policy = f'"key";q={key.limit.amount};w={key.limit.get_expiry()}'.encode()
            if not quota.granted:
                headers = {name.decode(): value.decode() for name, value in _limit_headers(quota, policy)}
                message = f"key {key.id} has used up its limit of {key.limit}"
                raise TooManyRequests(message, headers | {"Retry-After": str(quota.reset_seconds)})
        if scope not in key.entry.scopes:
            _admit_public(request, key, scope, public)
        return quota, policy

    def _key_of(self, scope: AsgiScope) -> Key:
        presented = _presented_key(scope)
        if not presented:
            raise Unauthorized("this needs a key: send Authorization: Bearer KEY, or X-API-Key: KEY")
        assert self._file is not None and self._file.keys is not None
        key = self._file.keys.find(presented)
        if key is None:
            raise Unauthorized("the key is not known", "invalid_token")
        return key


def _admit_public(request: Request, key: Key, scope: Scope, public: PublicUse) -> None:
    """Raises unless a key of scope `public` covers the request; with a token, notes the one buyer that it may name."""
    if "public" not in key.entry.scopes or public == "nothing":
        raise Forbidden(f"key {key.id} has the scopes {', '.join(key.entry.scopes)}; this needs {scope}", scope)
    if public == "products":
        # a list that may name a buyer names none without a token
        request.scope[_ONLY_BUYER] = ""
        return
    if key.tokens is None:
        raise Forbidden(f"key {key.id} has no buyer_tokens, so it cannot ask for a buyer; this needs {scope}", scope)
    token = request.headers.get("x-buyer-token", "")
    if not token:
        raise Unauthorized("with a public key this needs the buyer's token: send X-Buyer-Token: TOKEN")
    buyer = key.tokens.verify(token)
    if scope == "write" and not buyer.may_write:
        raise Forbidden('the buyer\'s token does not allow writing: its claim scope must be "read write"', scope)
    request.scope[_ONLY_BUYER] = buyer.buyer_id


def check_buyer(request: Request, buyer_id: str) -> None:
    """Raises Forbidden if the caller holds a token of another buyer. Every handler that names a buyer calls this."""
    only = request.scope.get(_ONLY_BUYER)
    if only == "":
        raise Forbidden("with a public key, this names no buyer", "read")
    if only is not None and only != buyer_id:
        raise Forbidden("the token is another buyer's", "read")


def caller_of(request: Request) -> str:
    """The name of the caller's key; empty while the gateway serves without keys."""
    return str(request.scope.get(_CALLER, ""))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address. A name other than localhost may be anything."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _presented_key(scope: AsgiScope) -> str:
    """The caller's key: X-API-Key, else the bearer of Authorization; empty if it sends neither."""
    bearer = ""
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            return str(value.decode("latin-1")).strip()
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            bearer = value[7:].decode("latin-1").strip()
    return bearer


def _limit_headers(quota: Quota, policy: bytes) -> list[tuple[bytes, bytes]]:
    """The fields of draft-ietf-httpapi-ratelimit-headers: the policy, what is left of it, and when more comes back."""
    left = f'"key";r={quota.remaining};t={quota.reset_seconds}'.encode()
    return [(b"ratelimit-policy", policy), (b"ratelimit", left)]
