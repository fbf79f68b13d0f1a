"""The files below one URL of an object storage, through fsspec: s3://bucket/prefix, file:///folder, memory://name."""

from __future__ import annotations

import hashlib
import importlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from twotower.artifact.fsync import write_atomically
from twotower.artifact.manifest import FileEntry
from twotower.errors import SettingsError, TwoTowerError

_CHUNK = 8 << 20
# the parts of a large file that are in memory at a time; by default they are 10 of 50 MB. A file of S3 has at most
# 10,000 parts: 160 GB
_PARTS = {"chunksize": 16 << 20, "max_concurrency": 2}
# a store that does not answer must not hold up a start for minutes
_S3_OPTIONS = {"config_kwargs": {"connect_timeout": 10, "read_timeout": 60}}
_SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


class StorageFailed(TwoTowerError):
    """The storage refused or did not answer; the message names bucket and key, and no credential."""


class Remote:
    """The files below one URL. A file appears whole or not at all."""

    def __init__(self, url: str) -> None:
        """Raises SettingsError if the URL cannot be used, or if a library for its scheme is not installed."""
        self.url = _checked(url)
        fsspec = _import_fsspec()
        options = _S3_OPTIONS if self.url.startswith("s3://") else {}
        try:
            # listings and file systems are cached by default: another process's uploads would not be seen
            self._files, self._root = fsspec.core.url_to_fs(
                self.url, use_listings_cache=False, skip_instance_cache=True, **options
            )
        except ImportError:
            raise SettingsError(f"{self.url}: the libraries for it are missing: pip install 'twotower[s3]'") from None
        except ValueError as error:
            raise SettingsError(f"{self.url}: {error}") from None
        self._is_local = "file" in self._files.protocol

    def url_of(self, key: str) -> str:
        return f"{self.url}/{key}"

    def read(self, key: str) -> bytes | None:
        """The content of a small file, or None if there is none."""
        with self._naming(key):
            try:
                # in one piece: one request
                return bytes(self._files.cat_file(self._path(key), max_concurrency=1))
            except FileNotFoundError:
                return None

    def write(self, key: str, content: bytes) -> None:
        """Writes a small file."""
        with self._naming(key):
            if self._is_local:
                path = Path(self._path(key))
                path.parent.mkdir(parents=True, exist_ok=True)
                with write_atomically(path) as temporary:
                    temporary.write_bytes(content)
            else:
                self._files.pipe_file(self._path(key), content)

    def upload(self, source: Path, key: str) -> None:
        """Uploads a file; a large one in parts, which the store joins at the end."""
        with self._naming(key):
            if self._is_local:
                Path(self._path(key)).parent.mkdir(parents=True, exist_ok=True)
            self._files.put_file(str(source), self._path(key), **_PARTS)

    def download(self, key: str, target: Path) -> None:
        with self._naming(key):
            self._files.get_file(self._path(key), str(target), **_PARTS)

    def sizes(self, folder: str) -> dict[str, int]:
        """The sizes of the files in a folder, by key. They are as the store lists them: a listing is one request."""
        with self._naming(folder):
            try:
                listed = self._files.ls(self._path(folder), detail=True)
            except FileNotFoundError:
                return {}
        return {f"{folder}/{one['name'].rpartition('/')[2]}": one["size"] for one in listed if one["type"] == "file"}

    def holds(self, key: str, entry: FileEntry) -> bool:
        """Whether a file is what its entry says: reads all of it."""
        digest, size = hashlib.sha256(), 0
        for start in range(0, max(entry.size, 1), _CHUNK):
            # the last part asks for one byte more than there should be: a longer file differs
            stop = start + _CHUNK if start + _CHUNK < entry.size else entry.size + 1
            part = self._read_part(key, start, stop, is_empty=entry.size == 0)
            digest.update(part)
            size += len(part)
        return FileEntry(sha256=digest.hexdigest(), size=size) == entry

    def _read_part(self, key: str, start: int, stop: int, *, is_empty: bool) -> bytes:
        with self._naming(key):
            # a store refuses a range of an empty file
            limits = {} if is_empty else {"start": start, "end": stop}
            return bytes(self._files.cat_file(self._path(key), **limits))

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    @contextmanager
    def _naming(self, key: str) -> Iterator[None]:
        """Translates what the stores' libraries raise; each has classes of its own."""
        try:
            yield
        except Exception as error:
            reason = _without_secrets(str(error)) or "no reason given"
            raise StorageFailed(f"{self.url_of(key)}: {type(error).__name__}: {reason}") from None


def _checked(url: str) -> str:
    """The URL without a slash at its end. Never shows what may be a password."""
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise SettingsError(
            "a storage URL holds no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role"
        )
    if not parts.scheme or "://" not in url:
        raise SettingsError(f"storage URL {url!r}: must be s3://bucket/prefix, file:///folder or memory://name")
    if parts.query or parts.fragment:
        raise SettingsError(f"storage URL {url.split('?')[0].split('#')[0]}: must not have ? or #")
    if not (parts.netloc or parts.path.strip("/")):
        raise SettingsError(f"storage URL {url!r}: names no bucket or folder")
    return url.rstrip("/")


def _import_fsspec() -> Any:
    try:
        return importlib.import_module("fsspec")
    except ImportError:
        raise SettingsError("object storage needs fsspec: pip install 'twotower[s3]'") from None


def _without_secrets(text: str) -> str:
    for name in _SECRETS:
        if value := os.environ.get(name):
            text = text.replace(value, "...")
    # the URL of an endpoint may hold a password
    return re.sub(r"//[^/\s]*@", "//...@", text)
