"""A log as a source of events: each once, beside files, guests as buyers, forgotten ones left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from recorder.files import write_table
from recorder.rows import table_of
from tests.helpers.event_log import NOON, shown, view
from tests.helpers.small_shop import EVENT_COLUMNS, PRODUCT_COLUMNS, write_csv
from trainer.config.loading import load_config
from trainer.data.dataset import Dataset, load_dataset
from trainer.data.event_log import reading
from trainer.data.event_log.attribution import WINDOW_MS, attribute
from trainer.data.event_log.reading import read_log
from trainer.data.event_log.sources import find_events
from trainer.errors import DataError
from twotower.event_log import MergeRecord, log_files
from twotower.forgotten import forget_buyer

HOUR = 3_600_000


def write(log: Path, kind: str, records: Sequence[Any], name: str = "1-0", day: str = "2025-01-01") -> None:
    """One file of the log, as the recorder writes it."""
    write_table(log / kind / f"day={day}" / f"{name}.parquet", table_of(kind, [(*one, NOON) for one in records]))


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "private" / "log"


def load(folder: Path, log: Path, rows: list[list[str]] | None) -> Dataset:
    """The data set of a catalogue of p0 to p3, of the log, and of a file with these rows."""
    products = write_csv(folder / "products.csv", PRODUCT_COLUMNS, [[f"p{row}", f"t{row}", "", ""] for row in range(4)])
    events = [f"log:{log}"]
    if rows is not None:
        events.append(str(write_csv(folder / "events.csv", EVENT_COLUMNS, rows)))
    config = load_config([], ["data.max_reject_share=1", "data.max_unknown_share=1"]).data
    return load_dataset(events, [str(products)], config, 7, folder / "work")


def as_rows(made: Dataset) -> list[tuple[str, str, str, int]]:
    events = made.events
    return [
        (made.buyers[b], made.products.ids[p], made.event_names[k - 1], int(t))
        for b, p, k, t in zip(events.buyer, events.product, events.kind, events.time, strict=True)
    ]


def test_file_and_log_in_one_pass_count_nothing_twice(tmp_path: Path, log: Path) -> None:
    write(log, "interactions", [view("e1"), view("e2", product_id="p2"), view("e3", event_type="Dismiss")])
    # written again after a crash, with one more; another buyer may use the same id
    write(log, "interactions", [view("e2", product_id="p2"), view("e1", "c"), view("e4", product_id="gone")], "2-0")
    # the file has e1, too, and one that came by no API
    made = load(tmp_path, log, [["b", "p1", "View", str(NOON)], ["b", "p3", "Purchase", "2025-01-01T12:00:01Z"]])
    assert sorted(as_rows(made)) == [
        ("b", "p1", "View", NOON),
        ("b", "p2", "View", NOON),
        ("b", "p3", "Purchase", NOON + 1000),
        ("c", "p1", "View", NOON),
    ]
    assert made.summary.dropped_events == {
        "repeated in the log": 1,
        "Dismiss, no sign of interest": 1,
        "exact duplicate": 1,
    }
    assert made.summary.rejected_events == {"product is not in the catalogue": 1}
    assert made.summary.event_rows == 8


def test_a_guest_becomes_the_buyer_once(log: Path) -> None:
    write(
        log,
        "interactions",
        [view("e1", None, "s1"), view("e2", None, "s2"), view("e3", "b", "s1"), view("e4", "c", "s1")],
    )
    write(log, "merges", [MergeRecord("s1", "late", NOON + 1), MergeRecord("s1", "b", NOON)], day="2025-01-02")
    found = read_log(log).interactions
    assert dict(found.select("event_id", "owner").iter_rows()) == {"e1": "b", "e2": "guest:s2", "e3": "b", "e4": "c"}


def test_a_forgotten_buyer_is_read_by_nobody_from_then_on(tmp_path: Path, log: Path) -> None:
    write(log, "interactions", [view("e1", "goes"), view("e2", None, "s1"), view("e3", "stays")])
    write(log, "lists", [shown("r1", ["p1"], buyer="goes"), shown("r2", ["p1"], buyer=None)])
    write(log, "merges", [MergeRecord("s1", "goes", NOON)])
    before = read_log(log, with_lists="all")
    assert (before.interactions.height, before.forgotten) == (3, 0)
    contents = find_events([f"log:{log}"]).contents()
    forget_buyer(log.parent / "forgotten.txt", "goes")
    after = read_log(log, with_lists="all")
    assert after.interactions["event_id"].to_list() == ["e3"]
    assert after.lists is not None and after.lists["recommendation_id"].to_list() == ["r2"]
    assert after.forgotten == 2
    # a run on the same files is not up to date
    assert find_events([f"log:{log}"]).contents() == [*contents, log.parent / "forgotten.txt"]
    assert as_rows(load(tmp_path, log, None)) == [("stays", "p1", "View", NOON)]


def test_an_empty_log_beside_files_is_no_failure(tmp_path: Path, log: Path) -> None:
    log.mkdir(parents=True)
    assert len(as_rows(load(tmp_path, log, [["b", "p1", "View", "1"], ["b", "p2", "View", "2"]]))) == 2
    with pytest.raises(DataError, match="holds no interaction yet"):
        load(tmp_path, log, None)
    with pytest.raises(DataError, match="log:/no/such: no such folder"):
        find_events(["log:/no/such"])


def test_a_damaged_file_is_named(log: Path) -> None:
    write(log, "interactions", [view("e1")])
    (log / "interactions" / "day=2025-01-01" / "2-0.parquet").write_bytes(b"no Parquet")
    # one that is being written counts for nothing
    (log / "interactions" / "day=2025-01-01" / ".new-3-0.parquet").write_bytes(b"")
    with pytest.raises(DataError, match=r"the log .* cannot be read"):
        read_log(log)


def test_files_that_the_recorder_replaces_meanwhile_are_looked_for_again(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(log, "interactions", [view("e1"), view("e2")])
    looks = []

    def look(folder: Path, kind: str) -> list[Path]:
        looks.append(kind)
        gone = [folder / "interactions" / "day=2025-01-01" / "2-0.parquet"]
        return log_files(folder, kind) + (gone if looks.count("interactions") == 1 and kind == "interactions" else [])

    monkeypatch.setattr(reading, "log_files", look)
    assert read_log(log).interactions["event_id"].to_list() == ["e1", "e2"]
    assert looks.count("interactions") == 2


def attributed(log: Path) -> dict[str, tuple[str, int, bool]]:
    """Event id -> list, rank, and whether the event names the list."""
    found = attribute(read_log(log, with_lists="all"))
    return {
        event: (recommendation, rank, named)
        for event, recommendation, rank, named in found.select(
            "event_id", "recommendation_id", "rank", "named"
        ).iter_rows()
    }


def test_an_interaction_belongs_to_the_list_that_it_names_or_to_the_last_one(log: Path) -> None:
    write(
        log,
        "lists",
        [
            shown("r1", ["p9", "p1", "p2"], NOON),
            shown("r2", ["p1"], NOON + HOUR),
            shown("r3", ["p1"], NOON + 2 * HOUR, buyer="other"),
            shown("r4", ["p5", "p4"], NOON, buyer=None, session_id="s1", route="/search"),
            shown("r5", ["p6"], NOON, buyer=None),
            shown("r6", ["p3"], NOON, buyer=None, session_id="s2"),
        ],
    )
    later = NOON + 3 * HOUR
    write(
        log,
        "interactions",
        [
            # names the first list, although a later one held the product, too
            view("named", timestamp_ms=later, recommendation_id="r1"),
            view("last", timestamp_ms=later),
            # the list that it names did not hold the product: the last one that did
            view("mistaken", timestamp_ms=later, recommendation_id="r5"),
            view("before", timestamp_ms=NOON - 1),
            view("first", timestamp_ms=NOON + 1),
            view("on time", product_id="p2", timestamp_ms=NOON + WINDOW_MS),
            view("too late", product_id="p2", timestamp_ms=NOON + WINDOW_MS + 1),
            # of a buyer in the session that was shown the list
            view("session", "b", "s1", product_id="p4", timestamp_ms=later),
            view("elsewhere", "b", "s3", product_id="p4", timestamp_ms=later),
            # the guest has become b since
            view("login", "b", product_id="p3", timestamp_ms=later),
        ],
    )
    write(log, "merges", [MergeRecord("s2", "b", later)])
    assert attributed(log) == {
        "named": ("r1", 2, True),
        "last": ("r2", 1, False),
        "mistaken": ("r2", 1, False),
        "first": ("r1", 2, False),
        "on time": ("r1", 3, False),
        "session": ("r4", 2, False),
        "login": ("r6", 1, False),
    }


def test_one_request_with_two_lists_is_attributed_once(log: Path) -> None:
    lists = [shown("r1", ["p2", "p1"], NOON), shown("r1", ["p1"], NOON, route="/popular")]
    write(log, "lists", lists)
    write(log, "lists", lists, "2-0")
    write(
        log,
        "interactions",
        [view("e1", timestamp_ms=NOON + 1, recommendation_id="r1"), view("e2", timestamp_ms=NOON + 1)],
    )
    assert attributed(log) == {"e1": ("r1", 1, True), "e2": ("r1", 1, False)}


def test_a_search_reaches_the_trainer_by_interaction_by_list_and_by_file(tmp_path: Path, log: Path) -> None:
    searched = {"route": "/search", "buyer": None}
    write(
        log,
        "lists",
        [
            shown("r1", ["p1", "p2"], query="جوال", **searched),
            shown("r2", ["p3"], query="عطر", session_id="s1", **searched),
            shown("r3", [], query="غريب", **searched),
            shown("r4", ["p1"]),
        ],
    )
    write(
        log,
        "interactions",
        [
            view("e1", query="خاتم"),
            view("e2", product_id="p2", recommendation_id="r1"),
            view("e3", None, "s1", product_id="p3", timestamp_ms=NOON + HOUR),
            # from another list, though a search showed the product
            view("e4", None, "s1", product_id="p3", timestamp_ms=NOON + 2 * HOUR, recommendation_id="r4"),
        ],
    )
    products = write_csv(
        tmp_path / "products.csv", PRODUCT_COLUMNS, [[f"p{row}", f"t{row}", "", ""] for row in range(4)]
    )
    events = [["c", "p0", "Purchase", str(NOON), "زيت"], ["c", "p1", "View", str(NOON), ""]]
    file = write_csv(tmp_path / "events.csv", [*EVENT_COLUMNS, "query"], events)
    data = load_dataset([f"log:{log}", str(file)], [str(products)], load_config([]).data, 7, tmp_path / "work")
    pairs = data.searches.pairs
    assert sorted(pairs.select("buyer", "query", "row", "weight").iter_rows()) == [
        ("b", "جوال", 2, 1.0),
        ("b", "خاتم", 1, 1.0),
        ("c", "زيت", 0, 10.0),
        ("guest:s1", "عطر", 3, 1.0),
    ]
    assert set(pairs["day"]) == {NOON // 86_400_000}
    assert sorted(data.searches.served.select("shopper", "query", "found").iter_rows()) == [
        ("guest:s1", "عطر", 1),
        ("search:r1", "جوال", 2),
        ("search:r3", "غريب", 0),
    ]
    assert len(data.events.buyer) == 6
