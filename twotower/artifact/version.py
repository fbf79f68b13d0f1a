"""Opens a version and checks its files against its manifest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from twotower.artifact.layout import EncoderLayout, Layout, VersionLayout
from twotower.artifact.manifest import SCHEMA, FileEntry, Manifest
from twotower.errors import CorruptArtifact, NotFound

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_CHUNK = 1 << 20


def describe(path: Path) -> FileEntry:
    """Returns size and sha256 of a file. Raises CorruptArtifact if it cannot be read."""
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise CorruptArtifact(f"{path} cannot be read: {error.strerror}") from None
    return FileEntry(sha256=digest.hexdigest(), size=size)


def check_size(path: Path, entry: FileEntry) -> None:
    """Raises CorruptArtifact if a file is missing or has another size than the manifest says. Reads no content."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise CorruptArtifact(f"{path} cannot be read: {error.strerror}") from None
    if size != entry.size:
        raise CorruptArtifact(f"{path} has {size} bytes, its manifest says {entry.size}")


def check_file(path: Path, entry: FileEntry, shown: Path | None = None) -> None:
    """Hashes a file. Raises CorruptArtifact, with `shown` or else `path`, if it does not match its entry."""
    check_size(path, entry)
    actual = describe(path)
    if actual != entry:
        raise CorruptArtifact(f"{shown or path} has sha256 {actual.sha256}, its manifest says {entry.sha256}")


def is_intact(path: Path, entry: FileEntry) -> bool:
    """Whether a file is there and matches its entry. Hashes it if its size is right."""
    try:
        check_file(path, entry)
    except CorruptArtifact:
        return False
    return True


@dataclass(frozen=True)
class Version:
    """An opened version: its manifest, its folder and its encoder's folder.

    `provide` makes sure that a file is there and is what its entry says: it makes the private copy.
    """

    manifest: Manifest
    layout: VersionLayout
    encoder: EncoderLayout
    provide: Callable[[Path, FileEntry], None] = check_file

    @property
    def name(self) -> str:
        return self.manifest.version

    @property
    def trained_as(self) -> str:
        """The trained version that a refresh has its model from; a trained version's own name."""
        return str(self.manifest.configuration.get("trained_as", self.name))

    @property
    def nearest(self) -> Path | None:
        """The graph next to a flat index, or None if the version has none."""
        path: Path = self.layout.nearest
        return path if path.name in self.manifest.files else None

    @property
    def nearest_texts(self) -> Path | None:
        """The graph next to a flat text index, or None if the version has none."""
        path: Path = self.layout.nearest_texts
        return path if path.name in self.manifest.files else None

    @property
    def query_ngrams(self) -> tuple[Path, Path] | None:
        """The ids and vectors that queries learned, or None if the version has none."""
        paths: tuple[Path, Path] = (self.layout.query_ngram_ids, self.layout.query_ngrams)
        return paths if paths[0].name in self.manifest.files else None

    @property
    def has_complements(self) -> bool:
        """Whether the version holds a table of products that are bought together."""
        return self.layout.complement_offsets.name in self.manifest.files

    def check(self, *paths: Path) -> None:
        """Hashes files that are about to be opened; makes the private copy first.

        Raises CorruptArtifact if a file does not match the manifest.
        """
        for path in paths:
            entry = self._entries_of(path.parent).get(path.name)
            if entry is None:
                raise CorruptArtifact(f"{path.name} is not listed in the manifest of {self.name}")
            self.provide(path, entry)

    def _entries_of(self, folder: Path) -> Mapping[str, FileEntry]:
        if folder == self.encoder.root:
            return self.manifest.encoder_files
        return self.manifest.private_files if folder == self.layout.private else self.manifest.files


def open_version(layout: Layout, name: str, manifest_sha256: str = "") -> Version:
    """Opens the version `name` and checks its manifest, against `manifest_sha256` too if that is given.

    Raises NotFound if there is no such version, CorruptArtifact if its manifest is damaged.
    """
    if not NAME.match(name):
        raise NotFound(f"{name!r} is not a version name", field="version")
    files = layout.version(name)
    if not files.manifest.is_file():
        raise NotFound(f"there is no version {name!r} in {layout.versions}", field="version")
    raw = files.manifest.read_bytes()
    actual_sha256 = hashlib.sha256(raw).hexdigest()
    if manifest_sha256 and actual_sha256 != manifest_sha256:
        raise CorruptArtifact(f"{files.manifest} has sha256 {actual_sha256}, CURRENT says {manifest_sha256}")
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors()[0]
        raise CorruptArtifact(f"{files.manifest}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if manifest.schema_version != SCHEMA:
        raise CorruptArtifact(f"{files.manifest} has schema {manifest.schema_version}, this code reads {SCHEMA}")
    if manifest.version != name:
        raise CorruptArtifact(f"{files.manifest} is of version {manifest.version!r}, its folder is {name!r}")
    return Version(manifest, files, layout.encoder(manifest.encoder_digest))


def verify(version: Version) -> None:
    """Hashes every file that the manifest lists. Only the trainer and the gateway's `warm` reach the private ones."""
    version.check(*(version.layout.root / name for name in version.manifest.files))
    version.check(*(version.layout.private / name for name in version.manifest.private_files))
    version.check(*(version.encoder.root / name for name in version.manifest.encoder_files))
