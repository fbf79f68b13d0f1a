"""The artifact folder: every path in it, the manifest, and how a version is published, verified and pruned."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from twotower.errors import CorruptArtifact, NotFound, Overtaken

SCHEMA = 1
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Layout:
    """Every path below one artifact folder."""

    root: Path

    @property
    def current(self) -> Path:
        return self.root / "CURRENT"

    @property
    def previous(self) -> Path:
        return self.root / "PREVIOUS"

    @property
    def pointers(self) -> Path:
        """Locked by whoever changes CURRENT and PREVIOUS, or removes what they do not name; readers need no lock."""
        return self.root / ".pointers"

    @property
    def versions(self) -> Path:
        return self.root / "versions"

    @property
    def encoders(self) -> Path:
        return self.root / "encoders"

    @property
    def work(self) -> Path:
        """Checkpoints, caches and half-written versions: the trainer's alone, no service looks here."""
        return self.root / "work"

    def version(self, name: str) -> VersionLayout:
        return VersionLayout(self.versions / name)

    def encoder(self, digest: str) -> EncoderLayout:
        return EncoderLayout(self.encoders / digest)


@dataclass(frozen=True)
class VersionLayout:
    """Every file of one version folder."""

    root: Path

    manifest = property(lambda self: self.root / "manifest.json")
    embeddings = property(lambda self: self.root / "product_embeddings.npy")
    ids = property(lambda self: self.root / "product_ids.npy")
    index = property(lambda self: self.root / "product_index.faiss")
    # the same rows as the text encoder has them: what a search for words ranks by
    text_embeddings = property(lambda self: self.root / "text_embeddings.npy")
    text_index = property(lambda self: self.root / "text_index.faiss")
    # of a flat index of a small catalogue, beside it; it reads its vectors from `embeddings`
    nearest = property(lambda self: self.root / "nearest_products.onnx")
    item_tower = property(lambda self: self.root / "item_tower.onnx")
    buyer_tower = property(lambda self: self.root / "buyer_tower.onnx")
    vocab = property(lambda self: self.root / "vocab.json")
    products = property(lambda self: self.root / "products.sqlite")
    recent = property(lambda self: self.root / "recent_interactions.jsonl.gz")
    weights = property(lambda self: self.root / "model.safetensors")
    config = property(lambda self: self.root / "config.yaml")
    metrics = property(lambda self: self.root / "metrics.json")
    rejects = property(lambda self: self.root / "rejects.csv")
    report = property(lambda self: self.root / "report.html")


@dataclass(frozen=True)
class EncoderLayout:
    """Every file of one shared text encoder folder."""

    root: Path

    spec = property(lambda self: self.root / "encoder.json")
    graph = property(lambda self: self.root / "encoder.onnx")
    tokenizer = property(lambda self: self.root / "tokenizer.json")


class FileEntry(BaseModel):
    """What the manifest says of one file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sha256: str
    size: int


class IndexStep(BaseModel):
    """One measured way to search an index: how many rows it is asked for at the most, and what that takes and finds.

    `parameter` is nprobe or efSearch (0 where the index has neither), `factor` how many rows are fetched for each one
    wanted, `recall` the share of the true `depth` best that are found, `microseconds` a query's time on one thread.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    depth: int
    parameter: int
    factor: float
    recall: float
    microseconds: float


class IndexSpec(BaseModel):
    """What product_index.faiss is and how it is searched. The defaults are a flat index, as all older versions have."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str = "flat"
    # as FAISS's factory takes it
    factory: str = "Flat"
    # what `parameter` of a step is called: nprobe, efSearch, or nothing
    knob: str = ""
    # for each depth the cheapest way that reaches the target, by rising depth; none for an exact index
    steps: list[IndexStep] = []
    # filters that allow so many products or fewer are answered by an exact scan of these alone
    exact_rows: int = 0
    target_recall: float = 1.0
    # what recall was measured with, and every way that was tried
    queries: str = ""
    curve: list[IndexStep] = []
    bytes_per_vector: float | None = None
    build_seconds: float | None = None


class TextSearch(BaseModel):
    """How products are found by words: the index of text_embeddings.npy, and what it was measured to find.

    Of `titles` searched for, `found_first` and `found_in_ten` are the shares that found a product of that title so high
    in the list; the best cosine of 19 in 20 words of random letters is below `noise`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    index: IndexSpec
    titles: int
    found_first: float
    found_in_ten: float
    noise: float


class Manifest(BaseModel):
    """What one version is: read by services before they open anything else of it."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    schema_version: int = SCHEMA
    version: str
    created_at: str
    # name and digest of the text encoder, and the size of its vectors
    encoder: str
    encoder_digest: str
    text_dimension: int
    dimension: int
    metric: str = "inner_product"
    products: int
    buyers: int
    events: int
    # event name -> weight, in the order of their integer codes (1, 2, ...)
    event_weights: dict[str, float]
    max_history: int
    # what the data and the training were
    configuration: dict[str, Any]
    metrics: dict[str, Any]
    # why a version was kept back from CURRENT or published with a warning
    notes: list[str] = []
    # what the publish gate said: passed, warned, refused or off; empty in versions older than it
    gate: str = ""
    # the newest event that the published model was trained on
    newest_event_ms: int | None = None
    index: IndexSpec = IndexSpec()
    # None in older versions, which find products by words through the item tower alone
    text_search: TextSearch | None = None
    files: dict[str, FileEntry]
    encoder_files: dict[str, FileEntry]


@dataclass(frozen=True)
class Version:
    """One opened version: its manifest, its folder, and its encoder's folder."""

    manifest: Manifest
    layout: VersionLayout
    encoder: EncoderLayout

    @property
    def name(self) -> str:
        return self.manifest.version

    @property
    def trained_as(self) -> str:
        """The version whose model a refresh has; its own name where a training made it."""
        return str(self.manifest.configuration.get("trained_as", self.name))

    @property
    def nearest(self) -> Path | None:
        """The graph beside a flat index, or None where the version has none."""
        path: Path = self.layout.nearest
        return path if path.name in self.manifest.files else None

    def check(self, *paths: Path) -> None:
        """Hashes the files that are about to be opened. CorruptArtifact where one does not match the manifest."""
        for path in paths:
            shared = path.parent == self.encoder.root
            entries = self.manifest.encoder_files if shared else self.manifest.files
            entry = entries.get(path.name)
            if entry is None:
                raise CorruptArtifact(f"{path.name} is not listed in the manifest of {self.name}")
            found = describe(path)
            if found.size != entry.size:
                raise CorruptArtifact(f"{path} has {found.size} bytes, its manifest says {entry.size}")
            if found.sha256 != entry.sha256:
                raise CorruptArtifact(f"{path} has sha256 {found.sha256}, its manifest says {entry.sha256}")


def describe(path: Path) -> FileEntry:
    """Size and sha256 of a file. CorruptArtifact where it cannot be read."""
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise CorruptArtifact(f"{path} cannot be read: {error.strerror}") from None
    return FileEntry(sha256=digest.hexdigest(), size=size)


def open_version(layout: Layout, name: str, manifest_sha256: str = "") -> Version:
    """The version `name`, its manifest checked against `manifest_sha256` where given.

    NotFound where there is no such version, CorruptArtifact where its manifest is not what it should be.
    """
    if not _NAME.match(name):
        raise NotFound(f"{name!r} is not a version name", field="version")
    files = layout.version(name)
    if not files.manifest.is_file():
        raise NotFound(f"there is no version {name!r} in {layout.versions}", field="version")
    raw = files.manifest.read_bytes()
    found = hashlib.sha256(raw).hexdigest()
    if manifest_sha256 and found != manifest_sha256:
        raise CorruptArtifact(f"{files.manifest} has sha256 {found}, CURRENT says {manifest_sha256}")
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


@dataclass(frozen=True)
class Pointer:
    """What CURRENT or PREVIOUS says: a version's name and the sha256 of its manifest."""

    version: str
    manifest_sha256: str


def read_pointer(path: Path) -> Pointer | None:
    """The pointer in `path`, or None where there is none. CorruptArtifact where it is not one."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptArtifact(f"{path} cannot be read: {error}") from None
    parts = text.split()
    if len(parts) != 2 or not _NAME.match(parts[0]) or not re.fullmatch(r"[0-9a-f]{64}", parts[1]):
        raise CorruptArtifact(f"{path} does not hold a version name and a sha256: {text[:100]!r}")
    return Pointer(parts[0], parts[1])


def publish(layout: Layout, name: str, expected: Pointer | None = None) -> Pointer:
    """Names an existing version in CURRENT, and what CURRENT named before in PREVIOUS; by rename, in that order.

    Every file of the version is hashed first: CorruptArtifact leaves both pointers as they were. So does Overtaken,
    where CURRENT is not what is `expected` (None: whatever it is).
    """
    version = open_version(layout, name)
    pointer = Pointer(name, describe(version.layout.manifest).sha256)
    verify(version)
    with _pointers_locked(layout):
        # hashing takes long enough for a trainer to have removed it
        open_version(layout, name, pointer.manifest_sha256)
        before = _read_to_repair(layout.current)
        if expected is not None and before != expected:
            raise Overtaken(
                f"CURRENT names {before.version if before else 'nothing'} by now, not {expected.version}, of which "
                f"{name} was made: it is not published; run it again"
            )
        if before == pointer:
            return pointer
        if before is not None:
            _write_pointer(layout.previous, before)
        _write_pointer(layout.current, pointer)
    return pointer


def _read_to_repair(path: Path) -> Pointer | None:
    """The pointer in `path`; None also of a damaged one, which publishing repairs. PREVIOUS stays then, for it is the
    last version known to be good."""
    try:
        return read_pointer(path)
    except CorruptArtifact:
        return None


@contextmanager
def _pointers_locked(layout: Layout) -> Iterator[None]:
    """Nobody else changes a pointer or removes a version meanwhile; held for moments, so that nobody waits long."""
    with layout.pointers.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def verify(version: Version) -> None:
    """Hashes every file that the manifest lists."""
    version.check(*(version.layout.root / name for name in version.manifest.files))
    version.check(*(version.encoder.root / name for name in version.manifest.encoder_files))


def write_version(
    layout: Layout,
    name: str,
    fill: Callable[[VersionLayout], Manifest],
    check: Callable[[Version], None] = lambda version: None,
) -> Version:
    """Writes a version folder so that nobody ever sees half of it, or one that cannot be used.

    `fill` writes every file into a temporary folder and returns the manifest (its `files` are filled in here); the
    folder is fsynced, given to `check`, which raises where it should not be there, and renamed into `versions/`. On any
    error the temporary folder is removed.
    """
    if not _NAME.match(name):
        raise ValueError(f"{name!r} is not a version name")
    if layout.version(name).root.exists():
        raise FileExistsError(f"version {name!r} exists already in {layout.versions}")
    layout.versions.mkdir(parents=True, exist_ok=True)
    layout.work.mkdir(parents=True, exist_ok=True)
    temporary = VersionLayout(layout.work / f"version-{name}")
    shutil.rmtree(temporary.root, ignore_errors=True)
    temporary.root.mkdir()
    try:
        manifest = fill(temporary)
        files = {path.name: describe(path) for path in sorted(temporary.root.iterdir())}
        manifest = manifest.model_copy(update={"files": files})
        temporary.manifest.write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
        sync_folder(temporary.root)
        check(Version(manifest, temporary, layout.encoder(manifest.encoder_digest)))
        temporary.root.rename(layout.version(name).root)
        _sync(layout.versions)
    except BaseException:
        shutil.rmtree(temporary.root, ignore_errors=True)
        raise
    return open_version(layout, name)


def list_versions(layout: Layout) -> list[str]:
    """Names of the versions on disk, oldest first (by the creation time in their manifests).

    A folder with another kind of name, such as a copy that somebody made, is not one of them.
    """
    if not layout.versions.is_dir():
        return []
    found = []
    for folder in layout.versions.iterdir():
        manifest = VersionLayout(folder).manifest
        if _NAME.match(folder.name) and manifest.is_file():
            found.append((_created_at(manifest), folder.name))
    return [name for _, name in sorted(found)]


def _created_at(manifest: Path) -> str:
    """When a version was made; the empty string, so oldest of all, where its manifest cannot be read."""
    try:
        return str(json.loads(manifest.read_bytes()).get("created_at", ""))
    except (ValueError, AttributeError):
        return ""


def prune(layout: Layout, keep: int) -> list[str]:
    """Removes the oldest versions beyond the newest `keep`, never CURRENT or PREVIOUS, nor what these were trained as
    where they are refreshes of it; then unused encoders.

    Returns the names of the removed versions.
    """
    named = _kept(layout)
    return remove_versions(layout, [name for name in list_versions(layout)[: -keep or None] if name not in named])


def named_versions(layout: Layout) -> set[str]:
    """What CURRENT and PREVIOUS name."""
    return {pointer.version for path in (layout.current, layout.previous) if (pointer := read_pointer(path))}


def _kept(layout: Layout) -> set[str]:
    """What CURRENT and PREVIOUS name, and what these were trained as."""
    named = named_versions(layout)
    return named | {_trained_as(layout, name) for name in named}


def _trained_as(layout: Layout, name: str) -> str:
    try:
        return open_version(layout, name).trained_as
    except (CorruptArtifact, NotFound):
        return name


def remove_versions(layout: Layout, names: Sequence[str]) -> list[str]:
    """Removes versions, and then the encoders that no version names any more.

    One that CURRENT or PREVIOUS names or needs by now stays. Returns the names of those that are gone.
    """
    removed = [name for name in names if _remove_version(layout, name)]
    _prune_encoders(layout)
    return removed


def _remove_version(layout: Layout, name: str) -> bool:
    with _pointers_locked(layout):
        if name in _kept(layout):
            return False
        leaving = _set_aside(layout, layout.version(name).root, name)
    shutil.rmtree(leaving)
    return True


def _set_aside(layout: Layout, folder: Path, name: str) -> Path:
    """Renames a folder that is to be removed: one that is half removed when the process dies must not look whole."""
    leaving = layout.work / f"removed-{name}"
    layout.work.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(leaving, ignore_errors=True)
    folder.rename(leaving)
    return leaving


def remove_encoder(layout: Layout, digest: str) -> None:
    """Removes a text encoder's folder, whole or not at all."""
    shutil.rmtree(_set_aside(layout, layout.encoder(digest).root, f"encoder-{digest}"))


def remove_leftovers(layout: Layout) -> None:
    """Removes what a writer or a remover that was killed has left; only where no other may be at work."""
    for pattern in ("version-*", "removed-*", "encoder-export"):
        for left in layout.work.glob(pattern):
            shutil.rmtree(left)


def _prune_encoders(layout: Layout) -> None:
    """Removes the encoders that no version names; none of them where one version cannot say what it names."""
    try:
        used = {open_version(layout, name).manifest.encoder_digest for name in list_versions(layout)}
    except CorruptArtifact:
        return
    if layout.encoders.is_dir():
        for folder in layout.encoders.iterdir():
            if folder.name not in used:
                remove_encoder(layout, folder.name)


def sync_folder(folder: Path) -> None:
    """Fsyncs every file of a folder and the folder itself, so that a rename after it publishes whole files."""
    for path in _files(folder):
        _sync(path)
    _sync(folder)


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.iterdir() if path.is_file())


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_pointer(path: Path, pointer: Pointer) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(f"{pointer.version} {pointer.manifest_sha256}\n")
    _sync(temporary)
    temporary.replace(path)
    _sync(path.parent)
