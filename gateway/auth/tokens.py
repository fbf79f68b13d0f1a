"""Tokens that the shop signs for one buyer: JSON Web Tokens (RFC 7519) of a short life.

Claims: `sub` the buyer's id, `aud` "twotower", `iat` and `exp` at most an hour apart; `scope` "read" (the default) or
"read write". The algorithm is the one of the key's entry, never the one that the token's header names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from gateway.auth.errors import Unauthorized
from twotower.errors import SettingsError

Algorithm = Literal["HS256", "ES256", "EdDSA"]
ALGORITHMS: tuple[Algorithm, ...] = ("HS256", "ES256", "EdDSA")
AUDIENCE = "twotower"
MAX_LIFE_SECONDS = 3600
# RFC 7518, section 3.2: a key as long as the hash
_MIN_SECRET_BYTES = 32
_LEEWAY_SECONDS = 10
_CLAIMS = ["sub", "aud", "iat", "exp"]


class BuyerToken(NamedTuple):
    """A verified token: the one buyer that its bearer may ask for, and whether it may write this buyer's history."""

    buyer_id: str
    may_write: bool


@dataclass(frozen=True)
class TokenKey:
    """What verifies the tokens of one key: a shared secret or a public key, for one algorithm."""

    algorithm: Algorithm
    material: Any

    def verify(self, token: str) -> BuyerToken:
        """The buyer that a token is signed for. Raises Unauthorized, with the reason, for any other token."""
        try:
            claims = jwt.decode(
                token,
                self.material,
                algorithms=[self.algorithm],
                audience=AUDIENCE,
                leeway=_LEEWAY_SECONDS,
                options={"require": _CLAIMS},
            )
        except jwt.PyJWTError as error:
            raise Unauthorized(f"the buyer's token cannot be used: {error}", "invalid_token") from None
        if claims["exp"] - claims["iat"] > MAX_LIFE_SECONDS:
            problem = f"it lives {claims['exp'] - claims['iat']} s, the limit is {MAX_LIFE_SECONDS}"
            raise Unauthorized(f"the buyer's token cannot be used: {problem}", "invalid_token")
        scope = claims.get("scope", "read")
        return BuyerToken(claims["sub"], isinstance(scope, str) and "write" in scope.split())


def read_token_key(path: Path, algorithm: Algorithm, owner: str) -> TokenKey:
    """Reads the file that an entry names. Raises SettingsError if it does not hold a key for this algorithm."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{owner}: {path} cannot be read: {error.strerror}") from None
    if algorithm == "HS256":
        secret = content.strip()
        if len(secret) < _MIN_SECRET_BYTES:
            raise SettingsError(
                f"{owner}: {path} holds {len(secret)} bytes, HS256 needs at least {_MIN_SECRET_BYTES}; "
                "`openssl rand -hex 32` makes a secret"
            )
        return TokenKey(algorithm, secret)
    try:
        public = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise SettingsError(f"{owner}: {path} is not a public key in PEM form") from None
    fits = (
        isinstance(public, Ed25519PublicKey)
        if algorithm == "EdDSA"
        else isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1)
    )
    if not fits:
        needed = "Ed25519" if algorithm == "EdDSA" else "P-256"
        raise SettingsError(f"{owner}: {path} is not a public key of {needed}, which {algorithm} needs")
    return TokenKey(algorithm, public)
