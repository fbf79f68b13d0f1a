"""Experiments through the API: two versions in real services, a real Redis; what is answered, logged and counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio
import yaml
from redis import Redis

from tests.helpers.redis_server import RedisServer
from tests.helpers.services import until
from tests.helpers.stack import Reference, Stack, as_json, check_list, event, stack
from tests.helpers.tiny_version import build_version
from trainer.__main__ import main as trainer
from twotower.event_log import KINDS, STREAM
from twotower.experiments import Experiment

pytestmark = pytest.mark.asyncio(loop_scope="module")

HISTORY = [event("p4", "View", 30), event("p8", "AddToCart", 20), event("p12", "Purchase", 10)]
CONTROL, OTHER = {"name": "control", "share": 0.5}, {"name": "old", "share": 0.5, "version": "old"}
PAIR = [{"name": "control"}, {"name": "old", "version": "old"}]


class Shop:
    """The stack, its experiments file, and the right answers of both versions."""

    def __init__(self, system: Stack, file: Path, raw: Any) -> None:
        self.system, self.file, self.raw = system, file, raw
        self.count = 0
        self.right = {name: Reference(system.artifacts, name) for name in ("old", "now")}

    async def run(self, **fields: Any) -> Experiment:
        """Puts one experiment in force."""
        self.count += 1
        content = {"name": f"test-{self.count}", "arms": [CONTROL, OTHER], **fields}
        self.file.write_text(yaml.safe_dump({"experiments": [content]}))
        experiment = Experiment.model_validate(content)
        await until(
            lambda: self.ask("anybody", slot=(experiment.slots or (None,))[0]),
            lambda one: one.get("experiment") == content["name"],
        )
        return experiment

    async def ask(self, buyer: str, **query: Any) -> dict[str, Any]:
        given = {name: value for name, value in query.items() if value is not None}
        return await self.system.answer("/retrieve", buyer_id=buyer, **given)

    async def buyers_of(self, experiment: Experiment, count: int = 2) -> dict[str, list[str]]:
        """Buyers of each arm, who share one history."""
        found: dict[str, list[str]] = {arm.name: [] for arm in experiment.arms}
        for number in range(100):
            arm = experiment.arm_of(f"b{number}")
            if arm and len(found[arm.name]) < count:
                found[arm.name].append(f"b{number}")
        for buyer in (one for some in found.values() for one in some):
            await self.system.post("/encode_buyer", {"buyer_id": buyer, "recent_interactions": as_json(HISTORY)})
        return found

    def best(self, version: str, k: int = 5) -> dict[str, float]:
        return self.right[version].best(self.right[version].buyer(HISTORY), k)

    async def logged(self, kind: str, *answers: dict[str, Any]) -> list[Any]:
        """The record of each answer, once all are there; what was asked before may be logged meanwhile, too."""

        def look() -> list[Any]:
            values = [fields[kind.encode()] for _, fields in self.raw.xrange(STREAM) if kind.encode() in fields]
            rows = [KINDS[kind](*row) for value in values for row in orjson.loads(value)]
            of = {row.recommendation_id.split("~")[0]: row for row in rows}
            return [of[one["request_id"]] for one in answers if one["request_id"] in of]

        found: list[Any] = await until(look, lambda rows: len(rows) == len(answers))
        return found

    async def metric(self, name: str, **labels: str) -> float:
        shown = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        wanted = f"{name}{{{shown}}}"
        text = (await self.system.get("/metrics")).text
        return next((float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(wanted)), 0.0)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shop(server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shop]:
    """The version "old" is neither CURRENT nor PREVIOUS: the services hold it because `trainer experiment` says so."""
    folder = tmp_path_factory.mktemp("shop") / "artifacts"
    file = folder.with_name("experiments.yaml")
    for name in ("old", "between", "now"):
        build_version(folder, name, seed=ord(name[0]))
    file.write_text(yaml.safe_dump({"experiments": [{"name": "first", "kind": "interleave", "arms": PAIR}]}))
    assert trainer(["experiment", str(file), "--artifacts", str(folder)]) == 0
    with Redis(port=server.port) as raw:
        async with stack(folder, server, event_log=True, experiments_file=file, request_timeout_seconds=30) as system:
            yield Shop(system, file, raw)


async def test_each_buyer_gets_the_version_of_their_arm_and_the_log_says_so(shop: Shop) -> None:
    experiment = await shop.run(slots=["home"])
    buyers = await shop.buyers_of(experiment)
    answers = []
    for arm, version in (("control", "now"), ("old", "old")):
        for buyer in buyers[arm]:
            answer = await shop.ask(buyer, slot="home", k=5)
            assert (answer["experiment"], answer["arm"], answer["model_version"]) == (experiment.name, arm, version)
            check_list(answer, shop.best(version))
            assert answer["recommendation_id"] == f"{answer['request_id']}~{experiment.name}~{arm}"
            answers.append(answer)
    rows = await shop.logged("lists", *answers)
    assert [(row.recommendation_id, row.experiment, row.arm, row.teams) for row in rows] == [
        (one["recommendation_id"], experiment.name, one["arm"], None) for one in answers
    ]
    # another slot is no part of it
    outside = await shop.ask(buyers["old"][0], slot="basket")
    assert outside["model_version"] == "now" and "arm" not in outside
    assert outside["recommendation_id"] == outside["request_id"]


async def test_settings_of_an_arm_count_before_the_callers(shop: Shop) -> None:
    diverse = {"name": "diverse", "share": 0.5, "settings": {"exclude_seen": True}}
    experiment = await shop.run(arms=[CONTROL, diverse])
    buyers = await shop.buyers_of(experiment, 1)
    usual = await shop.ask(buyers["control"][0], k=40)
    changed = await shop.ask(buyers["diverse"][0], k=40, exclude_seen="false")
    seen = {one.product_id for one in HISTORY}
    assert seen <= set(usual["product_ids"]) and not seen & set(changed["product_ids"])


async def test_clicks_and_impressions_are_counted_by_arm(shop: Shop) -> None:
    experiment = await shop.run()
    buyer = (await shop.buyers_of(experiment, 1))["old"][0]
    labels = {"experiment": experiment.name, "arm": "old"}
    names = (
        "twotower_experiment_lists_total",
        "twotower_experiment_impressions_total",
        "twotower_experiment_clicks_total",
    )
    before = [await shop.metric(name, **labels) for name in names]
    answer = await shop.ask(buyer, k=7)
    view = {"buyer_id": "clicks", "product_id": answer["product_ids"][0], "timestamp": "2025-01-01T12:00:00Z"}
    named = {**view, "event_type": "View", "recommendation_id": answer["recommendation_id"]}
    strange = {**view, "event_type": "View", "recommendation_id": f"r~{experiment.name}~nobody"}
    bought = {**named, "event_type": "Purchase"}
    await shop.system.post("/interactions", {"interactions": [named, strange, bought]})

    async def counted() -> list[float]:
        after = [await shop.metric(name, **labels) for name in names]
        return [new - old for new, old in zip(after, before, strict=True)]

    await until(counted, lambda found: found == [1, 7, 1])


@pytest.mark.parametrize("kind", ["split", "interleave"])
async def test_a_repeated_event_is_one_click(shop: Shop, kind: str) -> None:
    """In one request, in another one, and after the exchange of counts; another event is another click."""
    experiment = await shop.run(kind=kind, arms=PAIR if kind == "interleave" else [CONTROL, OTHER])
    labels = {"experiment": experiment.name, "arm": "control"}
    # a buyer of its own: the others share one history
    view = {"buyer_id": "repeats", "product_id": "p1", "event_type": "View", "timestamp": "2025-01-01T12:00:00Z"}
    # a list that interleaving could not draft names its arm, as all lists of the other kind do
    view |= {"event_id": "one", "recommendation_id": f"r~{experiment.name}~control"}

    async def clicks() -> float:
        return await shop.metric("twotower_experiment_clicks_total", **labels)

    for sent in ([view, view], [view]):
        await shop.system.post("/interactions", {"interactions": sent})
    await until(clicks, lambda found: found == 1)
    await shop.system.post("/interactions", {"interactions": [view, {**view, "event_id": "two"}]})
    await until(clicks, lambda found: found >= 2)
    assert await clicks() == 2


async def test_people_see_the_arms_with_what_they_did(shop: Shop) -> None:
    diverse = {"name": "diverse", "share": 0.5, "version": "old", "settings": {"diversity": 0.5}}
    experiment = await shop.run(slots=["email"], arms=[CONTROL, diverse])
    buyers = await shop.buyers_of(experiment, 1)
    # what `run` has asked is counted, too
    before = (await shop.system.answer("/experiments"))["experiments"][0]["arms"][1]["lists"]
    answer = await shop.ask(buyers["diverse"][0], slot="email")
    view = {"buyer_id": "clicks", "product_id": answer["product_ids"][0], "event_type": "View"}
    view |= {"timestamp": "2025-01-01T12:00:00Z", "recommendation_id": answer["recommendation_id"]}
    await shop.system.post("/interactions", view)

    async def shown() -> dict[str, Any]:
        (one,) = (await shop.system.answer("/experiments"))["experiments"]
        return dict(one)

    # clicks are counted with the next exchange
    found = await until(shown, lambda one: one["arms"][1]["clicks"] > 0)
    assert (found["name"], found["kind"], found["slots"]) == (experiment.name, "split", ["email"])
    control, other = found["arms"]
    assert (other["version"], other["diversity"], other["lists"], other["clicks"]) == ("old", 0.5, before + 1, 1)
    assert other["off"] is None and control["difference"] is None
    # too few lists for an interval
    assert other["click_through"] is None


async def test_a_version_that_is_held_answers_outside_experiments(shop: Shop) -> None:
    experiment = await shop.run()
    buyer = (await shop.buyers_of(experiment, 1))["control"][0]
    old = await shop.system.answer("/versions/old/retrieve", buyer_id=buyer, k=5)
    assert old["product_ids"] == list(shop.best("old"))
    assert old["model_version"] == "old" and "arm" not in old
    found = await shop.system.answer("/versions/old/search", q="خاتم ذهب", k=5)
    assert found["model_version"] == "old" and len(found["product_ids"]) == 5
    refused = await shop.system.get("/versions/none-such/retrieve", buyer_id=buyer)
    assert refused.status_code == 503 and "none-such" in refused.json()["detail"]


async def test_an_interleaved_list_is_drafted_from_both_versions(shop: Shop) -> None:
    experiment = await shop.run(kind="interleave", arms=PAIR)
    buyer = (await shop.buyers_of(experiment, 1))["control"][0]
    for _ in range(4):
        answer = await shop.ask(buyer, k=6, include="products")
        assert (answer["arm"], answer["model_version"]) == ("interleaved", "now+old")
        (row,) = await shop.logged("lists", answer)
        assert row.teams.count("A") == row.teams.count("B") == 3
        scores = {"A": shop.best("now", 40), "B": shop.best("old", 40)}
        wanted = [scores[team][product] for team, product in zip(row.teams, answer["product_ids"], strict=True)]
        assert answer["scores"] == pytest.approx(wanted, abs=1e-5)
        assert [one["product_id"] for one in answer["products"]] == answer["product_ids"]
        assert len(set(answer["product_ids"])) == 6
        # the first two places hold the best product of each, unless both have the same
        assert {answer["product_ids"][0]} <= {next(iter(scores["A"])), next(iter(scores["B"]))}
    by_price = await shop.ask(buyer, sort="price_asc")
    assert (by_price["arm"], by_price["model_version"]) == ("control", "now")


async def test_a_shadow_is_logged_and_never_answered(shop: Shop) -> None:
    experiment = await shop.run(kind="shadow", arms=PAIR)
    buyer = (await shop.buyers_of(experiment, 1))["control"][0]
    answer = await shop.ask(buyer, k=5)
    assert (answer["arm"], answer["model_version"]) == ("control", "now")
    (row,) = await shop.logged("shadows", answer)
    assert (row.arm, row.model_version, row.recommendation_id.split("~")[0]) == ("old", "old", answer["request_id"])
    assert row.product_ids.split("\n") == list(shop.best("old"))
    assert [one.arm for one in await shop.logged("lists", answer)] == ["control"]


async def test_an_arm_whose_version_is_not_held_is_answered_for_and_switched_off(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    arms = [CONTROL, {**OTHER, "version": "unheard-of"}]
    experiment = await shop.run(arms=arms, guardrails={"min_requests": 5})
    buyers = await shop.buyers_of(experiment, 1)
    answer = await shop.ask(buyers["old"][0])
    assert (answer["arm"], answer["model_version"]) == ("old", "now")
    assert (
        f"the arm old of {experiment.name} cannot answer: model version 'unheard-of' is not held"
        in answer["warnings"][0]
    )

    async def press() -> dict[str, Any]:
        await asyncio.gather(*(shop.ask(buyers[arm][0]) for arm in ("control", "old") for _ in range(8)))
        return await shop.ask(buyers["old"][0])

    off = await until(press, lambda one: one["arm"] == "control")
    assert (off["model_version"], off["warnings"]) == ("now", [])
    assert f"the arm old of {experiment.name} is switched off: errors: 1.0000" in caplog.text
    assert await shop.metric("twotower_experiment_arm_off", experiment=experiment.name, arm="old") == 1
    # all gateways see it, and one that starts later, too
    key = f"twotower:experiment:1:{experiment.name}:{experiment.digest()}"
    assert shop.raw.hget(key, "off:old").startswith(b"errors: ")
    # another salt is another experiment
    again = await shop.run(name=experiment.name, salt="mended", arms=arms)
    buyer = (await shop.buyers_of(again, 1))["old"][0]
    await until(lambda: shop.ask(buyer), lambda one: one["arm"] == "old")


async def test_what_another_gateway_has_switched_off_is_off_here(shop: Shop) -> None:
    experiment = await shop.run()
    buyer = (await shop.buyers_of(experiment, 1))["old"][0]
    assert (await shop.ask(buyer))["arm"] == "old"
    shop.raw.hset(f"twotower:experiment:1:{experiment.name}:{experiment.digest()}", "off:old", "latency: seen there")
    await until(lambda: shop.ask(buyer), lambda one: one["arm"] == "control")


async def test_a_bad_file_leaves_the_last_experiments_and_no_file_ends_them(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    await shop.run()
    shop.file.write_text("experiments: [{name: bad, arms: []}]")
    await until(lambda: "the last good experiments stay in force" in caplog.text)
    assert "arm" in await shop.ask("anybody")
    shop.file.unlink()
    await until(lambda: shop.ask("anybody"), lambda one: "arm" not in one)
