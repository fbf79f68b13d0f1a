"""A warm training begins as the served version is, and makes room for a training from scratch where it cannot be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.small_shop import (
    DAY,
    EVENT_COLUMNS,
    NOON,
    PRODUCT_COLUMNS,
    Shop,
    copy_artifacts,
    current,
    event_rows,
    product_rows,
    run_arguments,
    small_run,
    write_csv,
)
from trainer.__main__ import main
from trainer.errors import DataError
from trainer.stages import train
from trainer.stages.workspace import Run
from twotower.artifact.catalogue import read_product_rows
from twotower.artifact.version import Version

SOFTMAX = ("training.start=softmax",)
# so slow that a pass changes nothing that float32 shows
STILL = (*SOFTMAX, "training.warm_learning_rate=1e-12", "training.weight_decay=0")


NEWEST = NOON - 60 * DAY + 899 * 5000


def views(*buyers_and_products: tuple[int, str]) -> list[list[str]]:
    """Views after those of the small shop, in this order."""
    return [
        [f"b{buyer}", product, "View", str(NEWEST + 60 + place)]
        for place, (buyer, product) in enumerate(buyers_and_products)
    ]


def next_day(folder: Path, buyers: int = 40, more: Sequence[list[str]] = ()) -> Shop:
    """The small shop a day later: two more products, one of a new brand, and an event of so many buyers, or `more`."""
    rows = more or views(*((one, f"p{one % 4 + 8}") for one in range(buyers)))
    products = product_rows(62)
    products[61][3] = json.dumps({"brand": "ماركة جديدة", "category": "تمور"}, ensure_ascii=False)
    events = write_csv(folder / "events.csv", EVENT_COLUMNS, [*event_rows(), *rows])
    return Shop(events, write_csv(folder / "products.csv", PRODUCT_COLUMNS, products))


def run_warm(shop: Shop, artifacts: Path, settings: Sequence[str]) -> int:
    return main(run_arguments(shop, artifacts, "--warm", settings=settings))


def training_of(version: Version) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(version.layout.metrics.read_text(encoding="utf-8"))["training"]
    return facts


def test_a_warm_training_begins_at_the_served_vectors_and_places_new_products(tmp_path: Path) -> None:
    artifacts = copy_artifacts(small_run(*SOFTMAX)[1], tmp_path / "artifacts")
    before = current(artifacts)
    assert run_warm(next_day(tmp_path), artifacts, STILL) == 0
    after = current(artifacts)
    facts = training_of(after)
    assert after.name != before.name
    assert facts["start"] == {"from": before.name, "reason": ""}
    assert f"Warm start: trained from the weights of <code>{before.name}</code>" in after.layout.report.read_text()
    assert after.manifest.encoder_digest == before.manifest.encoder_digest
    rows, old = read_product_rows(after.layout.ids), read_product_rows(before.layout.ids)
    vectors, served = (np.load(one.layout.embeddings) for one in (after, before))
    # every product of the small shop was trained
    known = [rows[name] for name in old]
    np.testing.assert_allclose(vectors[known], served[list(old.values())], atol=1e-5)
    new = vectors[[rows["p60"], rows["p61"]]]
    np.testing.assert_allclose(np.linalg.norm(new, axis=1), 1, atol=1e-5)
    # p60 reads like p0, p16, ...: nearer to them than to the mean product
    alike = [rows[f"p{one}"] for one in range(0, 60, 16)]
    assert (vectors[alike] @ new[0]).mean() > (vectors[known] @ new[0]).mean()


def test_its_test_are_events_that_the_served_version_has_not_seen(tmp_path: Path) -> None:
    artifacts = copy_artifacts(small_run(*SOFTMAX)[1], tmp_path / "artifacts")
    assert run_warm(next_day(tmp_path, buyers=30), artifacts, STILL) == 0
    protocol = json.loads(current(artifacts).layout.metrics.read_text(encoding="utf-8"))["protocol"]
    assert (protocol["split"], protocol["test_buyers"]) == ("newest_events", 30)


@pytest.mark.parametrize(
    ("buyers", "settings", "reason"),
    [
        (4, SOFTMAX, "only 4 buyers have an event since {served} to test on, evaluation.min_test_buyers is 5"),
        (40, (*SOFTMAX, "model.dropout=0.1"), "model.dropout: not as {served} was trained"),
        (40, ("training.start=linear",), "training.start=linear, and {served} has softmax"),
    ],
)
def test_without_a_usable_start_it_trains_from_scratch_and_says_why(
    buyers: int, settings: Sequence[str], reason: str, tmp_path: Path
) -> None:
    artifacts = copy_artifacts(small_run(*SOFTMAX)[1], tmp_path / "artifacts")
    served = current(artifacts).name
    assert run_warm(next_day(tmp_path, buyers), artifacts, settings) == 0
    start = training_of(current(artifacts))["start"]
    assert start == {"from": "scratch", "reason": f"no warm start: {reason.format(served=served)}"}


def test_what_the_gate_refuses_is_trained_from_scratch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    artifacts = copy_artifacts(small_run(*SOFTMAX)[1], tmp_path / "artifacts")
    served = current(artifacts).name
    # half of the buyers view p8 and then p9, the others p9 and then p8: a model that learns nothing loses to popularity
    half, others = range(40), range(40, 80)
    first = [*((one, "p8") for one in half), *((one, "p9") for one in others)]
    fashion = views(*first, *((one, "p9") for one in half), *((one, "p8") for one in others))
    settings = (*STILL, "publish.gate=true", "prior.weights=[]", "neighbours.weights=[]", "publish.max_drop=0.99")
    # the training from scratch has tests of its own
    monkeypatch.setattr(train, "_select", _stop)
    code = run_warm(next_day(tmp_path, more=fashion), artifacts, settings)
    output, errors = capsys.readouterr()
    assert f"training from scratch: the gate refuses the warm training from {served}: ndcg@10" in output
    assert (code, errors) == (2, "error: from scratch\n")
    assert current(artifacts).name == served


def _stop(run: Run) -> None:
    assert run.warm is None
    assert run.scratch_reason.startswith("the gate refuses the warm training")
    raise DataError("from scratch")


def test_without_a_newer_event_nothing_is_done(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shop, trained = small_run(*SOFTMAX)
    artifacts = copy_artifacts(trained, tmp_path / "artifacts")
    served = current(artifacts).name
    assert run_warm(shop, artifacts, SOFTMAX) == 0
    assert capsys.readouterr().out.endswith(
        f"up to date: no event is newer than those of the served version {served}\n"
    )
    assert current(artifacts).name == served
