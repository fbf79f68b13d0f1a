"""The whole system in containers: built, hardened, trained, answering, moved to a second version, crashed, stopped.

The tests build on one another: they run in the order of this file, against one Compose project of their own.
"""

from __future__ import annotations

import ast
import csv
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.helpers.processes import ROOT
from tests.helpers.redis_server import free_port

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1800)]


ONLINE = ("item", "buyer", "retrieval", "gateway", "explorer")
RUNNING = (*ONLINE, "recorder", "redis", "loader")
REPLICAS = 2  # of the retrieval service
DEMO = "--products 300 --buyers 300 --events 9000 --seed 3"
QUICK = (
    "--set encoder.catalogue.steps=10 encoder.catalogue.buckets=4096 encoder.catalogue.dimension=64"
    " model.dimension=64 training.max_epochs=1 training.min_steps=0 training.refit=false publish.gate=false"
)
MB = 1_000_000


@dataclass
class Compose:
    """One Compose project: its own containers, images, volume and port."""

    port: int
    data: Path
    project: str = field(default_factory=lambda: f"twotower-test-{os.getpid()}")

    def run(self, *command: str, seconds: float = 300, check: bool = True, **environ: str) -> str:
        """Output and errors of `docker compose COMMAND`. Raises AssertionError with both if it fails."""
        done = self.call("docker", "compose", "-p", self.project, *command, seconds=seconds, **environ)
        assert done.returncode == 0 or not check, f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-8000:]}"
        return done.stdout

    def call(self, *command: str, seconds: float = 300, **environ: str) -> subprocess.CompletedProcess[str]:
        ours = ("TWOTOWER_", "COMPOSE_", "GATEWAY_", "REDIS_", "CONNECTION_")
        kept = {k: v for k, v in os.environ.items() if not k.startswith(ours) and k not in ("EVENTS", "PRODUCTS")}
        values = {
            "GATEWAY_PORT": str(self.port),
            "EXPLORER_PORT": "0",
            "PROMETHEUS_PORT": "0",
            "DEMO_ARGS": DEMO,
            "TRAINER_ARGS": QUICK,
            **environ,
        }
        return subprocess.run(
            command,
            cwd=ROOT,
            env=kept | values,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            timeout=seconds,
        )

    def containers(self, service: str) -> list[dict[str, Any]]:
        """The answer of `docker inspect` for each container of a service, ended ones too."""
        ids = self.run("ps", "-a", "-q", service).split()
        assert ids, f"there is no container of {service}"
        found: list[dict[str, Any]] = json.loads(self.call("docker", "inspect", *ids).stdout)
        return found

    def execute(self, service: str, code: str) -> subprocess.CompletedProcess[str]:
        """Runs Python code inside a running container of a service."""
        return self.call("docker", "compose", "-p", self.project, "exec", "-T", service, "python", "-c", code)

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=15, trust_env=False)


@pytest.fixture(scope="module")
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """The system on the demo market's first version, all containers healthy, two replicas of the retrieval service."""
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("no Docker engine answers")
    compose = Compose(free_port(), tmp_path_factory.mktemp("shop"))
    failed = request.session.testsfailed
    whole = False
    try:
        compose.run("build", seconds=1200)
        make_catalogues(compose.data)
        compose.run("up", "-d", "--wait", "--scale", f"retrieval={REPLICAS}", seconds=480)
        whole = True
        yield compose
    finally:
        if not whole or request.session.testsfailed > failed:
            print(compose.run("ps", "-a", check=False), compose.run("logs", "--tail", "200", check=False))
        compose.run("down", "-v", "--rmi", "local", "--remove-orphans", check=False)


def make_catalogues(folder: Path) -> None:
    """The demo market as the trainer's container makes it (a), and again with every second product renamed (b).

    The second one is a folder of product files and a gzip file of events: the trainer reads these too.
    """
    command = [sys.executable, "-m", "demo.market", "--out", str(folder / "a"), *DEMO.split()]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    products, events = (read_rows(folder / "a" / name) for name in ("products.csv", "events.csv"))
    for row in (*products, *events):
        if only_in_a(row["product_id"]):
            row["product_id"] = row["product_id"].replace("P", "Q")
    (folder / "b" / "products").mkdir(parents=True)
    write_rows(folder / "b" / "products" / "1.csv", products[:100])
    write_rows(folder / "b" / "products" / "2.csv", products[100:])
    write_rows(folder / "b" / "events.csv", events)
    with (folder / "b" / "events.csv").open("rb") as source, gzip.open(folder / "b" / "events.csv.gz", "wb") as target:
        shutil.copyfileobj(source, target)
    # the trainer's user does not exist on this machine
    for path in (folder / "b").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def only_in_a(product_id: str) -> bool:
    return product_id.startswith("P") and int(product_id[1:]) % 2 == 1


def only_in_b(product_id: str) -> bool:
    return product_id.startswith("Q")


def busiest_buyer(folder: Path) -> tuple[str, list[str]]:
    """A buyer with many events, and products of that history that both catalogues have."""
    events = read_rows(folder / "a" / "events.csv")
    buyers = [event["distinct_id"] for event in events]
    buyer = max(sorted(set(buyers)), key=buyers.count)
    products = dict.fromkeys(event["product_id"] for event in events if event["distinct_id"] == buyer)
    return buyer, [one for one in products if not only_in_a(one)]


def get(client: httpx.Client, path: str, **query: Any) -> dict[str, Any]:
    response = client.get(path, params=query)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def encode_body(products: list[str]) -> dict[str, Any]:
    given = [
        {"product_id": one, "event_type": "View", "timestamp": f"2026-01-{day:02}T12:00:00Z"}
        for day, one in enumerate(products[:8], 1)
    ]
    return {"buyer_id": "visitor", "recent_interactions": given}


def test_everything_is_healthy_and_the_one_shots_ended_well(system: Compose) -> None:
    for service in (*ONLINE, "redis"):
        states = [one["State"] for one in system.containers(service)]
        assert [state["Health"]["Status"] for state in states] == ["healthy"] * len(states), service
    assert [one["State"]["Status"] for one in system.containers("loader")] == ["running"]
    assert len(system.containers("retrieval")) == REPLICAS
    for service in ("trainer", "warm"):
        (state,) = [one["State"] for one in system.containers(service)]
        assert (state["Status"], state["ExitCode"]) == ("exited", 0)
    assert "warmed 300 buyers" in system.run("logs", "warm")


def test_rest_answers(system: Compose) -> None:
    buyer, products = busiest_buyer(system.data)
    with system.client() as client:
        ready = get(client, "/readyz")
        assert (ready["status"], ready["degraded"]) == ("ready", [])
        found = get(client, "/retrieve", buyer_id=buyer, k=10, include="products")
        assert (found["source"], found["warnings"]) == ("model", [])
        assert len(set(found["product_ids"])) == len(found["scores"]) == len(found["products"]) == 10
        assert found["scores"] == sorted(found["scores"], reverse=True)
        encoded = client.post("/encode_buyer", json=encode_body(products)).json()
        assert encoded["dimension"] == len(encoded["buyer_embedding"]) == 64
        assert (encoded["stored"], encoded["warnings"]) == (min(8, len(products)), [])
        assert get(client, "/retrieve", buyer_id="visitor")["source"] == "model"
        for path, query in (("/search", {"q": "خاتم ذهب"}), ("/similar", {"product_id": products[0]})):
            answer = get(client, path, k=5, **query)
            assert (len(answer["product_ids"]), answer["model_version"]) == (5, found["model_version"])
        assert products[0] not in answer["product_ids"]


def test_containers_are_hardened(system: Compose) -> None:
    for service in (*RUNNING, "trainer", "warm"):
        for container in system.containers(service):
            host, config = container["HostConfig"], container["Config"]
            assert config["User"].split(":")[0] not in ("", "0", "root"), service
            assert host["ReadonlyRootfs"] and not host["Privileged"], service
            assert (host["CapDrop"], host["CapAdd"] or []) == (["ALL"], []), service
            assert "no-new-privileges:true" in host["SecurityOpt"], service
            assert host["Memory"] > 0 and host["PidsLimit"] > 0, service
            policy = "no" if service in ("trainer", "warm") else "unless-stopped"
            assert host["RestartPolicy"]["Name"] == policy, service


def test_only_the_trainer_may_write_artifacts(system: Compose) -> None:
    writable = {}
    for service in (*RUNNING, "trainer", "warm"):
        mounts = [m for one in system.containers(service) for m in one["Mounts"] if m["Destination"] == "/artifacts"]
        writable[service] = tuple({mount["RW"] for mount in mounts})
    readers = dict.fromkeys(("item", "buyer", "retrieval", "warm", "loader"), (False,))
    assert writable == {"trainer": (True,), "gateway": (), "explorer": (), "recorder": (), "redis": (), **readers}
    for path in ("/artifacts/CURRENT", "/artifacts/new", "/app/new"):
        done = system.execute("item", f"open({path!r}, 'a')")
        assert done.returncode != 0
        assert "Read-only file system" in done.stdout
    assert system.execute("item", "open('/tmp/new', 'a'); import os; print(os.getuid())").stdout.strip() == "10001"


def test_a_wide_address_without_keys_is_refused(system: Compose) -> None:
    said = system.run("run", "--rm", "-T", "--no-deps", "gateway", check=False, GATEWAY_HOST="0.0.0.0")
    assert "lets other machines in, and there are no keys: make a key with" in said
    assert "`docker compose run --rm gateway keys add`" in said


def test_what_names_buyers_is_mounted_where_it_is_needed_alone(system: Compose) -> None:
    places = {
        service: {mount["Destination"] for mount in system.containers(service)[0]["Mounts"]}
        for service in (*RUNNING, "trainer", "warm")
    }
    allowed = {"gateway", "recorder", "trainer", "warm", "loader"}
    assert {name for name, found in places.items() if "/artifacts/private" in found} == allowed
    assert {name for name, found in places.items() if "/keys" in found} == {"gateway"}


def test_images_list_what_they_hold(system: Compose) -> None:
    code = "import json; print([one['name'] for one in json.load(open('/opt/venv/sbom.cdx.json'))['components']])"
    for service in ONLINE:
        names = ast.literal_eval(system.execute(service, code).stdout)
        assert {"grpcio", "libc6"} <= set(names) and "torch" not in names
        assert ("fastapi" in names) == (service in ("gateway", "explorer"))


def test_only_gateway_and_explorer_are_published(system: Compose) -> None:
    published = {}
    for service in RUNNING:
        ports = [one["HostConfig"]["PortBindings"] or {} for one in system.containers(service)]
        published[service] = [binding for one in ports for bindings in one.values() for binding in bindings]
    assert published.pop("gateway") == [{"HostIp": "127.0.0.1", "HostPort": str(system.port)}]
    assert [one["HostIp"] for one in published.pop("explorer")] == ["127.0.0.1"]
    assert not any(published.values())
    networks = {service: set(system.containers(service)[0]["NetworkSettings"]["Networks"]) for service in RUNNING}
    inside, outside = f"{system.project}_inside", f"{system.project}_outside"
    assert networks == {name: {inside, outside} if name in ("gateway", "explorer") else {inside} for name in RUNNING}
    assert json.loads(system.call("docker", "network", "inspect", inside).stdout)[0]["Internal"]


def test_images_are_small_and_hold_their_own_code_alone(system: Compose) -> None:
    base = image_size("python:3.11-slim-bookworm")
    added = {service: image_size(f"{system.project}-{service}") - base for service in ONLINE}
    print({service: f"{size / MB:.0f} MB" for service, size in added.items()})
    assert {service: size for service, size in added.items() if size >= 250 * MB} == {}
    for service in ONLINE:
        package = service if service in ("gateway", "explorer") else f"{service}_service"
        code = "import os, sys; print(sorted(os.listdir('/app'))); import torch"
        done = system.execute(service, code)
        assert f"{sorted(['docker', 'twotower', package])}" in done.stdout
        assert "No module named 'torch'" in done.stdout


def image_size(name: str) -> int:
    done = subprocess.run(["docker", "image", "inspect", "-f", "{{.Size}}", name], check=True, capture_output=True)
    return int(done.stdout)


@dataclass
class Load:
    """Requests sent in the background: the name, the status (0 if none came) and the answer of each."""

    requests: dict[str, tuple[str, str, dict[str, Any]]]
    seen: list[tuple[str, int, dict[str, Any]]] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    def work(self, client: httpx.Client, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stop.is_set() and time.monotonic() < end:
            for name, (method, path, content) in self.requests.items():
                try:
                    response = client.request(method, path, **content)
                    self.seen.append((name, response.status_code, response.json()))
                except (httpx.HTTPError, ValueError) as error:
                    self.seen.append((name, 0, {"detail": repr(error)}))
                time.sleep(0.02)

    @contextmanager
    def running(self, compose: Compose, threads: int = 2, seconds: float = 400) -> Iterator[Load]:
        """Sends requests from `threads` threads until the block ends, for at most `seconds`."""
        with compose.client() as client:
            workers = [threading.Thread(target=self.work, args=(client, seconds)) for _ in range(threads)]
            for worker in workers:
                worker.start()
            try:
                yield self
            finally:
                self._stop.set()
                for worker in workers:
                    worker.join()


def mixed_load(folder: Path) -> Load:
    """One request of each kind. It is always the same, so a version has exactly one answer to each.

    The buyer of `encode`, whose history it stores, is in no version's files: loading those changes no answer.
    """
    _, products = busiest_buyer(folder)
    body = encode_body(products)
    return Load(
        {
            "encode": ("POST", "/encode_buyer", {"json": body}),
            "retrieve": ("GET", "/retrieve", {"params": {"buyer_id": body["buyer_id"], "k": 20}}),
            "search": ("GET", "/search", {"params": {"q": "قهوة عربية", "k": 20, "include": "products"}}),
            "similar": ("GET", "/similar", {"params": {"product_id": products[0], "k": 20}}),
        }
    )


def ask_once(load: Load, client: httpx.Client) -> dict[str, dict[str, Any]]:
    answers = {}
    for name, (method, path, content) in load.requests.items():
        response = client.request(method, path, **content)
        assert response.status_code == 200, response.text
        answers[name] = response.json()
    return answers


def check_answer(name: str, answer: dict[str, Any], reference: dict[str, Any]) -> None:
    """Checks that an answer equals the reference: the same vector, or the same products with the same scores."""
    assert answer["warnings"] == []
    if name == "encode":
        np.testing.assert_allclose(answer["buyer_embedding"], reference["buyer_embedding"], atol=1e-4)
        return
    assert answer["source"] == "model"
    # two products whose scores are equal to rounding may change places, also across the end of the list
    np.testing.assert_allclose(answer["scores"], reference["scores"], atol=1e-4)
    scores = dict(zip(reference["product_ids"], reference["scores"], strict=True))
    for product_id, score in zip(answer["product_ids"], answer["scores"], strict=True):
        assert abs(score - scores.get(product_id, reference["scores"][-1])) < 1e-4


def test_a_second_version_is_picked_up_while_requests_run(system: Compose) -> None:
    """A version of other files is trained while services run: no request fails, no answer mixes two versions."""
    load = mixed_load(system.data)
    files = {"EVENTS": str(system.data / "b" / "events.csv.gz"), "PRODUCTS": str(system.data / "b" / "products")}
    with system.client() as client:
        references = {"a": ask_once(load, client)}
        (old,) = {answer["model_version"] for answer in references["a"].values()}
        with load.running(system):
            # the same shop under other ids would give the same vectors: another seed gives another model
            said = system.run("run", "--rm", "-T", "trainer", "--set", "seed=11", **files)
            trained = len(load.seen)
            new = next(line.split()[-1] for line in said.splitlines() if "published" in line)
            wait_for_version(client, load, new)
            time.sleep(3)
        references["b"] = ask_once(load, client)
    assert {answer["model_version"] for answer in references["b"].values()} == {new}
    assert [one for one in load.seen if one[1] != 200] == []
    # the answers of the two versions must differ, or the checks below show nothing
    for name, answer in references["a"].items():
        key = "buyer_embedding" if name == "encode" else "scores"
        assert not np.allclose(answer[key], references["b"][name][key], atol=1e-3)
    # there were enough requests before and after
    assert trained > 40 and len(load.seen) - trained > 40
    versions = {old: "a", new: "b"}
    for name, _, answer in load.seen:
        version = versions[answer["model_version"]]
        check_answer(name, answer, references[version][name])
        foreign = only_in_b if version == "a" else only_in_a
        assert [one for one in answer.get("product_ids", []) if foreign(one)] == []
    listed = [one for name in ("retrieve", "search") for one in references["b"][name]["product_ids"]]
    assert any(map(only_in_b, listed))


def wait_for_version(client: httpx.Client, load: Load, version: str) -> None:
    """Waits until this version answers each kind of request ten times in a row: replicas follow at different times."""
    end, streak = time.monotonic() + 60, 0
    while streak < 10:
        streak = streak + 1 if {one["model_version"] for one in ask_once(load, client).values()} == {version} else 0
        assert time.monotonic() < end, f"version {version} does not answer"
        time.sleep(0.1)


def test_known_buyers_of_the_new_version_are_warmed(system: Compose) -> None:
    said = system.run("run", "--rm", "-T", "--no-deps", "warm")
    buyers = {row["distinct_id"] for row in read_rows(system.data / "b" / "events.csv")}
    assert f"warmed {len(buyers)} buyers" in said


def test_up_again_leaves_the_users_version_alone(system: Compose) -> None:
    """Without EVENTS and PRODUCTS the trainer uses the demo market, which must not replace real data."""
    said = system.run("run", "--rm", "-T", "trainer", check=False)
    assert "is not of the demo market: it stays published" in said
    listed = system.run("run", "--rm", "-T", "trainer", "publish", "--list").splitlines()
    assert [line.split()[-1] for line in listed if line.startswith("20")] == ["PREVIOUS", "CURRENT"]


def test_unusable_files_are_named(system: Compose) -> None:
    products = str(system.data / "b" / "products" / "1.csv")
    assert "PRODUCTS is not set" in system.run("run", "--rm", "-T", "trainer", check=False, EVENTS=products)
    missing = str(system.data / "nowhere.csv")
    said = system.run("run", "--rm", "-T", "trainer", check=False, EVENTS=missing, PRODUCTS=products)
    assert missing in said


def test_todays_products_are_served_without_a_training(system: Compose) -> None:
    """A new product and a sold-out one: the running services show both changes, and no request fails."""
    load, path = mixed_load(system.data), system.data / "today.csv"
    rows = [row for part in "12" for row in read_rows(system.data / "b" / "products" / f"{part}.csv")]
    one, gone = [row for row in rows if json.loads(row["metadata"]).get("in_stock", True)][:2]
    gone["metadata"] = json.dumps({**json.loads(gone["metadata"]), "in_stock": False})
    write_rows(path, [*rows, {**one, "product_id": "new-1"}])
    path.chmod(0o644)
    whole = {"k": len(rows) + 1, "product_id": one["product_id"]}
    with system.client() as client, load.running(system):
        assert client.get("/similar", params={"product_id": "new-1"}).status_code == 404
        said = system.run("run", "--rm", "-T", "trainer", "refresh", PRODUCTS=str(path))
        assert "1 new, 0 gone, 1 changed" in said
        new = next(line.split("published ")[1].split(";")[0] for line in said.splitlines() if "published " in line)
        wait_for_version(client, load, new)
        near = get(client, "/similar", product_id="new-1", k=5)
        every, in_stock = get(client, "/similar", **whole), get(client, "/similar", **whole, in_stock="true")
    assert [seen for seen in load.seen if seen[1] != 200] == []
    assert near["model_version"] == new and one["product_id"] in near["product_ids"]
    assert gone["product_id"] in every["product_ids"] and gone["product_id"] not in in_stock["product_ids"]
    said = system.run("run", "--rm", "-T", "trainer", "refresh", check=False)
    assert "PRODUCTS is not set: set it to today's products" in said


@pytest.mark.parametrize("how", ["restart", "crash"])
def test_one_replica_of_two_may_go_under_load(system: Compose, how: str) -> None:
    load = mixed_load(system.data)
    names = [one["Name"].lstrip("/") for one in system.containers("retrieval")]
    with load.running(system, seconds=300):
        for name in names:
            wait_for_calls(system, name)
        if how == "crash":
            crash(system, names[0])
        else:
            assert system.call("docker", "restart", names[0]).returncode == 0
        # its counters start at zero again: a call shows that it has its share
        wait_for_calls(system, names[0])
    assert (find_container(system, "retrieval", names[0])["RestartCount"] > 0) == (how == "crash")
    assert [one for one in load.seen if one[1] != 200] == []
    assert [answer["warnings"] for _, _, answer in load.seen if answer["warnings"]] == []


def find_container(compose: Compose, service: str, name: str) -> dict[str, Any]:
    (found,) = [one for one in compose.containers(service) if one["Name"] == f"/{name}"]
    return found


def crash(compose: Compose, name: str) -> None:
    """Kills all processes of a container but its init, from inside: the engine sees a crash, not a stop."""
    killed = compose.call("docker", "exec", name, "sh", "-c", "kill -9 -1")
    assert killed.returncode in (0, 137), killed.stdout


def wait_for_calls(compose: Compose, name: str) -> None:
    """Waits until this replica of the retrieval service has answered calls.

    The gateway finds a replica that was away when it reconnects, after `CONNECTION_AGE`: 30 seconds.
    """
    code = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9464/metrics').read().decode())"
    # the counter is there, at 0, before the service listens
    answered = re.compile(r'^twotower_call_seconds_count\{method="Search",status="OK"\} [1-9]', re.MULTILINE)
    end = time.monotonic() + 90
    while not answered.search(compose.call("docker", "exec", name, "python", "-c", code).stdout):
        assert time.monotonic() < end, f"{name} gets no calls"
        time.sleep(0.5)


def test_a_service_that_crashes_is_started_again_and_answers_recover(system: Compose) -> None:
    buyer, _ = busiest_buyer(system.data)
    load = Load({"retrieve": ("GET", "/retrieve", {"params": {"buyer_id": buyer}})})
    started = system.containers("buyer")[0]["RestartCount"]
    with load.running(system, seconds=180):
        crash(system, system.containers("buyer")[0]["Name"].lstrip("/"))
        end = time.monotonic() + 90
        while not (system.containers("buyer")[0]["RestartCount"] > started and recovered(load)):
            assert time.monotonic() < end, load.seen[-3:]
            time.sleep(0.5)
    # meanwhile the gateway answers with popular products and a warning, or with 503
    assert {status for _, status, _ in load.seen} <= {200, 503}
    for _, status, answer in load.seen:
        assert status == 503 or answer["source"] == "model" or answer["warnings"], answer


def recovered(load: Load) -> bool:
    latest = load.seen[-20:]
    return len(latest) == 20 and all(answer.get("source") == "model" for _, _, answer in latest)


def test_two_shards_of_two_replicas_answer_as_the_whole_service(system: Compose) -> None:
    """A replica of a shard may stop; without both of them, a request is refused and names the shard."""
    load = mixed_load(system.data)
    files = {"EVENTS": str(system.data / "b" / "events.csv.gz"), "PRODUCTS": str(system.data / "b" / "products")}
    said = system.run("run", "--rm", "-T", "trainer", "--set", "seed=12", "index.shards=2", **files)
    version = next(line.split()[-1] for line in said.splitlines() if "published" in line)
    with system.client() as client:
        wait_for_version(client, load, version)
        whole = ask_once(load, client)
        with over_shards(system):
            for name, found in ask_once(load, client).items():
                check_answer(name, found, whole[name])
            first, second = (one["Name"].lstrip("/") for one in shard_containers(system, "retrieval-1"))
            with load.running(system, seconds=120):
                wait_for_calls(system, first)
                wait_for_calls(system, second)
                assert system.call("docker", "stop", first).returncode == 0
            assert [seen for seen in load.seen if seen[1] != 200] == []
            assert system.call("docker", "stop", second).returncode == 0
            answer = client.get("/popular")
            assert (answer.status_code, answer.json()["missing_shards"]) == (503, [1])
        assert ask_once(load, client)["search"]["product_ids"] == whole["search"]["product_ids"]


@contextmanager
def over_shards(compose: Compose) -> Iterator[None]:
    """Starts the profile `sharded`, with the gateway over it; afterwards the gateway is over the whole service."""
    profile, shards = ("--profile", "sharded"), ("retrieval-0", "retrieval-1")
    address = {"RETRIEVAL_ADDRESS": ";".join(f"{one}:50053" for one in shards)}
    try:
        compose.run(*profile, "up", "-d", "--wait", "--build", "--no-deps", *shards, **address)
        compose.run("up", "-d", "--wait", "--no-deps", "gateway", **address)
        yield
    finally:
        # a failure here must not hide that of the block: the tests after this one would show it
        compose.run("up", "-d", "--wait", "--no-deps", "gateway", check=False)
        compose.run(*profile, "rm", "-s", "-f", *shards, check=False)


def shard_containers(compose: Compose, service: str) -> list[dict[str, Any]]:
    """As `containers`, for a service of the profile `sharded`."""
    ids = compose.run("--profile", "sharded", "ps", "-q", service).split()
    found: list[dict[str, Any]] = json.loads(compose.call("docker", "inspect", *ids).stdout)
    return found


def test_prometheus_scrapes_every_replica_and_has_the_rules(system: Compose) -> None:
    """Of the profile `observability`, all but Grafana, whose image needs a registry."""
    profile = ("--profile", "observability")
    try:
        system.run(*profile, "up", "-d", "--wait", "--build", "--no-deps", "prometheus", seconds=600)
        wanted = {"gateway": 1, "item": 1, "buyer": 1, "retrieval": REPLICAS, "recorder": 1}
        end = time.monotonic() + 120
        while (found := up_by_job(system)) != wanted:
            assert time.monotonic() < end, f"Prometheus reaches {found}, wanted {wanted}"
            time.sleep(1)
        groups = prometheus(system, "/api/v1/rules")["groups"]
        assert {rule["health"] for group in groups for rule in group["rules"]} <= {"ok", "unknown"}
        assert "TwotowerErrors" in {rule["name"] for group in groups for rule in group["rules"]}
        (container,) = json.loads(system.call("docker", "inspect", f"{system.project}-prometheus-1").stdout)
        assert container["HostConfig"]["ReadonlyRootfs"] and container["HostConfig"]["CapDrop"] == ["ALL"]
    finally:
        system.run(*profile, "rm", "-sf", "prometheus", check=False)


def up_by_job(compose: Compose) -> dict[str, int]:
    """How many targets of each job answer."""
    answers = prometheus(compose, "/api/v1/query?query=up==1")["result"]
    jobs = [answer["metric"]["job"] for answer in answers]
    return {job: jobs.count(job) for job in jobs}


def prometheus(compose: Compose, path: str) -> dict[str, Any]:
    """The data of Prometheus' answer."""
    code = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:9090{path}').read().decode())"
    command = ("docker", "exec", f"{compose.project}-prometheus-1", "python", "-c", code)
    data: dict[str, Any] = json.loads(compose.call(*command).stdout)["data"]
    return data


def test_stopping_is_graceful(system: Compose) -> None:
    system.run("stop")
    codes = {service: [one["State"]["ExitCode"] for one in system.containers(service)] for service in RUNNING}
    assert codes == {name: [0] * (REPLICAS if name == "retrieval" else 1) for name in RUNNING}
