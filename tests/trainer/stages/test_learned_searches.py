"""`run` and `refresh` learn from searches, and a later refresh keeps what was learned."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from item_service.encoder import load
from item_service.queries import Typed
from item_service.settings import ItemSettings
from recorder.files import write_table
from recorder.rows import table_of
from tests.helpers.event_log import NOON, view
from tests.helpers.small_shop import PRODUCT_COLUMNS, copy_artifacts, current, product_rows, small_run, write_csv
from trainer.__main__ import main
from twotower.artifact.search_words import SearchWords
from twotower.artifact.version import Version

# strange words, and the category that they stand for: product p0 is of the first, p1 of the second, ...
MEANS = ["qlada", "3otoor", "siyara", "tumoor"]
BESIDE = ["", " qwx", " zvj", " wkq"]


def write_log(log: Path) -> None:
    """Six buyers search each wording and view a product of its category."""
    records = [
        view(
            f"e{number}-{row}-{buyer}",
            f"s{number}{row}{buyer}",
            product_id=f"p{4 * (buyer + row) + number}",
            query=text,
        )
        for number, word in enumerate(MEANS)
        for row, text in enumerate(word + beside for beside in BESIDE)
        for buyer in range(6)
    ]
    rows = [(*one, NOON) for one in records]
    write_table(log / "interactions" / "day=2025-01-01" / "1-0.parquet", table_of("interactions", rows))


def facts(version: Version) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(version.layout.metrics.read_text(encoding="utf-8"))["searches"]
    return found


def test_refresh_learns_from_the_log_and_keeps_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifacts, log = copy_artifacts(small_run()[1], tmp_path / "artifacts"), tmp_path / "private" / "log"
    before = current(artifacts)
    assert facts(before)["learning"]["kept"] is False
    assert before.query_ngrams is None
    write_log(log)
    path = write_csv(tmp_path / "today.csv", PRODUCT_COLUMNS, product_rows())
    command = ["refresh", "--products", str(path), "--artifacts", str(artifacts)]
    assert main([*command, "--events", f"log:{log}"]) == 0
    after = current(artifacts)
    assert facts(after)["learning"]["kept"], facts(after)["learning"]["reason"]
    assert after.query_ngrams is not None
    assert facts(after)["choices"] == 96
    words = SearchWords.load(after.layout.search_words)
    assert {"qlada", "qlada qwx"} <= words.queries.keys()
    assert set(MEANS) <= words.learned.keys()
    assert "qlada" in after.layout.report.read_text(encoding="utf-8")
    # products and their index are untouched, and a query that nobody searched as well
    for name in ("text_embeddings.npy", "product_embeddings.npy", "text_index.faiss"):
        assert before.manifest.files[name] == after.manifest.files[name]
    # no step of the understanding rewrites a word that was learned
    queries = load(after, ItemSettings(artifacts=artifacts)).queries
    assert queries.encode([Typed("qlada")]).rows[0].query.text == "qlada"
    assert ("qlada", "query") in [(one.text, one.kind) for one in queries.suggest("qla", 5)]
    # the same events teach nothing new
    capsys.readouterr()
    assert main([*command, "--events", f"log:{log}"]) == 0
    assert "up to date" in capsys.readouterr().out
    assert main([*command, "--force"]) == 0
    kept = current(artifacts)
    assert kept.name != after.name
    for name in ("query_ngrams.npy", "query_ngram_ids.npy"):
        assert kept.manifest.files[name] == after.manifest.files[name]
    assert facts(kept) == facts(after)
    assert SearchWords.load(kept.layout.search_words).queries == words.queries
