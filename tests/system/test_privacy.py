"""No process looks anything up, connects to another machine, or writes into the home folder."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.helpers.processes import Process, is_log, process
from tests.helpers.services import cache_of
from tests.helpers.tiny_version import build_version

STRACE = shutil.which("strace")
# every address that a process connects or sends to; with -D the traced process is the child that is killed
TRACE = ["-D", "-f", "-qq", "-s", "200", "-e", "trace=connect,sendto,sendmsg,sendmmsg"]
OUTSIDE = re.compile(r'htons\(53\)|inet_addr\("(?!127\.)|inet_pton\(AF_INET6, "(?!::1")')


def outside(lines: list[str]) -> list[str]:
    """The traced calls that reach for another machine or for a name server."""
    return [line for line in lines if OUTSIDE.search(line)]


def test_the_pattern_tells_this_machine_from_others() -> None:
    local = 'connect(3, {sa_family=AF_INET, sin_port=htons(6379), sin_addr=inet_addr("127.0.0.1")}, 16) = 0'
    lookup = 'connect(3, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("127.0.0.53")}, 16) = 0'
    other = 'connect(3, {sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr("10.1.2.3")}, 16) = 0'
    six = 'connect(3, {sa_family=AF_INET6, sin6_port=htons(1), inet_pton(AF_INET6, "2001:db8::1", &sin6_addr)}, 28)'
    loopback = 'connect(3, {sa_family=AF_INET6, sin6_port=htons(1), inet_pton(AF_INET6, "::1", &sin6_addr)}, 28) = 0'
    assert outside([local, lookup, other, six, loopback]) == [lookup, other, six]


def run_service(service: str, command: list[str], python: str, home: Path | str, artifacts: Path) -> Process:
    folders = {"HOME": home, "TWOTOWER_ARTIFACTS": artifacts, "TWOTOWER_CACHE": cache_of(artifacts)}
    environ = {f"TWOTOWER_{service.upper()}_PORT": "0", **{name: str(folder) for name, folder in folders.items()}}
    with process(*command, "-m", f"{service}_service", environ=environ, python=python) as started:
        started.wait_for(lambda line: is_log(line, "versions held"))
    return started


@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
@pytest.mark.parametrize("service", ["item", "buyer", "retrieval"])
def test_a_service_reaches_no_other_machine(service: str, tmp_path: Path) -> None:
    home, artifacts = tmp_path / "home", tmp_path / "artifacts"
    home.mkdir()
    build_version(artifacts, "tiny-a")
    assert STRACE is not None
    started = run_service(service, [*TRACE, sys.executable], STRACE, home, artifacts)
    assert any("AF_" in line for line in started.lines), "nothing was traced"
    assert outside(started.lines) == []
    assert list(home.rglob("*")) == []


@pytest.mark.parametrize("service", ["item", "buyer", "retrieval"])
def test_a_service_needs_no_home_folder(service: str, tmp_path: Path) -> None:
    build_version(tmp_path, "tiny-a")
    started = run_service(service, [], sys.executable, "/proc/no-home", tmp_path)
    assert [json.loads(line)["service"] for line in started.lines]
