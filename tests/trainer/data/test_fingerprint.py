"""The digest of the code that computes a model."""

from __future__ import annotations

from pathlib import Path

import grimp
import pytest

from trainer.data.fingerprint import code_digest
from trainer.stages.prepare import MODEL_CODE

# what training imports and no model depends on: settings have a digest of their own, the rest moves files and messages
NEUTRAL = (
    "trainer.cluster",
    "trainer.config",
    "trainer.errors",
    "trainer.mapped",
    "trainer.native_memory",
    "trainer.progress",
    "trainer.release",
    "trainer.report",
    "trainer.evaluate",
    "twotower.arrays",
    "twotower.caller",
    "twotower.errors",
    "twotower.artifact",
    "twotower.sharding",
)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable package `digested` with a package below it."""
    root = tmp_path / "digested"
    (root / "inner").mkdir(parents=True)
    for name in ("__init__", "first", "inner/__init__", "inner/second"):
        (root / f"{name}.py").write_text(f"NAME = {name!r}\n")
    monkeypatch.syspath_prepend(tmp_path)
    return root


def test_an_unchanged_package_keeps_its_digest(package: Path) -> None:
    before = code_digest(["digested"])
    (package / "notes.txt").write_text("no code")
    assert code_digest(["digested"]) == before


@pytest.mark.parametrize("folder", [".", "inner"])
def test_a_new_module_changes_the_digest(package: Path, folder: str) -> None:
    before = code_digest(["digested"])
    (package / folder / "third.py").write_text("")
    assert code_digest(["digested"]) != before


@pytest.mark.parametrize("name", ["first.py", "inner/second.py"])
def test_a_changed_module_changes_the_digest(package: Path, name: str) -> None:
    before = code_digest(["digested"])
    (package / name).write_text("NAME = 1\n")
    assert code_digest(["digested"]) != before


def test_a_renamed_module_changes_the_digest(package: Path) -> None:
    before = code_digest(["digested"])
    (package / "first.py").rename(package / "fourth.py")
    assert code_digest(["digested"]) != before


def test_a_single_module_stands_for_itself(package: Path) -> None:
    before = code_digest(["digested.inner.second"])
    (package / "first.py").write_text("NAME = 1\n")
    assert code_digest(["digested.inner.second"]) == before
    (package / "inner" / "second.py").write_text("NAME = 1\n")
    assert code_digest(["digested.inner.second"]) != before


def test_a_module_that_does_not_exist_is_an_error(package: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match=r"digested\.gone"):
        code_digest(["digested.gone"])


def test_every_module_that_training_imports_is_digested_or_known_to_be_neutral() -> None:
    imports = grimp.build_graph("trainer", "twotower")
    used = set().union(
        *(imports.find_upstream_modules(f"trainer.stages.{name}") for name in ("prepare", "train", "embed"))
    )
    known = (*MODEL_CODE, *NEUTRAL)
    assert not [name for name in sorted(used) if not any(name == one or name.startswith(f"{one}.") for one in known)]
