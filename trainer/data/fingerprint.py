"""Digests of input files and of code."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path

CHUNK = 1 << 20


def code_digest(sources: Iterable[str]) -> str:
    """sha256 over the paths and contents of the named modules; a package stands for all modules below it."""
    digest = hashlib.sha256()
    for source in sources:
        for name, path in _python_files(source):
            content = path.read_bytes()
            digest.update(f"{source}/{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def _python_files(source: str) -> list[tuple[str, Path]]:
    """The .py files of a package, or the file of a module, by their paths within it."""
    spec = importlib.util.find_spec(source)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"there is no module {source}")
    if not spec.submodule_search_locations:
        return [("", Path(spec.origin))]
    root = Path(spec.origin).parent
    return sorted((path.relative_to(root).as_posix(), path) for path in root.rglob("*.py"))


def fingerprint(files: Sequence[Path]) -> str:
    """sha256 over the contents of files, in order."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(str(path.stat().st_size).encode() + b"\n")
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
