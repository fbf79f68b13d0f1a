"""Which versions a replica holds while CURRENT and PREVIOUS change under it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.tiny_version import build_version, publish_version
from twotower.artifact.layout import Layout
from twotower.artifact.pointer import read_pointer, write_experiment_pointers
from twotower.artifact.private_copy import CopyCache
from twotower.artifact.retention import list_versions, prune
from twotower.artifact.version import Version, describe, verify
from twotower.errors import CorruptArtifact, Unavailable, VersionNotHeld
from twotower.serving.model_versions import Versions
from twotower.serving.telemetry import MODEL_INFO, VERSION_LOADS


def load(version: Version) -> str:
    """A stand-in for a service's snapshot: the version's name, once all of its files are what they should be."""
    verify(version)
    return version.name


def refused() -> float:
    return float(VERSION_LOADS.labels("refused")._value.get())


@pytest.fixture
def versions(artifacts: Path) -> Versions[str]:
    return Versions(Layout(artifacts), load)


def test_before_the_first_version_every_call_is_unavailable(versions: Versions[str]) -> None:
    assert not versions.is_ready
    assert versions.held == []
    with pytest.raises(Unavailable, match="no model version is loaded yet"):
        versions.get()


async def test_the_current_version_answers_a_request_that_names_none(versions: Versions[str]) -> None:
    assert await versions.poll()
    assert versions.is_ready
    assert versions.get() == ("a", "a")
    assert versions.get("a") == ("a", "a")
    assert not await versions.poll()


async def test_current_and_previous_are_both_held_from_the_start(artifacts: Path) -> None:
    build_version(artifacts, "b", seed=1)
    versions = Versions(Layout(artifacts), load)
    await versions.poll()
    assert versions.held == ["b", "a"]
    assert versions.get("a") == ("a", "a")


async def test_an_unknown_version_is_refused_with_those_held(artifacts: Path) -> None:
    build_version(artifacts, "b", seed=1)
    versions = Versions(Layout(artifacts), load)
    await versions.poll()
    with pytest.raises(VersionNotHeld, match="'z' is not held here; held: b, a") as caught:
        versions.get("z")
    assert caught.value.detail() == {"wanted": "z", "held": ["b", "a"]}


async def test_a_new_version_is_swapped_in_and_the_old_one_stays_until_the_next(
    artifacts: Path, versions: Versions[str]
) -> None:
    await versions.poll()
    build_version(artifacts, "b", seed=1)
    assert await versions.poll()
    assert versions.held == ["b", "a"]
    build_version(artifacts, "c", seed=2)
    assert await versions.poll()
    assert versions.held == ["c", "b"]


async def test_publishing_the_older_version_rolls_back(artifacts: Path, versions: Versions[str]) -> None:
    await versions.poll()
    build_version(artifacts, "b", seed=1)
    await versions.poll()
    publish_version(artifacts, "a")
    assert await versions.poll()
    assert versions.held == ["a", "b"]
    assert MODEL_INFO.labels("a")._value.get() == 1
    assert MODEL_INFO.labels("b")._value.get() == 0


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink])
async def test_a_damaged_file_of_any_kind_is_refused_and_counted_and_the_old_version_serves_on(
    artifacts: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    listed = sorted((artifacts / "versions" / "a").iterdir())
    assert len(listed) == 24
    for number, example in enumerate(listed):
        versions = Versions(Layout(artifacts), load)
        await versions.poll()
        serving = versions.get()
        version = build_version(artifacts, f"b{number}", seed=number + 1)
        damage(version.layout.root / example.name)
        before = refused()
        caplog.clear()
        await versions.poll()
        assert versions.get() == serving
        assert refused() == before + 1, example.name
        assert [record.levelname for record in caplog.records if "refused" in record.message] == ["ERROR"]
        publish_version(artifacts, "a")


@pytest.mark.parametrize("damage", [flip, truncate, Path.unlink])
@pytest.mark.parametrize("name", ["encoder.json", "encoder.onnx", "encoder.onnx.data"])
async def test_a_damaged_encoder_is_refused_too(
    artifacts: Path, versions: Versions[str], damage: Callable[[Path], None], name: str
) -> None:
    await versions.poll()
    version = build_version(artifacts, "b", encoder_seed=5)
    damage(version.encoder.root / name)
    before = refused()
    await versions.poll()
    assert versions.held == ["a"]
    assert refused() == before + 1


async def test_a_refused_version_is_tried_again_after_two_seconds_and_may_have_been_repaired(
    artifacts: Path, versions: Versions[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [100.0]
    monkeypatch.setattr("twotower.serving.model_versions.time.monotonic", lambda: clock[0])
    await versions.poll()
    version = build_version(artifacts, "b", seed=1)
    whole = version.layout.vocab.read_bytes()
    version.layout.vocab.write_bytes(b"?")
    before = refused()
    # a look at its files every two seconds costs nothing; they are read again if one has changed, or after a minute
    for clock[0], damaged, attempts in (
        (100.0, b"?", 1),
        (101.9, b"!", 1),
        (102.0, b"!", 2),
        (104.0, b"!", 2),
        (161.9, b"!", 2),
        (162.0, b"!", 3),
    ):
        if version.layout.vocab.read_bytes() != damaged:
            version.layout.vocab.write_bytes(damaged)
        assert not await versions.poll()
        assert refused() == before + attempts
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 1  # said once, not at every attempt
    version.layout.vocab.write_bytes(whole)
    clock[0] = 163.9
    assert not await versions.poll()
    clock[0] = 164.0
    assert await versions.poll()
    assert versions.held == ["b", "a"]


async def test_with_a_cache_the_versions_held_are_private_copies_and_others_are_removed(
    artifacts: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    versions = Versions(Layout(artifacts), lambda version: str(version.layout.root), CopyCache(cache))

    def copies() -> list[str]:
        return sorted(str(path) for path in cache.iterdir() if path.name.startswith("version-") and path.is_dir())

    for number, name in enumerate(["a", "b", "c", "d"]):
        if number:
            build_version(artifacts, name, seed=number)
        await versions.poll()
        # the current one and the one before
        assert copies() == sorted(snapshot for _, snapshot in map(versions.get, versions.held))
        assert len(copies()) == min(number + 1, 2)


async def test_a_refused_version_keeps_its_copies_until_no_pointer_names_it(artifacts: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    def load_only_a(version: Version) -> str:
        version.check(version.layout.vocab)
        if version.name != "a":
            raise CorruptArtifact("does not fit")
        return version.name

    versions = Versions(Layout(artifacts), load_only_a, CopyCache(cache), retry_seconds=0)
    await versions.poll()
    build_version(artifacts, "b", seed=1)
    await versions.poll()
    copy = cache / f"version-{describe(Layout(artifacts).version('b').manifest).sha256}"
    inode = (copy / "vocab.json").stat().st_ino
    await versions.poll()
    assert (copy / "vocab.json").stat().st_ino == inode
    build_version(artifacts, "a2", seed=2)
    publish_version(artifacts, "a")
    publish_version(artifacts, "a2")
    await versions.poll()
    assert not copy.exists()


async def test_whatever_the_loader_raises_the_old_version_serves_on(artifacts: Path) -> None:
    class OddError(Exception):
        """Like those of ONNX Runtime and the tokenizers library: of no useful class."""

    def load_only_a(version: Version) -> str:
        if version.name != "a":
            raise OddError("something deep inside")
        return version.name

    versions = Versions(Layout(artifacts), load_only_a)
    await versions.poll()
    build_version(artifacts, "b", seed=1)
    assert not await versions.poll()
    assert versions.held == ["a"]


async def test_a_corrupt_current_version_at_a_cold_start_leaves_the_previous_one_serving(
    artifacts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    version = build_version(artifacts, "b", seed=1)
    flip(version.layout.index)
    versions = Versions(Layout(artifacts), load)
    assert await versions.poll()
    assert versions.get() == ("a", "a")
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1
    assert "product_index.faiss" in errors[0]


async def test_an_unreadable_current_pointer_at_a_cold_start_leaves_the_previous_version_serving(
    artifacts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build_version(artifacts, "b", seed=1)
    (artifacts / "CURRENT").write_text("half a lin")
    versions = Versions(Layout(artifacts), load)
    assert await versions.poll()
    assert versions.get() == ("a", "a")
    assert not await versions.poll()  # said once, not at every poll
    assert [record.levelno for record in caplog.records].count(logging.ERROR) == 1


async def test_a_pointer_that_becomes_unreadable_changes_nothing(artifacts: Path) -> None:
    build_version(artifacts, "b", seed=1)
    versions = Versions(Layout(artifacts), load)
    await versions.poll()
    (artifacts / "CURRENT").write_text("?")
    (artifacts / "PREVIOUS").write_bytes(b"\xff")
    before = refused()
    assert not await versions.poll()
    assert versions.held == ["b", "a"]
    assert refused() == before + 2
    publish_version(artifacts, "a")
    assert await versions.poll()
    assert versions.get() == ("a", "a")


async def test_a_missing_pointer_changes_nothing(artifacts: Path, versions: Versions[str]) -> None:
    await versions.poll()
    (artifacts / "CURRENT").unlink()
    assert not await versions.poll()
    assert versions.held == ["a"]


async def test_an_empty_artifact_folder_is_waited_for(tmp_path: Path) -> None:
    versions = Versions(Layout(tmp_path / "later"), load)
    assert not await versions.poll()
    build_version(tmp_path / "later", "a")
    assert await versions.poll()
    assert versions.held == ["a"]


async def test_a_manifest_that_the_pointer_does_not_vouch_for_is_refused(artifacts: Path) -> None:
    manifest = artifacts / "versions" / "a" / "manifest.json"
    manifest.write_text(manifest.read_text() + "\n")
    versions = Versions(Layout(artifacts), load)
    assert not await versions.poll()
    assert not versions.is_ready


async def test_the_versions_of_experiments_are_held_until_they_are_named_no_more(
    artifacts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pointers = {"a": read_pointer(Layout(artifacts).current)}
    for name in "bcd":
        build_version(artifacts, name, seed=ord(name))
        pointers[name] = read_pointer(Layout(artifacts).current)
    layout = Layout(artifacts)
    write_experiment_pointers(layout, [one for name in "ad" if (one := pointers[name])])
    versions = Versions(layout, load)
    await versions.poll()
    # replicas without a common version settle on the first one that all hold: that of the experiment stands last
    assert versions.held == ["d", "c", "a"]
    layout.experiments.write_text("a\n")
    assert not await versions.poll()
    assert versions.held == ["d", "c", "a"] and "EXPERIMENTS does not hold a version name" in caplog.text
    write_experiment_pointers(layout, [])
    assert await versions.poll()
    assert versions.held == ["d", "c"]


async def test_no_pruning_removes_a_version_of_an_experiment(artifacts: Path) -> None:
    layout = Layout(artifacts)
    write_experiment_pointers(layout, [one for one in [read_pointer(layout.current)] if one])
    for name in "bcd":
        build_version(artifacts, name, seed=ord(name), created_at=f"2026-01-0{ord(name) - 96}T00:00:00+00:00")
    assert prune(layout, 1) == ["b"]
    assert list_versions(layout) == ["a", "c", "d"]
    write_experiment_pointers(layout, [])
    assert prune(layout, 1) == ["a"]
