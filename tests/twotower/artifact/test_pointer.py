"""CURRENT and PREVIOUS: a change that is killed at any step, a full disk, and copies of the folder by hard links."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.processes import ROOT, clean_environ
from tests.helpers.tiny_version import build_version
from twotower.artifact.layout import Layout
from twotower.artifact.pointer import read_pointer, read_to_repair
from twotower.artifact.retention import prune
from twotower.artifact.store import publish
from twotower.artifact.version import open_version

KILLED = 77


@pytest.fixture
def layout(artifacts: Path) -> Layout:
    """Versions a, b and c; CURRENT is c, PREVIOUS is b; d is not published."""
    for seed, name in enumerate("bcd", start=1):
        build_version(artifacts, name, seed=seed, publish=name != "d", created_at=f"2026-01-0{seed + 1}T00:00:00+00:00")
    return Layout(artifacts)


def named(layout: Layout) -> tuple[str, str]:
    """What CURRENT and PREVIOUS name, "" for nothing. Raises CorruptArtifact if one of them is damaged."""
    current, previous = (read_pointer(path) for path in (layout.current, layout.previous))
    return current.version if current else "", previous.version if previous else ""


def publish_and_die(layout: Layout, name: str, step: int) -> bool:
    """Publishes in a child process that dies before its `step`-th change of a file; returns whether it died."""
    child = os.fork()
    if not child:
        steps = 0

        def count(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal steps
            writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if writes or event in ("os.link", "os.rename", "os.remove", "os.truncate", "os.symlink"):
                steps += 1
                if steps == step:
                    os._exit(KILLED)

        try:
            sys.addaudithook(count)
            publish(layout, name)
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, KILLED)
    return code == KILLED


@pytest.mark.parametrize(
    ("name", "through"),
    [
        ("d", {("c", "b"), ("d", "b"), ("d", "c")}),  # a new version
        ("b", {("c", "b"), ("b", ""), ("b", "c")}),  # back to PREVIOUS
        ("a", {("c", "b"), ("a", "b"), ("a", "c")}),  # back to an older one
    ],
)
def test_a_publish_that_is_killed_at_any_step_leaves_two_whole_pointers_that_differ(
    layout: Layout, tmp_path: Path, name: str, through: set[tuple[str, str]]
) -> None:
    seen, step = set(), 0
    while True:
        step += 1
        copy = Layout(tmp_path / f"copy-{step}")
        shutil.copytree(layout.root, copy.root)
        died = publish_and_die(copy, name, step)
        after = named(copy)
        assert after[0] != after[1]
        seen.add(after)
        # the next one completes it, whatever it publishes
        publish(copy, name)
        assert named(copy) == (name, "c")
        publish(copy, "d" if name != "d" else "a")
        assert named(copy) == ("d" if name != "d" else "a", name)
        if not died:
            break
    assert step >= 5
    assert seen == through


@pytest.mark.parametrize("name", ["b", "d"])
def test_a_damaged_current_is_repaired_and_killed_at_any_step_as_well(
    layout: Layout, tmp_path: Path, name: str
) -> None:
    layout.current.write_text("?")
    step, died = 0, True
    while died:
        step += 1
        copy = Layout(tmp_path / f"copy-{step}")
        shutil.copytree(layout.root, copy.root)
        died = publish_and_die(copy, name, step)
        current, previous = read_to_repair(copy.current), read_pointer(copy.previous)
        assert current != previous
        publish(copy, name)
        assert named(copy) == (name, "" if name == "b" else "b")
    assert step > 2


def test_what_a_killed_publish_took_out_of_current_is_not_pruned(layout: Layout) -> None:
    step = 1
    while publish_and_die(layout, "d", step) and named(layout) != ("d", "b"):
        step += 1
    assert named(layout) == ("d", "b")
    assert "c" not in prune(layout, keep=1)
    assert named(layout) == ("d", "c")
    open_version(layout, "c")


def test_a_backup_by_hard_links_never_changes(layout: Layout, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    shutil.copytree(layout.root, backup, copy_function=os.link)
    for name in "dabcdabc":
        publish(layout, name)
    assert named(layout) == ("c", "b")
    assert named(Layout(backup)) == ("c", "b")


FULL_DISK = """
set -e
mount -t tmpfs -o size=16m none "$1"
cp -a "$2" "$1/artifacts"
dd if=/dev/zero of="$1/ballast" bs=4096 2>/dev/null || true
if echo x > "$1/more"; then echo "the disk is not full"; exit 9; fi
export TMPDIR="$1"
for version in b d a c; do
    "$3" -m trainer publish $version --artifacts "$1/artifacts"
    cat "$1/artifacts/CURRENT" "$1/artifacts/PREVIOUS"
done
"""


def test_rolling_back_and_forward_works_on_a_full_disk(layout: Layout, tmp_path: Path) -> None:
    mount = tmp_path / "full"
    mount.mkdir()
    unshare = ["unshare", "--user", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody mount a file system of their own")
    done = subprocess.run(
        [*unshare, "sh", "-c", FULL_DISK, "sh", str(mount), str(layout.root), sys.executable],
        capture_output=True,
        text=True,
        env=clean_environ(),
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split()[0] for line in done.stdout.splitlines()]
    assert lines == ["published", "b", "c", "published", "d", "b", "published", "a", "d", "published", "c", "a"]
