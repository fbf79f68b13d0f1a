"""The commands push and pull against a real S3 server, killed (SIGKILL) at chosen requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.helpers.gate_cases import RING
from tests.helpers.processes import Process, process
from tests.helpers.s3_server import S3, SECRET, Gate, s3_server
from tests.helpers.services import running, until
from tests.helpers.tiny_version import build_version, publish_version
from twotower.artifact.layout import Layout
from twotower.artifact.pointer import read_pointer
from twotower.artifact.version import open_version, verify
from twotower.pb import item_pb2_grpc
from twotower.serving.client import connect
from twotower.storage.pull import Puller
from twotower.storage.push import push
from twotower.storage.remote import Remote

URL = "s3://shop/models"
# seconds that a process may take to start and to move a version, on a machine with much else to do
_PATIENCE = 180.0


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with s3_server() as running:
        yield running


@pytest.fixture
def s3(server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """The server, empty; this process may use it too."""
    server.clear()
    for name, value in server.environ().items():
        monkeypatch.setenv(name, value)
    return server


def storage(s3: S3, *command: str, url: str = "") -> tuple[int, str]:
    """Runs a command of `python -m twotower.storage` to its end; returns exit code and output."""
    with process("-m", "twotower.storage", *command, environ=s3.environ(url)) as started:
        return started.finish(_PATIENCE), "\n".join(started.lines)


def killed_at(s3: S3, is_held: Callable[[str, str], bool], *command: str) -> Process:
    """Runs a command until the server would get the first request that `is_held` picks, and kills it there."""
    with (
        Gate(s3.url, is_held).serving() as gate,
        process("-m", "twotower.storage", *command, environ=s3.environ(gate.url)) as started,
    ):
        assert gate.held.wait(_PATIENCE), "\n".join(started.lines)
        assert started.popen.poll() is None
        started.popen.kill()
        assert started.finish() == -9
    return started


def name_in(path: Path) -> str:
    pointer = read_pointer(path)
    return pointer.version if pointer else ""


def check_folder(folder: Path, current: str, previous: str) -> None:
    layout = Layout(folder)
    assert (name_in(layout.current), name_in(layout.previous)) == (current, previous)
    for name in filter(None, (current, previous)):
        verify(open_version(layout, name))


def two_versions(artifacts: Path) -> None:
    """ "a" is in the storage; "b", with an encoder of its own, is published in the folder alone."""
    push(Layout(artifacts), Remote(URL))
    build_version(artifacts, "b", encoder_seed=1)


@pytest.mark.parametrize("key", ["encoder.onnx", "b/manifest.json", "CURRENT"])
def test_a_killed_push_names_no_half_version_and_the_next_push_completes_it(
    s3: S3, artifacts: Path, tmp_path: Path, key: str
) -> None:
    two_versions(artifacts)
    killed_at(
        s3, lambda method, path: method == "PUT" and path.endswith(key), "push", URL, "--artifacts", str(artifacts)
    )
    between, after = Layout(tmp_path / "between"), Layout(tmp_path / "after")
    Puller(between, Remote(URL), private=True).pull()
    assert name_in(between.current) == "a"
    verify(open_version(between, "a"))
    push(Layout(artifacts), Remote(URL))
    Puller(after, Remote(URL), private=True).pull()
    check_folder(after.root, "b", "a")


@pytest.mark.parametrize("key", ["encoder.onnx", "b/words.npy"])
def test_a_killed_pull_names_no_half_version_and_the_next_pull_completes_it(
    s3: S3, artifacts: Path, tmp_path: Path, key: str
) -> None:
    folder = tmp_path / "target"
    two_versions(artifacts)
    Puller(Layout(folder), Remote(URL), private=True).pull()
    push(Layout(artifacts), Remote(URL))
    # of both encoders only that of "b" is missing
    killed_at(
        s3,
        lambda method, path: method == "GET" and path.partition("?")[0].endswith(key),
        "pull",
        URL,
        "--artifacts",
        str(folder),
        "--private",
    )
    check_folder(folder, "a", "")
    Puller(Layout(folder), Remote(URL), private=True).pull()
    check_folder(folder, "b", "a")


async def test_a_follower_switches_when_another_follower_has_uploaded(s3: S3, artifacts: Path, tmp_path: Path) -> None:
    folder = tmp_path / "target"
    module = ("-m", "twotower.storage")
    follow = ("--follow", "0.1", "--artifacts")
    with (
        process(*module, "pull", URL, "--private", *follow, str(folder), environ=s3.environ()) as puller,
        process(*module, "push", URL, *follow, str(artifacts), environ=s3.environ()) as pusher,
    ):
        await until(lambda: name_in(folder / "CURRENT") == "a", seconds=_PATIENCE)
        # as the chart runs it: the downloads are mapped where they are
        async with running("item", folder, cache=None) as service, connect(service.address) as channel:
            stub = item_pb2_grpc.ItemServiceStub(channel)

            async def served() -> str:
                return str((await stub.Encode(RING)).vectors.model_version)

            assert await served() == "a"
            build_version(artifacts, "b")
            await until(served, lambda name: name == "b", _PATIENCE)
            publish_version(artifacts, "a")
            await until(served, lambda name: name == "a", _PATIENCE)
        # the pusher may have read CURRENT before its PREVIOUS was there; the next look sends both
        await until(lambda: name_in(folder / "PREVIOUS") == "b", seconds=_PATIENCE)
        check_folder(folder, "a", "b")
        for one in (puller, pusher):
            one.popen.terminate()
            assert one.finish() == 0, "\n".join(one.lines)


async def test_a_follower_outlives_a_storage_that_fails(s3: S3, artifacts: Path, tmp_path: Path) -> None:
    s3.put("models/CURRENT", b"no pointer\n")
    command = ("-m", "twotower.storage", "pull", URL, "--follow", "0.1", "--artifacts", str(tmp_path / "target"))
    with process(*command, environ=s3.environ()) as puller:
        line = puller.wait_for(lambda line: "trying again" in line, _PATIENCE)
        assert f"{URL}/CURRENT does not hold a version name" in line
        s3.delete("models/CURRENT")
        push(Layout(artifacts), Remote(URL))
        puller.wait_for(lambda line: "works again" in line, _PATIENCE)
        assert name_in(tmp_path / "target" / "CURRENT") == "a"


def test_a_missing_bucket_is_named_with_its_key_and_without_credentials(s3: S3, artifacts: Path) -> None:
    code, output = storage(s3, "push", "s3://nosuchbucket/models", "--artifacts", str(artifacts))
    assert code == 1
    assert "s3://nosuchbucket/models/" in output
    assert SECRET not in output and "key-of-this-test" not in output


def test_a_server_that_does_not_answer_is_named_without_credentials(s3: S3, tmp_path: Path) -> None:
    # a port on which nobody listens, and a password in the address
    code, output = storage(s3, "pull", URL, "--artifacts", str(tmp_path), url="http://someone:hunter2@127.0.0.1:9")
    assert code == 1
    assert f"{URL}/CURRENT: " in output
    assert SECRET not in output and "hunter2" not in output


def test_an_empty_storage_is_exit_code_2(s3: S3, tmp_path: Path) -> None:
    code, output = storage(s3, "pull", URL, "--artifacts", str(tmp_path))
    assert code == 2
    assert f"there is no {URL}/CURRENT yet" in output
