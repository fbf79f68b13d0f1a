"""The keys file: each key's hash, scopes and rate limit, checked when it is read and followed while the gateway runs.

A key is `tt_<id>_<64 hex digits>`. Its 256 random bits make a plain SHA-256 as safe as a slow hash, which passwords
need and which would cost each request milliseconds.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from limits import RateLimitItem, parse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from gateway import metrics
from gateway.auth.tokens import Algorithm, TokenKey, read_token_key
from twotower.artifact.fsync import write_atomically
from twotower.errors import SettingsError

log = logging.getLogger(__name__)

Scope = Literal["public", "read", "write", "admin"]
SCOPES: tuple[Scope, ...] = ("public", "read", "write", "admin")
DEFAULT_LIMIT = "6000/minute"
_KEY = re.compile(r"tt_([0-9a-f]{12})_[0-9a-f]{64}")
# compared for a key that is not known, so that it takes as long as one that is
_NO_HASH = "0" * 64


def _check_limit(value: str) -> str:
    try:
        item = parse(value)
    except ValueError:
        raise ValueError('is not a rate limit; write "6000/minute" or "100 per second"') from None
    if item.amount < 1:
        raise ValueError("must allow at least one request")
    return value


class BuyerTokens(BaseModel):
    """How the shop signs a buyer's token: one algorithm, and the file of the key that verifies it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    algorithm: Algorithm
    key_file: str = Field(min_length=1, description="relative to the folder of the keys file")


class KeyEntry(BaseModel):
    """One key as the file holds it. `limit` None: no rate limit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern="^[0-9a-f]{12}$")
    name: str = Field(min_length=1, max_length=80)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    scopes: tuple[Scope, ...] = Field(min_length=1)
    limit: Annotated[str, AfterValidator(_check_limit)] | None = None
    buyer_tokens: BuyerTokens | None = None
    created_at: datetime


class KeysDocument(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: tuple[KeyEntry, ...] = ()


@dataclass(frozen=True)
class Key:
    """A key ready for use: its entry, its parsed limit, and what verifies its buyers' tokens."""

    entry: KeyEntry
    limit: RateLimitItem | None
    tokens: TokenKey | None

    @property
    def id(self) -> str:
        return self.entry.id


@dataclass(frozen=True)
class Keys:
    """All keys of one state of the file, by id."""

    by_id: Mapping[str, Key]

    def find(self, presented: str) -> Key | None:
        """The key that the caller presents, None if it is unknown. The comparison takes the same time for all."""
        match = _KEY.fullmatch(presented)
        key = self.by_id.get(match[1]) if match else None
        expected = key.entry.sha256 if key else _NO_HASH
        return key if hmac.compare_digest(digest(presented), expected) else None


def digest(key: str) -> str:
    """What the file keeps of a key: the SHA-256 of its text, in hexadecimal."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def read_document(path: Path) -> KeysDocument:
    """The entries of a keys file. Raises SettingsError, with the entry and the field, if they cannot be used."""
    try:
        document = KeysDocument.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SettingsError(f"the keys file {path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise SettingsError(f"the keys file {path}: {place}: {first['msg']}") from None
    ids = [entry.id for entry in document.keys]
    twice = sorted({one for one in ids if ids.count(one) > 1})
    if twice:
        raise SettingsError(f"the keys file {path}: key {twice[0]} stands there {ids.count(twice[0])} times")
    return document


def read_keys(path: Path) -> Keys:
    """The keys of a file, ready for use. Raises SettingsError if the file or a file that it names cannot be used."""
    return Keys({entry.id: _prepare(entry, path) for entry in read_document(path).keys})


def _prepare(entry: KeyEntry, path: Path) -> Key:
    tokens = None
    if entry.buyer_tokens is not None:
        file = path.parent / entry.buyer_tokens.key_file
        tokens = read_token_key(file, entry.buyer_tokens.algorithm, f"key {entry.id} of {path}")
    return Key(entry, parse(entry.limit) if entry.limit else None, tokens)


@dataclass
class KeysFile:
    """Follows a keys file. `keys` is None until the file exists; from then on a caller needs a key.

    A file that disappears or cannot be used leaves the last good keys in force, and is logged.
    """

    path: Path
    keys: Keys | None = None
    _stamp: Sequence[object] = field(default=())
    _problem: str = ""

    def load(self) -> None:
        """Reads the file for the first time. Raises SettingsError if it exists and cannot be used."""
        self._stamp = self._look()
        if self._stamp:
            self.keys = read_keys(self.path)
            self._stamp = self._look()

    def poll(self) -> None:
        """Reads the file again if it, or the key of a buyer's token, has changed."""
        stamp = self._look()
        if stamp == self._stamp:
            return
        try:
            self.keys = read_keys(self.path)
        except SettingsError as error:
            metrics.KEYS_REFUSED.inc()
            if str(error) != self._problem:
                log.error("the last good keys stay in force: %s", error)
            self._problem = str(error)
            self._stamp = stamp
            return
        # the files that the new entries name are part of the stamp
        self._stamp, self._problem = self._look(), ""
        log.info("keys loaded", extra={"keys": len(self.keys.by_id)})

    def _look(self) -> Sequence[object]:
        """What changes with the content of the file and of the token keys; empty if there is no keys file."""
        entries = self.keys.by_id.values() if self.keys else ()
        named = [self.path.parent / key.entry.buyer_tokens.key_file for key in entries if key.entry.buyer_tokens]
        first = _facts(self.path)
        return (first, *(_facts(path) for path in named)) if first else ()


def _facts(path: Path) -> tuple[int, int, int] | None:
    """Inode, size and time of change; a mounted secret changes by a link to another file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


@dataclass(frozen=True)
class NewKey:
    """What the operator asks for with `keys add`."""

    name: str
    scopes: tuple[Scope, ...]
    limit: str | None
    buyer_tokens: BuyerTokens | None


def add_key(path: Path, wanted: NewKey) -> str:
    """Adds a key to the file and returns its text, which is stored nowhere. Raises SettingsError."""
    document = read_document(path) if path.exists() else KeysDocument()
    ident = secrets.token_hex(6)
    key = f"tt_{ident}_{secrets.token_hex(32)}"
    try:
        entry = KeyEntry(
            id=ident,
            name=wanted.name,
            sha256=digest(key),
            scopes=wanted.scopes,
            limit=wanted.limit,
            buyer_tokens=wanted.buyer_tokens,
            created_at=datetime.now(UTC).replace(microsecond=0),
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingsError(f"--{first['loc'][0]} {first['input']!r}: {first['msg']}") from None
    _prepare(entry, path)
    _write(path, KeysDocument(keys=(*document.keys, entry)))
    return key


def remove_key(path: Path, ident: str) -> KeyEntry:
    """Removes a key from the file and returns its entry. Raises SettingsError if the file has no such key."""
    document = read_document(path)
    left = tuple(entry for entry in document.keys if entry.id != ident)
    if len(left) == len(document.keys):
        known = ", ".join(entry.id for entry in document.keys) or "none"
        raise SettingsError(f"{path} has no key {ident!r}; its keys: {known}")
    _write(path, KeysDocument(keys=left))
    return next(entry for entry in document.keys if entry.id == ident)


def _write(path: Path, document: KeysDocument) -> None:
    """Replaces the file; its owner alone may read it."""
    content: dict[str, Any] = document.model_dump(mode="json", exclude_none=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with write_atomically(path) as temporary:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(content, file, ensure_ascii=False, indent=1)
                file.write("\n")
    except OSError as error:
        raise SettingsError(f"the keys file {path} cannot be written: {error.strerror}") from None
