"""`trainer online` on logs written as the recorder writes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from recorder.files import write_table
from recorder.rows import table_of
from tests.helpers.event_log import NOON, shown, view
from trainer.__main__ import main
from trainer.data.event_log.reading import read_log
from trainer.online.summary import summarise
from trainer.online.table import outcomes
from twotower.event_log import InteractionRecord, ListRecord
from twotower.experiments import Experiments

EXPERIMENT = {"name": "test", "arms": [{"name": "control", "share": 0.5}, {"name": "new", "share": 0.5}]}
PRODUCTS = ["p1", "p2", "p3", "p4"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "private" / "log"


def write(log: Path, kind: str, records: Sequence[Any]) -> None:
    write_table(log / kind / "day=2025-01-01" / "1-0.parquet", table_of(kind, [(*one, NOON) for one in records]))


def event(
    number: int, of: ListRecord, product: str = "p1", event_type: str = "View", **fields: Any
) -> InteractionRecord:
    """What the buyer of a list does a second later, naming the list."""
    fields = {"recommendation_id": of.recommendation_id, "timestamp_ms": of.served_ms + 1000, **fields}
    return view(f"e{number}", of.buyer_id, product_id=product, event_type=event_type, **fields)


def arm_of(number: int) -> str:
    return "new" if number % 2 else "control"


def split_log(log: Path, buyers: int, clicks: dict[str, int], more: Sequence[ListRecord] = ()) -> None:
    """A list for each of `buyers` buyers, half of them in either arm; of ten lists of an arm, so many are clicked."""
    lists = [
        shown(f"r{number}", PRODUCTS, NOON + number, f"b{number}", experiment="test", arm=arm_of(number), slot="home")
        for number in range(buyers)
    ]
    clicked = [one for place, one in enumerate(lists) if place // 2 % 10 < clicks[str(one.arm)]]
    write(log, "lists", [*lists, *more])
    write(log, "interactions", [event(number, one) for number, one in enumerate(clicked)])


def experiments(**fields: Any) -> Experiments:
    return Experiments.model_validate({"experiments": [{**EXPERIMENT, **fields}]})


def test_what_lists_led_to_by_hand(log: Path) -> None:
    lists = [
        shown("r1", PRODUCTS, slot="home"),
        shown("r2", PRODUCTS[:2], NOON + 1, model_version="v2", source="popular"),
        shown("r3", PRODUCTS, NOON + 2, "c", slot="home"),
        shown("r4", PRODUCTS, NOON + 3, None),
    ]
    write(log, "lists", lists)
    happened = [
        event(1, lists[0]),
        event(2, lists[0], "p2"),
        event(3, lists[0], "p2", "AddToCart"),
        event(4, lists[0], "p2", "Purchase", price=10.0, quantity=3),
        event(5, lists[2], "p1", "Purchase", price=5.0),
        event(6, lists[2], "p2", "Purchase"),
        event(7, lists[2], "p9"),
    ]
    write(log, "interactions", happened)
    columns = ["clicked", "carted", "purchased", "revenue", "impressions"]
    assert outcomes(read_log(log, with_lists="all")).select(*columns).rows() == [
        (1, 1, 1, 30, 4),
        (0, 0, 0, 0, 2),
        (0, 0, 1, 5, 4),
        (0, 0, 0, 0, 4),
    ]
    found = summarise(log, Experiments(), 1000)
    total = found["all"]
    assert (total["lists"], total["impressions"], total["buyers"]) == (4, 14, 3)
    assert [total[name]["mean"] for name in ("click_through", "cart_rate", "purchase_rate")] == [0.25, 0.25, 0.5]
    assert total["revenue_per_1000_lists"]["mean"] == 35 / 4 * 1000
    assert {one["model_version"]: one["lists"] for one in found["by_model_version"]} == {"v1": 3, "v2": 1}
    assert {one["slot"]: one["lists"] for one in found["by_slot"]} == {"home": 2, None: 2}
    assert {one["source"]: one["click_through"]["mean"] for one in found["by_source"]} == {"model": 1 / 3, "popular": 0}


def test_a_clearly_better_arm_is_called_better_and_buyers_of_both_arms_are_left_out(log: Path) -> None:
    moved = shown("again", PRODUCTS, NOON + 5, "b0", experiment="test", arm="new")
    split_log(log, 2000, {"control": 1, "new": 3}, [moved])
    told = summarise(log, experiments(), 2000)["experiments"]["test"]
    (compared,) = told["comparisons"]
    assert (compared["arm"], compared["beside"], compared["verdict"]) == ("new", "control", "better")
    assert compared["click_through"]["difference"] == pytest.approx(0.2, abs=2e-3)
    low, high = compared["click_through"]["anytime"]
    assert 0.1 < low < 0.2 < high < 0.3
    assert compared["cart_rate"]["verdict"] == "too early"
    # b0 was in both arms; the last list was served by the other arm, when the control had served its last one
    assert told["left_out_buyers"] == 2
    assert told["sample_ratio"]["buyers"] == {"control": 999, "new": 999} and not told["sample_ratio"]["mismatch"]


def test_other_shares_than_promised_are_an_alarm_and_few_buyers_no_verdict(log: Path) -> None:
    split_log(log, 300, {"control": 1, "new": 3})
    arms = [{"name": "control", "share": 0.9}, {"name": "new", "share": 0.1}]
    assert summarise(log, experiments(arms=arms), 2000)["experiments"]["test"]["sample_ratio"]["mismatch"]
    split_log(log, 150, {"control": 0, "new": 10})
    told = summarise(log, experiments(), 2000)["experiments"]["test"]
    assert told["comparisons"][0]["verdict"] == "too early" and not told["sample_ratio"]["mismatch"]
    # without the file nobody knows the shares
    assert summarise(log, Experiments(), 2000)["experiments"]["test"]["sample_ratio"] is None


def test_interleaved_lists_are_credited_to_the_team_that_chose_the_product(log: Path) -> None:
    lists = [
        shown(f"r{number}", PRODUCTS, NOON + number, f"b{number}", experiment="test", arm="interleaved", teams="ABBA")
        for number in range(200)
    ]
    write(log, "lists", lists)
    # 60 clicks on what the second arm chose, 20 on the first arm's; clicking a product twice is one click
    rows = [event(number, lists[number], "p2") for number in range(60)]
    rows += [event(100 + number, lists[number], "p4") for number in range(20)]
    write(log, "interactions", [*rows, event(999, lists[0], "p2", timestamp_ms=NOON + 9000)])
    pair = experiments(kind="interleave", arms=[{"name": "old"}, {"name": "new"}])
    told = summarise(log, pair, 200)["experiments"]["test"]["interleaving"]
    assert told["clicks"] == {"old": 20, "new": 60}
    assert (told["credit_per_list"]["difference"], told["credit_per_list"]["verdict"]) == (0.2, "better")


def test_shadow_lists_count_for_nothing_but_what_they_share(log: Path) -> None:
    served = shown("q1~test~control", ["p1", "p2"], experiment="test", arm="control")
    write(log, "lists", [served])
    write(log, "shadows", [shown("q1~test~new", ["p2", "p3"], experiment="test", arm="new", model_version="v2")])
    found = summarise(log, Experiments(), 100)
    assert found["lists"] == 1 and [one["model_version"] for one in found["by_model_version"]] == ["v1"]
    assert found["experiments"]["test"]["shadow"] == {"arm": "new", "lists": 1, "share_in_common": 0.5}


def test_the_command_prints_writes_and_refuses(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    split_log(log, 400, {"control": 1, "new": 4}, [shown("x", ["p1"], slot="<b>home</b>")])
    page = tmp_path / "online.html"
    assert main(["online", "--log", str(log), "--json", "--out", str(page)]) == 0
    assert json.loads(capsys.readouterr().out)["lists"] == 401
    assert "new beside control: click-through" in page.read_text() and "<b>home" not in page.read_text()
    assert main(["online", "--log", str(log)]) == 0
    assert "test, arm new: 200 lists, 800 impressions, 200 buyers" in capsys.readouterr().out
    for arguments in (["--log", str(tmp_path / "none")], ["--log", str(log), "--planned-lists", "0"]):
        assert main(["online", *arguments]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["online", "--log", str(tmp_path / "empty")]) == 2
    assert "holds no list yet" in capsys.readouterr().err
