"""Settings from the environment: every mistake is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from buyer_service.settings import BuyerSettings
from item_service.settings import ItemSettings
from retrieval_service.settings import RetrievalSettings
from twotower.errors import SettingsError
from twotower.serving.settings import read_settings


def test_an_empty_environment_gives_the_defaults() -> None:
    assert read_settings(ItemSettings, "item", {}) == ItemSettings()


def test_a_service_reads_its_own_names_and_the_shared_ones() -> None:
    environ = {
        "TWOTOWER_ITEM_PORT": "7001",
        "TWOTOWER_ITEM_MAX_TEXT": "100",
        "TWOTOWER_ARTIFACTS": "/data",
        "TWOTOWER_LOG_LEVEL": "DEBUG",
        "PATH": "/bin",
    }
    settings = read_settings(ItemSettings, "item", environ)
    assert (settings.port, settings.max_text) == (7001, 100)
    assert (settings.artifacts, settings.log_level) == (Path("/data"), "DEBUG")


def test_what_kubernetes_says_of_its_services_is_left_alone() -> None:
    environ = {
        "TWOTOWER_ITEM_PORT": "tcp://10.96.12.7:50051",
        "TWOTOWER_ITEM_SERVICE_HOST": "10.96.12.7",
        "TWOTOWER_ITEM_SERVICE_PORT": "50051",
        "TWOTOWER_ITEM_SERVICE_PORT_GRPC": "50051",
        "TWOTOWER_ITEM_PORT_50051_TCP": "tcp://10.96.12.7:50051",
        "TWOTOWER_ITEM_PORT_50051_TCP_ADDR": "10.96.12.7",
        "TWOTOWER_SERVICE_HOST": "10.96.12.7",
        "TWOTOWER_PORT": "udp://10.96.12.7:53",
        "TWOTOWER_MY_SHOP_SERVICE_HOST": "10.96.12.7",
    }
    assert read_settings(ItemSettings, "item", environ) == ItemSettings()
    with pytest.raises(SettingsError, match="TWOTOWER_ITEM_SERVICE_HOSTS"):
        read_settings(ItemSettings, "item", {"TWOTOWER_ITEM_SERVICE_HOSTS": "a"})


@pytest.mark.parametrize("reverse", [False, True])
def test_a_services_own_name_wins_over_the_shared_one(reverse: bool) -> None:
    pairs = [("TWOTOWER_ARTIFACTS", "/shared"), ("TWOTOWER_BUYER_ARTIFACTS", "/own")]
    settings = read_settings(BuyerSettings, "buyer", dict(pairs[::-1] if reverse else pairs))
    assert settings.artifacts == Path("/own")


def test_names_of_other_services_are_left_alone() -> None:
    environ = {"TWOTOWER_GATEWAY_ANYTHING": "x", "TWOTOWER_BUYER_PORT": "nonsense"}
    assert read_settings(RetrievalSettings, "retrieval", environ) == RetrievalSettings()


@pytest.mark.parametrize(
    ("name", "near"), [("TWOTOWER_ITEM_PROT", "TWOTOWER_ITEM_PORT"), ("TWOTOWER_ARTEFACTS", "TWOTOWER_ARTIFACTS")]
)
def test_an_unknown_name_is_refused_with_the_nearest_known_one(name: str, near: str) -> None:
    with pytest.raises(SettingsError, match=f"unknown setting {name}; did you mean {near}"):
        read_settings(ItemSettings, "item", {name: "1"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TWOTOWER_ITEM_PORT", "65536"),
        ("TWOTOWER_ITEM_PORT", "http"),
        ("TWOTOWER_ITEM_THREADS", "0"),
        ("TWOTOWER_ITEM_POLL_SECONDS", "0"),
        ("TWOTOWER_ITEM_POLL_SECONDS", "inf"),
        ("TWOTOWER_ITEM_DRAIN_SECONDS", "nan"),
        ("TWOTOWER_ITEM_MAX_BATCH", ""),
        ("TWOTOWER_ITEM_LOG_LEVEL", "LOUD"),
        ("TWOTOWER_LOG_LEVEL", "LOUD"),
    ],
)
def test_an_impossible_value_is_refused_under_the_name_that_set_it(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(ItemSettings, "item", {name: value})
    assert str(caught.value).startswith(f"{name}='{value}': ")


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(SettingsError, match=r"BUYER_PORT.*; .*BUYER_QUEUE"):
        read_settings(BuyerSettings, "buyer", {"TWOTOWER_BUYER_PORT": "-1", "TWOTOWER_BUYER_QUEUE": "0"})
