"""benchmarks/peer.py, beside a stand-in for RecTools: its process, its settings, the scores of its vectors."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peer import DEFAULTS, Histories, Peer, PeerData, peer_settings, vectors_scorer
from trainer.data.events import Events
from trainer.data.split import Cases

# a process that validates with the scores .2, .5, .3, .4, .4, ten seconds apart, and answers as benchmarks.sasrec does
STAND_IN = """
import json, sys
from pathlib import Path
folder = Path(sys.argv[3])
for place, score in enumerate([0.2, 0.5, 0.3, 0.4, 0.4], start=1):
    (folder / "validation/score").write_text(str(score))
    print(json.dumps({"epochs": place, "seconds": 10.0 * place, "setup": 1.0, "interactions": 5}), flush=True)
    answer = sys.stdin.readline().strip()
    if answer == "test":
        (folder / "test/score").write_text(str(score))
        print(json.dumps({"written": "test"}), flush=True)
        answer = sys.stdin.readline().strip()
    if answer != "go":
        break
"""
HISTORIES = Histories(np.array([0, 0, 1]), np.array([2, 0, 1]), np.array([0, 1]))
DATA = PeerData(HISTORIES, HISTORIES)


def make_peer(folder: Path, script: str) -> Peer:
    program = folder / "python"
    program.write_text(f"#!{sys.executable}\n{script}")
    program.chmod(0o755)
    return Peer("peer", program, DEFAULTS, "cpu", 1, seed=7, limit=100, epochs=9, patience=9, every=300)


def read_score(folder: Path) -> float:
    return float((folder / "score").read_text())


def test_the_test_gets_the_vectors_of_the_best_validation(tmp_path: Path) -> None:
    curve = make_peer(tmp_path, STAND_IN).train(DATA, tmp_path / "work", read_score)
    assert [point.score for point in curve.points] == [0.2, 0.5, 0.3, 0.4, 0.4]
    assert (curve.setup, curve.interactions, curve.best.epochs) == (1.0, 5, 2)
    assert read_score(tmp_path / "work/test") == 0.5


def test_training_ends_at_the_limit_or_without_patience(tmp_path: Path) -> None:
    peer = make_peer(tmp_path, STAND_IN)
    limited = replace(peer, limit=20).train(DATA, tmp_path / "limited", read_score)
    assert [point.seconds for point in limited.points] == [10, 20]
    # the last validation was the best one
    assert read_score(tmp_path / "limited/test") == 0.5
    impatient = replace(peer, patience=2).train(DATA, tmp_path / "impatient", read_score)
    assert [point.score for point in impatient.points] == [0.2, 0.5, 0.3, 0.4]


def test_a_failed_process_is_reported_with_its_log(tmp_path: Path) -> None:
    peer = make_peer(tmp_path, "import sys\nprint('no such layer', file=sys.stderr)\nsys.exit(3)")
    with pytest.raises(SystemExit, match=r"peer ended with exit code 3:\nno such layer"):
        peer.train(DATA, tmp_path / "work", read_score)


def test_histories_are_the_events_before_each_buyers_stop() -> None:
    events = Events(
        buyer=np.array([0, 0, 0, 1, 1], np.int32),
        product=np.array([5, 6, 7, 8, 9], np.int32),
        kind=np.ones(5, np.int8),
        time=np.arange(5),
        start=np.array([0, 3, 5]),
    )
    histories = Histories.before(np.array([1, 5]), events, np.array([1]))
    assert histories.buyer.tolist() == [0, 1, 1]
    assert histories.product.tolist() == [5, 8, 9]


def test_saved_vectors_give_scores_in_any_order_of_ids(tmp_path: Path) -> None:
    saved = {
        "buyers": np.array([[1, 0], [0, 2]], np.float32),
        "buyer_ids": np.array([3, 1]),
        "items": np.array([[5, 7], [1, -1]], np.float32),
        "item_ids": np.array([2, 0]),
    }
    for name, values in saved.items():
        np.save(tmp_path / f"{name}.npy", values, allow_pickle=False)
    buyers = np.array([1, 2, 3])
    scores = vectors_scorer(tmp_path, 4, 3)(Cases(buyers, buyers, buyers, buyers))
    low = -np.inf
    # there are no vectors of product 1 and buyer 2
    assert scores.tolist() == [[-2, low, 14], [0, low, 0], [1, low, 5]]


def test_settings_are_parsed_by_their_type_and_unknown_ones_are_refused() -> None:
    assert peer_settings("defaults", [], "--set") == DEFAULTS
    read = peer_settings("published", ["loss=softmax", "lr=0.01", "n_blocks=3", "use_pos_emb=false"], "--set")
    assert (read["loss"], read["lr"], read["n_blocks"], read["use_pos_emb"]) == ("softmax", 0.01, 3, False)
    assert read["n_negatives"] == 256
    assert DEFAULTS["n_blocks"] == 2
    with pytest.raises(SystemExit, match="--set blocks=3: 'blocks' is none of n_blocks, "):
        peer_settings("defaults", ["blocks=3"], "--set")
    with pytest.raises(SystemExit, match="--set n_blocks=two: 'two' is no int"):
        peer_settings("defaults", ["n_blocks=two"], "--set")
    with pytest.raises(SystemExit, match="--set use_pos_emb=1: '1' is no bool"):
        peer_settings("defaults", ["use_pos_emb=1"], "--set")
