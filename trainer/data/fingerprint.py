"""Digests of input files and of code."""

from __future__ import annotations

import hashlib
import importlib.resources
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

CHUNK = 1 << 20


def code_digest(modules: Mapping[str, Iterable[str]]) -> str:
    """sha256 over the source of modules, named by their package."""
    digest = hashlib.sha256()
    for package, names in modules.items():
        for name in names:
            digest.update(importlib.resources.files(package).joinpath(f"{name}.py").read_bytes())
    return digest.hexdigest()


def fingerprint(files: Sequence[Path]) -> str:
    """sha256 over the contents of files, in order."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(str(path.stat().st_size).encode() + b"\n")
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    return digest.hexdigest()
