"""What images are built from, by hash, and the list of what they hold."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.helpers.processes import ROOT

LISTS = sorted((ROOT / "requirements").glob("*.txt"))
EXTRAS = ("item", "buyer", "retrieval", "gateway", "recorder", "explorer", "s3", "trainer", "tracing", "milvus")


def normal(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def pins(path: Path) -> dict[str, str]:
    """Name and version of every entry of a requirements file."""
    found = re.findall(r"^([A-Za-z0-9_.-]+)==([^\s;]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {normal(name): version for name, version in found}


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.stem)
def test_every_entry_has_hashes_and_the_version_of_the_pins(path: Path) -> None:
    entries = re.split(r"\n(?=\S)", path.read_text(encoding="utf-8").strip())[1:]
    assert len(entries) == len(pins(path)) > 0
    without = [entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}", entry)]
    assert without == []
    known = pins(ROOT / "requirements.txt")
    changed = {name: one for name, one in pins(path).items() if known.get(name, one) != one}
    assert changed == {}, "run `make lock`"


@pytest.mark.parametrize("extra", EXTRAS)
def test_every_dependency_is_in_the_list_of_its_image(extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needs = [*project["dependencies"], *project["optional-dependencies"][extra]]
    names = {normal(re.split(r"[\[<>=!;~ ]", one)[0]) for one in needs}
    # torch's wheels differ from index to index, so no hash fits all
    assert names - set(pins(ROOT / "requirements" / f"{extra}.txt")) == ({"torch"} if extra == "trainer" else set())


def test_the_list_of_an_image_has_libraries_and_debian_packages(tmp_path: Path) -> None:
    libraries, fake = tmp_path / "libraries.json", tmp_path / "dpkg-query"
    libraries.write_text('{"bomFormat": "CycloneDX", "components": [{"name": "redis", "version": "8.1.0"}]}')
    fake.write_text("#!/bin/sh\nprintf 'libc6:amd64\\t2.36-9+deb12u7\\tamd64\\nbash\\t5.2\\tamd64\\n'\n")
    fake.chmod(0o755)
    command = [sys.executable, str(ROOT / "docker" / "sbom.py"), str(libraries), str(tmp_path / "out.json")]
    subprocess.run(command, check=True, env={"PATH": str(tmp_path)})
    written = json.loads((tmp_path / "out.json").read_text())
    assert written["bomFormat"] == "CycloneDX"
    assert [(one["name"], one["version"]) for one in written["components"]] == [
        ("redis", "8.1.0"),
        ("libc6", "2.36-9+deb12u7"),
        ("bash", "5.2"),
    ]
    assert written["components"][1]["purl"] == "pkg:deb/debian/libc6@2.36-9%2Bdeb12u7?arch=amd64"
