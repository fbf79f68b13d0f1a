"""The live catalogue on its way into a version: the recorder's copy, the overlay, and what a version then ignores."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis

from recorder.catalogue import CatalogueCopy
from tests.helpers.redis_server import RedisServer
from trainer.config.loading import load_config
from trainer.data.changes import find_products, load_products
from trainer.errors import DataError
from twotower.errors import CorruptArtifact, Unavailable
from twotower.live.records import (
    CHANGES,
    HEAD,
    PRODUCTS,
    WRITE,
    Content,
    LiveVectors,
    Position,
    State,
    pack_state,
    pack_vectors,
    unpack_state,
    unpack_vectors,
)
from twotower.live.snapshot import read_snapshot, snapshot_file, write_snapshot


def write(client: Redis, state: State, before: int = 0) -> list[int]:
    """Runs the gateways' script for one product."""
    values = ("e1", state.product_id, state.product_id, before, pack_state(state))
    return list(client.eval(WRITE, 3, HEAD, CHANGES, PRODUCTS, 100, *values))  # type: ignore[arg-type]


def test_a_state_is_written_only_over_the_one_that_was_read() -> None:
    with RedisServer() as server:
        client = Redis(port=server.port)
        assert write(client, State("p1", 0, {"price": 2.0})) == [1]
        # who has not seen the first change may not write over it; the place of the product is named
        assert write(client, State("p1", 0, {"price": 3.0})) == [0, 0]
        assert write(client, State("p1", 0, {"price": 4.0}), before=1) == [2]
        state = unpack_state("p1", client.hget(PRODUCTS, "p1"))  # type: ignore[arg-type]
        assert (state.sequence, state.fields) == (2, {"price": 4.0})
        assert [fields[b"ids"] for _, fields in client.xrange(CHANGES)] == [b"p1", b"p1"]


def test_the_recorder_copies_the_catalogue_when_it_has_changed(tmp_path: Path) -> None:
    with RedisServer() as server:
        client = Redis(port=server.port)
        copy = CatalogueCopy(lambda: client, tmp_path)
        # trainings name the file before the first change
        assert copy.refresh() and read_snapshot(snapshot_file(tmp_path)).states == []
        assert not copy.refresh()
        write(client, State("p1", 0, {"price": 2.0}))
        write(client, State("p2", 0, {}, is_deleted=True))
        assert copy.refresh()
        assert not copy.refresh()
        found = read_snapshot(snapshot_file(tmp_path))
        assert found.position == Position("e1", 2)
        assert sorted(found.states) == [State("p1", 1, {"price": 2.0}), State("p2", 2, {}, is_deleted=True)]
        assert snapshot_file(tmp_path).stat().st_mode & 0o777 == 0o600
    with pytest.raises(Unavailable, match="Redis"):
        copy.refresh()


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "products.csv").write_text(
        "product_id,title,description,metadata\n"
        'p1,خاتم,ذهب,"{""brand"": ""a"", ""category"": ""x"", ""price"": 5}"\n'
        'p2,سلسال,فضة,"{""brand"": ""b"", ""category"": ""y"", ""price"": 6}"\n'
        'p3,حلق,ألماس,"{""brand"": ""b"", ""category"": ""y"", ""price"": 7}"\n',
        encoding="utf-8",
    )
    states = [
        State("n1", 4, {"title": "خلخال", "price": 9.0}, is_whole=True),
        State("p2", 3, {}, is_deleted=True),
        State("p1", 2, {"price": 1.0, "in_stock": False}),
        State("p3", 5, {}, is_hidden=True),
        State("nowhere", 1, {"price": 1.0}),
    ]
    write_snapshot(snapshot_file(tmp_path), Position("e1", 5), states)
    return tmp_path


def test_changes_are_laid_over_the_files(shop: Path) -> None:
    config, named = load_config([]).data, [str(shop / "products.csv"), f"log:{shop}"]
    products, summary = load_products(named, config, shop / "work")
    assert products.ids == ["p1", "p3", "n1"]
    assert products.titles == ["خاتم", "حلق", "خلخال"]
    assert products.brands == ["a", "b", ""]
    assert products.prices == [1.0, 7.0, 9.0]
    assert products.in_stock == [False, True, True]
    assert summary.catalogue == ("e1", 5)
    alone, summary = load_products(named[:1], config, shop / "work")
    assert alone.ids == ["p1", "p2", "p3"]
    assert summary.catalogue is None
    assert find_products(named).contents() == [shop / "products.csv", shop / "catalogue.jsonl"]


def test_a_log_without_changes_and_a_damaged_one_are_named(shop: Path) -> None:
    with pytest.raises(DataError, match=r"log:/nowhere: there is no /nowhere/catalogue\.jsonl"):
        find_products([str(shop / "products.csv"), "log:/nowhere"])
    snapshot_file(shop).write_text("{\n")
    with pytest.raises(CorruptArtifact, match=r"catalogue\.jsonl is no file of changed products"):
        read_snapshot(snapshot_file(shop))


def test_a_version_ignores_what_it_was_made_with_of_its_own_epoch() -> None:
    position = Position("e1", 5)
    assert position.includes(State("p", 5, {}), "e1")
    assert not position.includes(State("p", 6, {}), "e1")
    # another Redis counts anew
    assert not position.includes(State("p", 5, {}), "e2")
    assert not Position().includes(State("p", 1, {}), "e1")


def test_vectors_of_other_sizes_are_not_read() -> None:
    import numpy as np

    vectors = LiveVectors(Content("a", "", "", "").digest(), np.ones(2, np.float32), np.zeros(3, np.float32))
    found = unpack_vectors(pack_vectors(vectors), 2, 3)
    assert found is not None
    assert (found.digest, found.item.tolist(), found.text.tolist()) == (vectors.digest, [1, 1], [0, 0, 0])
    assert unpack_vectors(pack_vectors(vectors), 3, 3) is None
    assert unpack_vectors(b"short", 2, 3) is None
