"""Refusals of a caller, each with the headers that its answer must have."""

from __future__ import annotations

from collections.abc import Mapping

from twotower.errors import TwoTowerError

_REALM = 'Bearer realm="twotower"'


class Refused(TwoTowerError):
    """The caller may not ask this, or not now. `headers`: what the answer adds."""

    def __init__(self, message: str, headers: Mapping[str, str]) -> None:
        self.headers = dict(headers)
        super().__init__(message)


class Unauthorized(Refused):
    """The request has no key, an unknown key, or an unusable token."""

    def __init__(self, message: str, error: str = "") -> None:
        challenge = f'{_REALM}, error="{error}"' if error else _REALM
        super().__init__(message, {"WWW-Authenticate": challenge})


class Forbidden(Refused):
    """The key is known, but its scopes do not cover the request."""

    def __init__(self, message: str, scope: str) -> None:
        super().__init__(message, {"WWW-Authenticate": f'{_REALM}, error="insufficient_scope", scope="{scope}"'})


class TooManyRequests(Refused):
    """The key has used up its rate limit."""
